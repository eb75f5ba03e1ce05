package cnirt

import (
	"context"
	"errors"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
)

// Hosts with too few descriptors, with very many, and without the first three.

// looks sets up a pod whose plugin finds three descriptors; the last one that it lists is the directory's.
func (h *host) looks(plugin *Plugin) {
	h.attached(plugin, h.beside("looking", "look"), func() {})
	text, err := os.ReadFile(h.path("seen"))
	noError(err)
	expect(strings.HasSuffix(string(text), "\n0\n1\n2\n3\n"), "a plugin finds %s", text)
}

func hasNoStdio(h *host) {
	copied, err := syscall.Dup(2)
	noError(err)
	syscall.CloseOnExec(copied)
	report := os.NewFile(uintptr(copied), "report")
	noError(debug.SetCrashOutput(report, debug.CrashOptions{}))
	noError(report.Close())
	for fd := range 3 {
		noError(syscall.Close(fd))
	}
	h.guest(Callbacks{}, func(plugin *Plugin) {
		h.pod(plugin, "pod")
		h.looks(plugin)
	})
}

func has20000Descriptors(h *host) {
	limit := syscall.Rlimit{Cur: 20500, Max: 20500}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		// Not in a user namespace: as many as there may be.
		noError(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
		limit.Cur = limit.Max
		noError(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	}
	first, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0)
	noError(err)
	for range min(20000, limit.Cur-300) {
		// Not CLOEXEC, as those of many C libraries are.
		_, err := syscall.Dup(first)
		noError(err)
	}
	// Many even where the limit is somebody else's.
	open, err := os.ReadDir("/proc/self/fd")
	expect(err == nil && len(open) >= 10_000, "%d descriptors %v", len(open), err)
	h.guest(Callbacks{}, func(plugin *Plugin) {
		h.pod(plugin, "pod")
		h.looks(plugin)
	})
}

// One more at a time, until the set-up works.
func runsOutOfDescriptors(h *host) {
	// A plugin, which gets none of these, has enough.
	for range 100 {
		_, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		noError(err)
	}
	var normal syscall.Rlimit
	noError(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &normal))
	refused, succeeded, ctx := 0, 0, context.Background()
	h.withNetNS("pod", func() {
		for more := uint64(0); succeeded < 3; more++ {
			expect(more < 60, "no number is enough")
			h.guest(Callbacks{}, func(plugin *Plugin) {
				lowest, err := syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
				noError(err)
				noError(syscall.Close(lowest))
				noError(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(lowest) + more, Max: normal.Max}))
				_, err = plugin.SetUpPod(ctx, PodRequest{ID: "pod", NetNS: h.path("pod")})
				noError(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &normal))
				if err == nil {
					succeeded++
				} else {
					refused++
					clear := errors.Is(err, ErrIO) && strings.Contains(err.Error(), "too many open files")
					expect(clear, "with %d more: %v", more, err)
				}
				_, err = plugin.TearDownPod(ctx, PodRequest{ID: "pod"})
				noError(err)
			})
		}
	})
	expect(refused > 3, "%d refused", refused)
}

package cnirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// Hosts whose surroundings are odd: umask, directory, environment, rights, memory.

func hasUmask0777(h *host) {
	syscall.Umask(0o777)
	h.guest(Callbacks{}, func(plugin *Plugin) {
		h.attached(plugin, PodRequest{ID: "pod", NetNS: h.path("pod")}, func() {
			files := 0
			noError(filepath.WalkDir(h.path("cache"), func(path string, entry fs.DirEntry, err error) error {
				noError(err)
				info, err := entry.Info()
				noError(err)
				mode := fs.ModeDir | 0o700
				if !entry.IsDir() {
					mode = 0o600
					files++
				}
				expect(info.Mode() == mode, "%s: %v", path, info.Mode())
				return nil
			}))
			expect(files > 1, "%d files", files)
		})
	})
}

func hasLostItsDirectory(h *host) {
	noError(os.Mkdir(h.path("gone"), 0o755))
	noError(os.Chdir(h.path("gone")))
	noError(os.Remove(h.path("gone")))
	h.script("where", "readlink /proc/self/cwd > "+h.path("cwd"))
	h.guest(Callbacks{}, func(plugin *Plugin) {
		h.pod(plugin, "pod")
		h.attached(plugin, h.beside("pod", "where"), func() {})
	})
	text, err := os.ReadFile(h.path("cwd"))
	noError(err)
	expect(string(text) == h.path("gone")+" (deleted)\n", "a plugin is in %s", text)
}

// Only within the root there is a node at this name.
func hasAnotherRoot(h *host) {
	const node = "/mnt"
	root := h.path("root")
	noError(os.Mkdir(root, 0o755))
	noError(syscall.Mount("/", root, "", syscall.MS_BIND|syscall.MS_REC, ""))
	noError(syscall.Mount(h.dir, root+node, "", syscall.MS_BIND, ""))
	noError(syscall.Chroot(root))
	noError(os.Chdir("/"))
	h.dir = node
	plain(h)
}

// Each plugin has stacks of its own in the host's memory.
func keepsItsMemory(h *host) {
	h.guest(Callbacks{}, func(plugin *Plugin) {
		for range 3 {
			h.pod(plugin, "pod")
		}
		before := mappings()
		for range 10 {
			h.pod(plugin, "pod")
		}
		// A few are the runtime's; these were sixty plugins.
		expect(mappings() < before+100, "%d mappings became %d", before, mappings())
	})
}

// The library reads the environment once, when the handle is made, so that nobody meets a setenv on another thread.
func changesItsEnvironment(h *host) {
	noError(os.Setenv("CNIRT_TEST_VALUE", "old"))
	number := 0
	change := func() {
		number++
		noError(os.Setenv("CNIRT_TEST_VALUE", "new"))
		for i := range 200 {
			noError(os.Setenv(fmt.Sprint("CNIRT_TEST_", i), strings.Repeat(fmt.Sprint(number), 100)))
		}
		for i := range 200 {
			noError(os.Unsetenv(fmt.Sprint("CNIRT_TEST_", i)))
		}
	}
	h.guest(Callbacks{}, func(plugin *Plugin) {
		repeating(change, func() {
			for range 5 {
				h.attached(plugin, h.beside("pod", "look"), func() {})
				given := linesOf(h.path("environment"), "CNIRT_TEST_VALUE", "CNIRT_TEST_1")
				expect(len(given) == 1 && given[0] == "CNIRT_TEST_VALUE=old", "%q", given)
			}
		})
		noError(os.Setenv("CNIRT_TEST_VALUE", "old"))
	})
}

// Neither root nor in a user namespace: a clear error, and nothing is left.
func hasNoRights(h *host) {
	expect(os.Getuid() != 0, "root")
	h.guest(Callbacks{}, func(plugin *Plugin) {
		refused := func(err error, class Class) {
			expect(errors.Is(err, class) && strings.Contains(strings.ToLower(err.Error()), "operation not permitted"), "%v", err)
		}
		refused(CreateNetNS(h.path("pod")), ErrIO)
		_, err := os.Lstat(h.path("pod"))
		expect(errors.Is(err, os.ErrNotExist), "%v", err)
		_, err = plugin.SetUpPod(context.Background(), PodRequest{ID: "pod", NetNS: "/proc/self/ns/net"})
		refused(err, ErrPlugin)
		_, err = plugin.TearDownPod(context.Background(), PodRequest{ID: "pod", Force: true})
		noError(err)
	})
}

// Root in a user namespace only, with nobody's rights outside.
func isRootless(h *host) {
	outside := strings.Fields(linesOf("/proc/self/uid_map", "")[0])[1]
	expect(os.Getuid() == 0 && outside == "65534", "root is %s", outside)
	plain(h)
}

// One more process at a time, threads included, until the set-up works.
func runsOutOfProcesses(h *host) {
	const limitOfProcesses = 6
	// Go's plugins abort without threads.
	noError(syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}))
	// So would this host, which begins all that it may need now: they stay.
	const spare = 32
	var begun sync.WaitGroup
	begun.Add(spare)
	for range spare {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			begun.Done()
			begun.Wait()
		}()
	}
	begun.Wait()
	var normal syscall.Rlimit
	noError(syscall.Getrlimit(limitOfProcesses, &normal))
	refused, failed, succeeded, ctx := 0, 0, 0, context.Background()
	h.withNetNS("pod", func() {
		for more := 0; succeeded < 3; more++ {
			expect(more < 60, "no number is enough")
			h.guest(Callbacks{}, func(plugin *Plugin) {
				tasks, err := os.ReadDir("/proc/self/task")
				noError(err)
				low := syscall.Rlimit{Cur: uint64(len(tasks) + more), Max: normal.Max}
				noError(syscall.Setrlimit(limitOfProcesses, &low))
				_, err = plugin.SetUpPod(ctx, PodRequest{ID: "pod", NetNS: h.path("pod")})
				noError(syscall.Setrlimit(limitOfProcesses, &normal))
				switch {
				case err == nil:
					succeeded++
				case errors.Is(err, ErrPlugin):
					// The plugin had too few.
					failed++
				default:
					refused++
					clear := errors.Is(err, ErrIO) && strings.Contains(err.Error(), "temporarily unavailable")
					expect(clear, "with %d more: %v", more, err)
				}
				_, err = plugin.TearDownPod(ctx, PodRequest{ID: "pod"})
				noError(err)
			})
		}
	})
	expect(refused > 0 && failed > 0, "%d refused, %d failed", refused, failed)
}

package cnirt

import (
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Hosts with masks and dispositions of their own, and hosts that are signalled.

func blocksAndIgnoresSignals(h *host) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGCHLD, syscall.SIGUSR1,
		syscall.SIGPIPE)
	h.unchanged(func() {
		var all sync.WaitGroup
		all.Add(1)
		go func() {
			defer all.Done()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			// Not the kernel's two, and not those that the C library has for itself.
			blocked := ^uint64(1<<8 | 1<<18 | 1<<31 | 1<<32)
			before := setMask(blocked)
			plugin := h.plugin(Callbacks{})
			h.attached(plugin, h.beside("pod", "look"), func() {})
			noError(plugin.Close())
			expect(setMask(before) == blocked, "the host's mask is another one")
		}()
		all.Wait()
	})
	text, err := os.ReadFile(h.path("seen"))
	noError(err)
	words := strings.Fields(string(text))
	for i := 0; i < 8; i += 2 {
		expect(strings.Trim(words[i+1], "0") == "", "a plugin has %s %s", words[i], words[i+1])
	}
	expect(strings.Join(words[8:], " ") == "0 1 2 3", "a plugin has the descriptors %v", words[8:])
}

const sigSetmask = 2

// setMask sets this thread's mask, and returns the one before.
func setMask(set uint64) (before uint64) {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(&set)),
		uintptr(unsafe.Pointer(&before)), 8, 0, 0)
	expect(errno == 0, "%v", errno)
	return before
}

// At any moment: between clone and exec a plugin is in the host's group.
func isSignalledWithItsGroup(h *host) {
	noError(syscall.Setpgid(0, 0))
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}
	heard := make(chan os.Signal, 10000)
	signal.Notify(heard, signals...)
	signalGroup := func() {
		for _, number := range signals {
			noError(syscall.Kill(0, number.(syscall.Signal)))
		}
		time.Sleep(time.Millisecond)
	}
	h.guest(Callbacks{}, func(plugin *Plugin) {
		h.slowSetUp(plugin, func() {
			for range 20 {
				signalGroup()
			}
		})
		repeating(signalGroup, func() {
			for range 5 {
				h.pod(plugin, "pod")
			}
		})
	})
	expect(len(heard) > 20, "%d signals arrived", len(heard))
}

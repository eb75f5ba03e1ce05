package cnirt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"unsafe"
)

// Hosts that mind their children in some way: they hear no SIGCHLD of the library's, and find no child.

func plain(h *host) {
	h.guest(Callbacks{}, func(plugin *Plugin) {
		h.pod(plugin, "pod")
		h.slowSetUp(plugin, func() { h.pod(plugin, "pod") })
	})
}

func ignoresSIGCHLD(h *host) {
	signal.Ignore(syscall.SIGCHLD)
	plain(h)
}

// The kernel keeps no status for a parent that has this flag, whatever its handler.
func hasSaNocldwait(h *host) {
	const noChildWait = 2
	setFlags := func(flags uint64) (before uint64) {
		action := actionOf(uintptr(syscall.SIGCHLD))
		before, action[1] = action[1], flags
		_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGCHLD),
			uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
		expect(errno == 0, "%v", errno)
		return before
	}
	before := setFlags(actionOf(uintptr(syscall.SIGCHLD))[1] | noChildWait)
	_, err := h.run(exec.Command("true"))
	expect(errors.Is(err, syscall.ECHILD), "the status was kept: %v", err)
	plain(h)
	setFlags(before)
}

func waitsForAnyChild(h *host) {
	repeating(func() { expectNoChild(0) }, func() { plain(h) })
}

func isASubreaper(h *host) {
	_, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0)
	expect(errno == 0, "%v", errno)
	waitsForAnyChild(h)
}

func isPID1(h *host) {
	expect(os.Getpid() == 1, "pid %d", os.Getpid())
	waitsForAnyChild(h)
}

func runsCommands(h *host) {
	var exit *exec.ExitError
	commands := func() {
		for _, status := range []int{0, 7, 255} {
			_, err := h.run(exec.Command("sh", "-c", fmt.Sprint("exit ", status)))
			expect(status == 0 && err == nil || errors.As(err, &exit) && exit.ExitCode() == status, "%d is %v", status, err)
		}
		echo := exec.Command("cat")
		echo.Stdin = strings.NewReader("words")
		out, err := h.run(echo)
		expect(err == nil && string(out) == "words", "%q %v", out, err)
	}
	// What Go makes once is no doing of the library's.
	commands()
	h.guest(Callbacks{}, func(plugin *Plugin) {
		repeating(commands, func() {
			h.slowSetUp(plugin, func() {
				for range 3 {
					h.pod(plugin, "pod")
				}
			})
		})
	})
}

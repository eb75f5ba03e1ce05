package cnirt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
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

func waitsForAnyChild(h *host) {
	heard := make(chan os.Signal, 100)
	signal.Notify(heard, syscall.SIGCHLD)
	repeating(func() { expectNoChild(0) }, func() { plain(h) })
	select {
	case which := <-heard:
		panic(fmt.Sprint("heard ", which))
	default:
	}
	noError(exec.Command("true").Run())
	// It would wait for ever where nothing can be heard.
	<-heard
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
			err := exec.Command("sh", "-c", fmt.Sprint("exit ", status)).Run()
			expect(status == 0 && err == nil || errors.As(err, &exit) && exit.ExitCode() == status, "%d is %v", status, err)
		}
		echo := exec.Command("cat")
		echo.Stdin = strings.NewReader("words")
		out, err := echo.Output()
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

package cnirt

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/cnirt/cnirt/bindings/go/internal/cenviron"
)

// hostState is what a process can see of itself: everything that a library must leave as it found it, a line a fact.
//
// What threads are like is of all of them, as Go's runtime starts one when it likes.
type hostState struct {
	process, threads []string
	goroutines       int
}

func linesOf(path string, beginnings ...string) (lines []string) {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		for _, beginning := range beginnings {
			if strings.HasPrefix(line, beginning) {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

func linkOf(path string) string {
	target, err := os.Readlink(path)
	if err != nil {
		return err.Error()
	}
	return target
}

const (
	getChildSubreaper = 37
	setChildSubreaper = 36
)

// actionOf is the kernel's struct: handler, flags, perhaps a restorer, mask.
func actionOf(number uintptr) (action [8]uint64) {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, number, 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0)
	expect(errno == 0, "%v", errno)
	return action
}

func currentState() (s hostState) {
	add := func(format string, args ...any) { s.process = append(s.process, fmt.Sprintf(format, args...)) }
	descriptors, _ := os.ReadDir("/proc/self/fd")
	for _, entry := range descriptors {
		var fd uintptr
		_, _ = fmt.Sscan(entry.Name(), &fd)
		flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFD, 0)
		// The directory's own is closed by now.
		if errno == 0 {
			status, _, _ := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
			add("fd %d %#x %#x %s", fd, flags, status, linkOf("/proc/self/fd/"+entry.Name()))
		}
	}
	for number := uintptr(1); number < 65; number++ {
		add("signal %d %#x", number, actionOf(number))
	}
	var subreaper int32
	_, _, _ = syscall.RawSyscall6(syscall.SYS_PRCTL, getChildSubreaper, uintptr(unsafe.Pointer(&subreaper)), 0, 0, 0, 0)
	add("subreaper %d, group %d", subreaper, syscall.Getpgrp())
	add("cwd %s, root %s", linkOf("/proc/self/cwd"), linkOf("/proc/self/root"))
	s.goroutines = runtime.NumGoroutine()
	s.process = append(s.process, linesOf("/proc/self/status",
		"Umask:", "Uid:", "Gid:", "Groups:", "SigIgn:", "SigCgt:", "PPid:")...)
	s.process = append(s.process, linesOf("/proc/self/limits", "")...)
	s.process = append(s.process, linesOf("/proc/self/oom_score_adj", "")...)
	s.process = append(s.process, cenviron.Lines()...)

	tasks, _ := filepath.Glob("/proc/self/task/*")
	for _, task := range tasks {
		for _, kind := range []string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "user", "uts"} {
			s.threads = append(s.threads, kind+" "+linkOf(task+"/ns/"+kind))
		}
		if name := threadName(task); name != "" {
			s.threads = append(s.threads, "name "+name)
		}
		s.threads = append(s.threads, linesOf(task+"/status", "SigBlk:", "Cap", "NoNewPrivs:", "Seccomp:")...)
	}
	return s
}

// changed is what another state has that this one has not, and the other way round; "" for nothing.
func (s hostState) changed(now hostState) string {
	var lines []string
	only := func(sign string, these, those []string) {
		for _, line := range these {
			if !slices.Contains(those, line) {
				lines = append(lines, sign+line)
			}
		}
	}
	only("- ", s.process, now.process)
	only("+ ", now.process, s.process)
	only("+ thread: ", now.threads, s.threads)
	if now.goroutines > s.goroutines {
		lines = append(lines, fmt.Sprintf("%d goroutines became %d", s.goroutines, now.goroutines))
	}
	return strings.Join(lines, "\n")
}

// expectSame waits for what is on its way out: a thread that was joined is in /proc for a moment longer.
func (s hostState) expectSame() {
	end := time.Now().Add(10 * time.Second)
	for {
		changed := s.changed(currentState())
		if changed == "" {
			return
		}
		expect(time.Now().Before(end), "the host is another one:\n%s", changed)
		time.Sleep(10 * time.Millisecond)
	}
}

// threadName is empty for one that has ended, and for one that Go began on a thread of the library's, in a callback: it
// has its name from there, but takes signals, which no thread of the library's does.
func threadName(task string) string {
	words := strings.Fields(strings.Join(linesOf(task+"/status", "Name:", "SigBlk:"), " "))
	if len(words) != 4 || strings.HasPrefix(words[1], "cnirt-") && strings.Trim(words[3], "0") == "" {
		return ""
	}
	return words[1]
}

// expectNoThreads is for after a synchronous call, which leaves no thread of the library's but those with these names.
// Those of other goroutines' calls end soon, too; a thread that the library kept for later calls would stay for 5 s.
func expectNoThreads(but ...string) {
	tasks, _ := filepath.Glob("/proc/self/task/*")
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(time.Millisecond) {
		tasks = slices.DeleteFunc(tasks, func(task string) bool {
			name := threadName(task)
			return !strings.HasPrefix(name, "cnirt-") || slices.Contains(but, name)
		})
		if len(tasks) == 0 {
			return
		}
		expect(time.Now().Before(end), "%s is still there", threadName(tasks[0]))
	}
}

func mappings() int { return len(linesOf("/proc/self/maps", "")) }

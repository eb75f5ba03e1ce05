package cnirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Hosts with goroutines: locked to threads in other namespaces, a collector under pressure, and an end amid calls.

// The C library takes the limit of the shell as the size of every thread's stack; Go's threads are among them.
func hasSmallStacks(h *host) {
	var limit syscall.Rlimit
	noError(syscall.Getrlimit(syscall.RLIMIT_STACK, &limit))
	expect(limit.Cur == 64<<10, "stacks of %d bytes", limit.Cur)
	// Nearly as deep as a request may be.
	args := map[string]any{}
	for range 110 {
		args = map[string]any{"in": args}
	}
	h.guest(Callbacks{}, func(plugin *Plugin) {
		var all sync.WaitGroup
		for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			all.Add(1)
			go func() {
				defer all.Done()
				runtime.LockOSThread()
				h.attached(plugin, PodRequest{ID: id, NetNS: h.path(id), CapabilityArgs: args}, func() {})
			}()
		}
		all.Wait()
	})
}

// A thread in a network namespace of its own stays there, and the plugins of a handle of its own work there; the others
// stay here.
func hasThreadsElsewhere(h *host) {
	const count = 4
	hasVeth := func(thread string) bool {
		return strings.Contains(strings.Join(linesOf("/proc/"+thread+"/net/dev", ""), ""), "veth")
	}
	// So that the others have other threads; this one's need not be the process's first.
	runtime.LockOSThread()
	self := fmt.Sprint("self/task/", syscall.Gettid())
	here := linkOf("/proc/thread-self/ns/net")
	var all, moved sync.WaitGroup
	done := make(chan struct{})
	all.Add(count)
	moved.Add(count)
	for i := range count {
		go func() {
			defer all.Done()
			// Never unlocked: the thread ends with the goroutine.
			runtime.LockOSThread()
			noError(syscall.Unshare(syscall.CLONE_NEWNET))
			own := linkOf("/proc/thread-self/ns/net")
			expect(own != here, "it did not move")
			if i == 0 {
				plugin := h.plugin(Callbacks{})
				h.attached(plugin, PodRequest{ID: "elsewhere", NetNS: h.path("elsewhere")}, func() {
					expect(hasVeth("thread-self") && !hasVeth(self), "the pod is on another node")
				})
				noError(plugin.Close())
			}
			moved.Done()
			<-done
			expect(linkOf("/proc/thread-self/ns/net") == own, "its namespace is another one")
		}()
	}
	moved.Wait()
	h.guest(Callbacks{}, func(plugin *Plugin) {
		var pods sync.WaitGroup
		for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			pods.Add(1)
			go func() {
				defer pods.Done()
				h.attached(plugin, PodRequest{ID: id, NetNS: h.path(id)}, func() {
					expect(hasVeth(self), "the pod is on another node")
				})
			}()
		}
		pods.Wait()
	})
	close(done)
	all.Wait()
}

// Nearly each allocation begins a collection; callbacks are among what is looked at.
func collectsGarbage(h *host) {
	var mu sync.Mutex
	lines := 0
	log := func(LogEntry) {
		mu.Lock()
		defer mu.Unlock()
		lines++
	}
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	// Its workers are goroutines of the system's, and stay.
	runtime.GC()
	h.guest(Callbacks{Log: log}, func(plugin *Plugin) {
		repeating(runtime.GC, func() {
			h.slowSetUp(plugin, func() {
				for range 3 {
					h.pod(plugin, "pod")
				}
			})
		})
	})
	expect(lines > 0, "no log")
}

// 64 pods that hang in their second network. One namespace serves all, as each has interfaces of its own.
func closesAmid64Calls(h *host) {
	const count = 64
	h.withNetNS("ns", func() {
		h.unchanged(func() {
			plugin := h.plugin(Callbacks{})
			ended := make(chan error, count)
			for i := range count {
				request := h.beside(fmt.Sprint("pod", i), "hang")
				request.NetNS = h.path("ns")
				request.Networks[0].IfName, request.Networks[1].IfName = fmt.Sprint("eth", i), fmt.Sprint("hang", i)
				go func() {
					_, err := plugin.SetUpPod(context.Background(), request)
					ended <- err
				}()
			}
			for hanging := 0; hanging < count; time.Sleep(10 * time.Millisecond) {
				expect(len(ended) == 0, "a call ended by itself")
				text, _ := os.ReadFile(h.path("hanging"))
				hanging = len(text)
			}
			noError(plugin.Close())
			for range count {
				err := <-ended
				var ours *Error
				expect(errors.As(err, &ours) && ours.Class == ErrCancelled && ours.Rollback.Done, "%+v", ours)
			}
		})
	})
}

package cnirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func threads(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Error(err)
	}
	return len(entries)
}

// awaitCalls returns when so many calls are under way in the library.
func (s *session) awaitCalls(count int) {
	begun := func() (begun int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.calls {
			if c.op != nil {
				begun++
			}
		}
		return begun
	}
	for begun() < count {
		time.Sleep(time.Millisecond)
	}
}

// fifo makes one in a node's directory. A plugin that writes a line to it waits for the returned function, one that
// reads a line waits for a line.
func fifo(t *testing.T, path string) (read func()) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := os.ReadFile(path); err != nil {
			t.Error(err)
		}
	}
}

// A goroutine that waits in the library takes no thread: neither where nothing goes on, nor while a thousand calls end.
func TestAThousandCallsAtOnceTakeFewThreads(t *testing.T) {
	const calls, opThreads = 1000, 8
	// Those that Go and the library have in C for a moment, and Go's own.
	const others = 8 + 16
	dir, options := node(t, `[ $CNI_COMMAND = ADD ] || exit 0
[ -e $dir/open ] || read line <$dir/gate
echo '{"cniVersion":"1.0.0"}'`)
	fifo(t, dir+"/gate")
	options.OpThreads, options.Durability = opThreads, DurabilityAtomic
	plugin := open(t, options)
	cni := openCNI(t, options.BinDirs, t.TempDir(), WithOpThreads(opThreads))
	list := listOf(t, fmt.Sprintf(fakeList, "1.0.0"))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for name, row := range map[string]struct {
		s    *session
		call func(id string) error
	}{
		"set-ups of pods": {plugin.s, func(id string) error {
			_, err := plugin.SetUpPod(ctx, pod(id))
			return err
		}},
		"libcni's ADD": {cni.s, func(id string) error {
			rt := containerRT()
			rt.ContainerID = id
			_, err := cni.AddNetworkList(ctx, list, rt)
			return err
		}},
	} {
		_ = os.Remove(dir + "/open")
		before, peak, ended := threads(t), 0, make(chan struct{})
		var all, sampler sync.WaitGroup
		for i := range calls {
			all.Add(1)
			go func() {
				defer all.Done()
				if err := row.call(fmt.Sprint("c", i)); err != nil {
					t.Error(name, err)
				}
			}()
		}
		row.s.awaitCalls(calls)
		waiting := threads(t)
		sampler.Add(1)
		go func() {
			defer sampler.Done()
			for {
				select {
				case <-ended:
					return
				case <-time.After(time.Millisecond):
					peak = max(peak, threads(t))
				}
			}
		}()
		write(t, dir+"/open", "")
		// Open until all are through: who read `open` too early finds a line.
		gate, err := os.OpenFile(dir+"/gate", os.O_RDWR, 0)
		if err == nil {
			_, err = gate.WriteString(strings.Repeat("\n", opThreads))
		}
		if err != nil {
			t.Fatal(err)
		}
		all.Wait()
		_ = gate.Close()
		close(ended)
		sampler.Wait()
		t.Logf("%s: %d threads before, %d while %d calls waited, at most %d while they ended", name, before, waiting, calls, peak)
		if limit := before + opThreads + runtime.GOMAXPROCS(0) + others; max(waiting, peak) > limit {
			t.Errorf("%s: more than %d threads", name, limit)
		}
	}
}

func TestAContextEndsACallAtEveryMoment(t *testing.T) {
	for _, row := range []struct {
		moment string
		// The pod that another call works on, in a plugin.
		other string
		fails bool
		want  error
	}{
		{"waiting for a thread", "b", false, ErrCancelled},
		{"waiting for its pod", "a", false, ErrCancelled},
		{"in a plugin", "", false, ErrCancelled},
		// What is being undone goes on, and the answer is why.
		{"being undone", "", true, ErrPlugin},
	} {
		t.Run(row.moment, func(t *testing.T) {
			t.Parallel()
			dir, options := node(t, `pause() { echo >$dir/started; read line <$dir/go; }
case $CNI_COMMAND,$(ls $dir/mode) in
ADD,fail) exit 1 ;;
DEL,fail) pause ;;
ADD,hang) echo >$dir/started; exec sleep 1000 ;;
ADD,) echo '{"cniVersion":"1.0.0"}' ;;
esac
exit 0`)
			started := fifo(t, dir+"/started")
			fifo(t, dir+"/go")
			mode := dir + "/mode/hang"
			if row.fails {
				mode = dir + "/mode/fail"
			}
			write(t, mode, "")
			options.OpThreads = 1
			plugin := open(t, options)
			otherContext, endOther := context.WithCancel(context.Background())
			defer endOther()
			var other sync.WaitGroup
			if row.other != "" {
				other.Add(1)
				go func() {
					defer other.Done()
					if _, err := plugin.SetUpPod(otherContext, pod(row.other)); !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}()
				started()
			}
			ctx, cancel := context.WithCancel(context.Background())
			go func() {
				if row.other != "" {
					plugin.s.awaitCalls(2)
				} else {
					started()
				}
				cancel()
				if row.fails {
					write(t, dir+"/go", "\n")
				}
			}()
			_, err := plugin.SetUpPod(ctx, pod("a"))
			if !errors.Is(err, row.want) || errors.Is(err, context.Canceled) == row.fails {
				t.Errorf("%#v", err)
			}
			endOther()
			other.Wait()
			// Nothing is left, and nothing is in the way of the next one.
			if pods, err := plugin.ListPods(context.Background()); err != nil || len(pods) != 0 {
				t.Error(pods, err)
			}
			if err := os.Remove(mode); err != nil {
				t.Error(err)
			}
			if _, err := plugin.SetUpPod(context.Background(), pod("a")); err != nil {
				t.Error(err)
			}
		})
	}
}

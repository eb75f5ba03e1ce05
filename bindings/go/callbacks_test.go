package cnirt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakes are callbacks for a plugin that does not exist on disk.
func fakes(run func(ctx context.Context, command string, call ExecCall) ([]byte, error)) Callbacks {
	return Callbacks{
		FindPlugin: func(_ context.Context, call FindCall) (string, error) {
			return "/nowhere/" + call.Type, nil
		},
		ExecPlugin: func(ctx context.Context, call ExecCall) ([]byte, error) {
			for _, line := range call.Env {
				if command, ok := strings.CutPrefix(line, "CNI_COMMAND="); ok {
					if command == "VERSION" {
						return []byte(`{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}`), nil
					}
					return run(ctx, command, call)
				}
			}
			return nil, errors.New("no CNI_COMMAND")
		},
	}
}

const added = `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[{"address":"10.9.8.7/24","interface":0}]}`

func TestCallbacks(t *testing.T) {
	_, options := node(t, "")
	var mu sync.Mutex
	var asked []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, fmt.Sprintf(format, args...))
	}
	type key struct{}
	ctx := context.WithValue(context.Background(), key{}, "mine")
	options.Callbacks = fakes(func(ctx context.Context, command string, call ExecCall) ([]byte, error) {
		note("%s %s %v %v", command, call.Path, ctx.Value(key{}), call.Timeout > 0)
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > call.Timeout {
			t.Error("the context has no deadline")
		}
		if call.CallID == "" || !json.Valid([]byte(call.Stdin)) {
			t.Errorf("%+v", call)
		}
		if command == "ADD" {
			if !strings.Contains(call.Stdin, `"hostPort":80`) {
				t.Error(call.Stdin)
			}
			return []byte(added), nil
		}
		return nil, nil
	})
	options.Callbacks.GetNetNS = func(ctx context.Context, pod PodQuestion) (string, error) {
		note("netns %s %s %s %v", pod.ID, pod.UID, pod.Namespace, ctx.Value(key{}))
		return "/proc/self/ns/net", nil
	}
	options.Callbacks.GetPodPortMappings = func(_ context.Context, pod PodQuestion) ([]PortMapping, error) {
		note("ports %s", pod.CallID)
		return []PortMapping{{HostPort: 80, ContainerPort: 8080}}, nil
	}
	write(t, options.ConfDir+"/10-test.conflist",
		`{"cniVersion":"1.0.0","name":"test","plugins":[{"type":"fake","capabilities":{"portMappings":true}}]}`)
	plugin := open(t, options)
	result, err := plugin.SetUpPod(ctx, PodRequest{ID: "a", UID: "u", Namespace: "n", CallID: "c"})
	if err != nil || fmt.Sprint(result.IPs) != "[10.9.8.7]" {
		t.Fatal(result, err)
	}
	if _, err := plugin.TearDownPod(ctx, PodRequest{ID: "a"}); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"netns a u n mine", "ports c", "ADD /nowhere/fake mine true", "DEL /nowhere/fake mine true"} {
		if !slices.Contains(asked, want) {
			t.Errorf("%q is not in %q", want, asked)
		}
	}
}

func TestCallbackErrors(t *testing.T) {
	for _, row := range []struct {
		name  string
		err   error
		class Class
		code  uint64
		words string
	}{
		{"a plugin's error object", &Cause{Code: 7, Msg: "bad", Details: "worse"}, ErrPlugin, 7, "bad; worse"},
		{"a plugin that is busy", &Cause{Code: 11, Msg: "busy"}, ErrRetry, 11, "busy"},
		{"an error of the library's kind", &Error{Class: ErrIO, Code: 5, Msg: "disk"}, ErrIO, 5, "disk"},
		{"a class", fmt.Errorf("words: %w", ErrUnsupported), ErrUnsupported, 999, "words: CNI_E_UNSUPPORTED"},
		{"a class of a later version", Class("CNI_E_LATER"), ErrPlugin, 999, "CNI_E_LATER"},
		{"any error", errors.New("plain"), ErrPlugin, 999, "plain"},
		{"a deadline", context.DeadlineExceeded, ErrTimeout, 999, "deadline"},
		{"a cancelled context", context.Canceled, ErrCancelled, 999, "canceled"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, options := node(t, "")
			options.Callbacks = fakes(func(_ context.Context, command string, _ ExecCall) ([]byte, error) {
				if command == "ADD" {
					return nil, row.err
				}
				return nil, nil
			})
			_, err := open(t, options).SetUpPod(context.Background(), pod("a"))
			var ours *Error
			if !errors.As(err, &ours) || ours.Class != row.class || ours.Code != row.code || !strings.Contains(ours.Msg, row.words) {
				t.Errorf("%+v", ours)
			}
		})
	}
}

func TestCallbackErrorsOfTheOthers(t *testing.T) {
	_, options := node(t, "")
	options.Callbacks = fakes(nil)
	options.Callbacks.GetNetNS = func(context.Context, PodQuestion) (string, error) { return "", errors.New("no sandbox") }
	_, err := open(t, options).SetUpPod(context.Background(), PodRequest{ID: "a"})
	if !errors.Is(err, ErrIO) || !strings.Contains(err.Error(), "no sandbox") {
		t.Errorf("%#v", err)
	}
	options.Callbacks.FindPlugin = func(_ context.Context, call FindCall) (string, error) {
		return "", fmt.Errorf("%s: %w", call.Type, fs.ErrNotExist)
	}
	status, err := open(t, options).Status(context.Background())
	if err != nil || status.Ready || !strings.Contains(status.Networks[0].Reason, "fake: file does not exist") {
		t.Errorf("%+v, %v", status, err)
	}
}

// panicOf does something and returns what it panicked with.
func panicOf(do func()) (value any) {
	defer func() { value = recover() }()
	do()
	return nil
}

func TestACallbacksPanicGoesOnInTheCallersGoroutine(t *testing.T) {
	_, options := node(t, "")
	var commands []string
	var log bytes.Buffer
	options.Callbacks = fakes(func(_ context.Context, command string, _ ExecCall) ([]byte, error) {
		commands = append(commands, command)
		if command == "ADD" {
			panic("boom")
		}
		return nil, nil
	})
	options.Callbacks.Log = LogTo(slog.New(slog.NewTextHandler(&log, nil)))
	plugin := open(t, options)
	if value := panicOf(func() { _, _ = plugin.SetUpPod(context.Background(), pod("a")) }); value != "boom" {
		t.Errorf("it panicked with %v", value)
	}
	if !slices.Equal(commands, []string{"ADD", "DEL"}) {
		t.Errorf("the plugin ran %v", commands)
	}
	if !strings.Contains(log.String(), "a callback panicked: boom") || !strings.Contains(log.String(), "callbacks_test.go") {
		t.Errorf("the stack is not in the log: %s", &log)
	}
	if status, err := plugin.Status(context.Background()); err != nil || !status.Ready {
		t.Error("the plugin cannot be used any more", status, err)
	}
}

func TestPanicsOfEveryCallback(t *testing.T) {
	boom := errors.New("boom")
	_, plain := node(t, "")
	plain.Callbacks = fakes(func(context.Context, string, ExecCall) ([]byte, error) { return nil, nil })
	for name, row := range map[string]struct {
		spoil func(*Callbacks)
		do    func(Options)
	}{
		"GetNetNS": {
			func(c *Callbacks) { c.GetNetNS = func(context.Context, PodQuestion) (string, error) { panic(boom) } },
			func(o Options) { _, _ = open(t, o).SetUpPod(context.Background(), PodRequest{ID: "a"}) },
		},
		"FindPlugin in NewPlugin": {
			func(c *Callbacks) { c.FindPlugin = func(context.Context, FindCall) (string, error) { panic(boom) } },
			func(o Options) { _, _ = NewPlugin(o) },
		},
		"Log": {
			func(c *Callbacks) { c.Log = func(LogEntry) { panic(boom) } },
			func(o Options) {
				o.ConfDir = t.TempDir()
				_, _ = NewPlugin(o)
			},
		},
	} {
		options := plain
		row.spoil(&options.Callbacks)
		if value := panicOf(func() { row.do(options) }); value != boom {
			t.Errorf("%s: it panicked with %v", name, value)
		}
	}
}

func TestEachPanicGoesToItsOwnCaller(t *testing.T) {
	_, options := node(t, "")
	var both sync.WaitGroup
	both.Add(2)
	options.Callbacks = fakes(func(_ context.Context, command string, call ExecCall) ([]byte, error) {
		if command == "ADD" {
			both.Done()
			both.Wait()
			panic(slices.Contains(call.Env, "CNI_CONTAINERID=a"))
		}
		return nil, nil
	})
	plugin := open(t, options)
	var all sync.WaitGroup
	for _, id := range []string{"a", "b"} {
		all.Add(1)
		go func() {
			defer all.Done()
			if value := panicOf(func() { _, _ = plugin.SetUpPod(context.Background(), pod(id)) }); value != (id == "a") {
				t.Errorf("%s panicked with %v", id, value)
			}
		}()
	}
	all.Wait()
}

func TestAPanicOnAThreadOfTheLibrarysIsFoundByCallID(t *testing.T) {
	s := &session{calls: map[*call]struct{}{}}
	mine := &call{session: s, callID: "mine"}
	s.calls[mine], s.calls[&call{session: s, callID: "other"}] = struct{}{}, struct{}{}
	if s.running(0, `{"callId":"mine"}`) != mine || s.running(0, `{}`) != nil || s.running(0, ``) != nil {
		t.Error("the wrong call")
	}
	s.panicked(nil, 1)
	if value, panicked := s.takePanic(mine); value != 1 || !panicked {
		t.Error("nobody takes the panic that belongs to no call")
	}
}

func TestACallbackMayCloseItsOwnPlugin(t *testing.T) {
	_, options := node(t, "")
	var plugin *Plugin
	options.Callbacks = fakes(func(ctx context.Context, command string, _ ExecCall) ([]byte, error) {
		if command == "ADD" {
			_ = plugin.Close()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, nil
	})
	plugin = open(t, options)
	if _, err := plugin.SetUpPod(context.Background(), pod("a")); !errors.Is(err, ErrCancelled) {
		t.Errorf("%#v", err)
	}
	<-plugin.s.freed
}

func TestACallbackMayNotCallItsOwnPlugin(t *testing.T) {
	_, options := node(t, "")
	other := noop(t)
	var plugin *Plugin
	var own, others error
	options.Callbacks = fakes(func(ctx context.Context, command string, _ ExecCall) ([]byte, error) {
		if command == "ADD" {
			_, own = plugin.Status(ctx)
			_, others = other.Status(ctx)
			return []byte(added), nil
		}
		return nil, nil
	})
	plugin = open(t, options)
	if _, err := plugin.SetUpPod(context.Background(), pod("a")); err != nil {
		t.Error(err)
	}
	if !errors.Is(own, ErrInvalidArgument) || others != nil {
		t.Error(own, others)
	}
}

func TestCancelEndsTheContextOfACallback(t *testing.T) {
	_, options := node(t, "")
	started := make(chan struct{})
	options.Callbacks = fakes(func(ctx context.Context, command string, _ ExecCall) ([]byte, error) {
		if command == "ADD" {
			close(started)
			<-ctx.Done()
		}
		return nil, ctx.Err()
	})
	plugin := open(t, options)
	go func() {
		<-started
		_ = plugin.Cancel("a")
	}()
	_, err := plugin.SetUpPod(context.Background(), pod("a"))
	var ours *Error
	if !errors.As(err, &ours) || ours.Class != ErrCancelled || ours.Rollback == nil || !ours.Rollback.Done {
		t.Errorf("%+v", ours)
	}
}

func TestLog(t *testing.T) {
	var entries []LogEntry
	_, err := NewPlugin(Options{ConfDir: t.TempDir(), Callbacks: Callbacks{Log: func(entry LogEntry) {
		entries = append(entries, entry)
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 || entries[0].Level != slog.LevelInfo || !strings.HasPrefix(entries[0].Target, "cnirt::") ||
		entries[0].Message == "" || !json.Valid(entries[0].Fields) {
		t.Errorf("%+v", entries)
	}
	for number, level := range []slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug} {
		if slogLevel(int32(number+1)) != level {
			t.Errorf("level %d is %v", number+1, slogLevel(int32(number+1)))
		}
	}
}

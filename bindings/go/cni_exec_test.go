package cnirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// fakeExec has plugins that do not exist on disk. It notes what it runs.
type fakeExec struct {
	version.PluginDecoder
	run  func(ctx context.Context, command string, stdin []byte, env []string) ([]byte, error)
	find func(plugin string, paths []string) (string, error)

	mu  sync.Mutex
	ran []string
}

func (f *fakeExec) FindInPath(plugin string, paths []string) (string, error) {
	if f.find != nil {
		return f.find(plugin, paths)
	}
	return paths[0] + "/" + plugin, nil
}

func (f *fakeExec) ExecPlugin(ctx context.Context, path string, stdin []byte, env []string) ([]byte, error) {
	command := valueOf(env, "CNI_COMMAND")
	var object any
	_ = json.Unmarshal(stdin, &object)
	sorted, _ := json.Marshal(object)
	f.mu.Lock()
	f.ran = append(f.ran, fmt.Sprintln(command, path, string(sorted), valueOf(env, "CNI_CONTAINERID"), valueOf(env, "CNI_NETNS"),
		valueOf(env, "CNI_IFNAME"), valueOf(env, "CNI_ARGS"), valueOf(env, "CNI_PATH"), valueOf(env, "CNIRT_TEST")))
	f.mu.Unlock()
	if command == "VERSION" && strings.HasSuffix(path, "/old") {
		return nil, &types.Error{Msg: "unknown CNI_COMMAND: VERSION"}
	}
	if command == "VERSION" {
		return []byte(`{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}`), nil
	}
	return f.run(ctx, command, stdin, env)
}

func valueOf(env []string, key string) (value string) {
	for _, line := range env {
		if found, ok := strings.CutPrefix(line, key+"="); ok {
			value = found
		}
	}
	return value
}

func answers(_ context.Context, command string, _ []byte, _ []string) ([]byte, error) {
	if command == "ADD" {
		return []byte(added), nil
	}
	return nil, nil
}

func TestAnExecHasTheCallersContext(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "mine"))
	exec := &fakeExec{run: func(ctx context.Context, command string, _ []byte, _ []string) ([]byte, error) {
		if ctx.Value(key{}) != "mine" {
			t.Error("the value is lost")
		}
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	_, err := openCNI(t, []string{"/a"}, t.TempDir(), WithExec(exec)).AddNetworkList(ctx, listOf(t, fmt.Sprintf(fakeList, "1.0.0")), containerRT())
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type ownDecoder struct {
	fakeExec
	err error
}

func (o *ownDecoder) Decode([]byte) (version.PluginInfo, error) {
	return version.PluginSupports("9.9.9"), o.err
}

func TestAnExecReadsVERSION(t *testing.T) {
	exec := &ownDecoder{}
	cni := openCNI(t, []string{"/a"}, t.TempDir(), WithExec(exec))
	info, err := cni.GetVersionInfo(context.Background(), "x")
	if err != nil || !slices.Equal(info.SupportedVersions(), []string{"9.9.9"}) {
		t.Error(info, err)
	}
	exec.err = errors.New("unreadable")
	if _, err := cni.GetVersionInfo(context.Background(), "x"); err != exec.err {
		t.Error(err)
	}
}

func TestAnExecsPanicGoesOnInTheCallersGoroutine(t *testing.T) {
	exec := &fakeExec{run: func(context.Context, string, []byte, []string) ([]byte, error) { panic("boom") }}
	cni := openCNI(t, []string{"/a"}, t.TempDir(), WithExec(exec))
	list := listOf(t, fmt.Sprintf(fakeList, "1.1.0"))
	for name, do := range map[string]func(){
		"ADD":    func() { _, _ = cni.AddNetworkList(context.Background(), list, containerRT()) },
		"STATUS": func() { _ = cni.GetStatusNetworkList(context.Background(), list) },
		"GC":     func() { _ = cni.GCNetworkList(context.Background(), list, nil) },
	} {
		if value := panicOf(do); value != "boom" {
			t.Errorf("%s panicked with %v", name, value)
		}
	}
	exec.find = func(string, []string) (string, error) { panic("find") }
	if value := panicOf(func() { _, _ = cni.GetVersionInfo(context.Background(), "x") }); value != "find" {
		t.Error(value)
	}
}

func TestAnExecsEndOfItsGoroutineIsTheCallers(t *testing.T) {
	exec := &fakeExec{run: func(context.Context, string, []byte, []string) ([]byte, error) {
		runtime.Goexit()
		return nil, nil
	}}
	cni := openCNI(t, []string{"/a"}, t.TempDir(), WithExec(exec))
	ended := make(chan bool)
	go func() {
		returned := false
		defer func() { ended <- returned }()
		_ = cni.DelNetworkList(context.Background(), listOf(t, fmt.Sprintf(fakeList, "1.0.0")), containerRT())
		returned = true
	}()
	if <-ended {
		t.Error("the caller goes on")
	}
}

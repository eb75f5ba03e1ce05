package cnirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func noop(t *testing.T) *Plugin { return open(t, Options{Plugin: PluginNoop}) }

func open(t *testing.T, options Options) *Plugin {
	t.Helper()
	plugin, err := NewPlugin(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plugin.Close() })
	return plugin
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// node is a configuration directory with one network, whose only plugin is this shell script. In the script $dir is
// the node's directory.
func node(t *testing.T, script string) (dir string, options Options) {
	t.Helper()
	dir = t.TempDir()
	write(t, dir+"/net.d/10-test.conflist", `{"cniVersion":"1.0.0","name":"test","plugins":[{"type":"fake"}]}`)
	if script != "" {
		write(t, dir+"/bin/fake", "#!/bin/sh\ndir="+dir+`
cat >/dev/null
[ "$CNI_COMMAND" = VERSION ] && { echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'; exit; }
`+script)
	}
	return dir, Options{
		ConfDir: dir + "/net.d", BinDirs: []string{dir + "/bin"}, CacheDir: dir + "/cache",
		Loopback: Ptr(false), KillGrace: 100 * time.Millisecond,
	}
}

// hanging tells by a fifo that ADD has begun, and never ends.
func hanging(t *testing.T) (started func(), dir string, options Options) {
	t.Helper()
	dir, options = node(t, `
echo "$CNI_COMMAND" >>$dir/log
[ "$CNI_COMMAND" = ADD ] || exit 0
echo >$dir/started
exec sleep 1000`)
	if err := syscall.Mkfifo(dir+"/started", 0o600); err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := os.ReadFile(dir + "/started"); err != nil {
			t.Error(err)
		}
	}, dir, options
}

// pod is a request whose namespace is this process's.
func pod(id string) PodRequest {
	return PodRequest{ID: id, Namespace: "ns", Name: "name", NetNS: "/proc/self/ns/net"}
}

func TestNoop(t *testing.T) {
	plugin, ctx := noop(t), context.Background()
	if name := plugin.Name(); name != "kubernetes.io/no-op" {
		t.Error(name)
	}
	want := PodIdentity{Namespace: "ns", Name: "name", ID: "a"}
	if result, err := plugin.SetUpPod(ctx, pod("a")); err != nil || result.Pod != want {
		t.Error(result, err)
	}
	if result, err := plugin.CheckPod(ctx, pod("a")); err != nil || result.Pod != want {
		t.Error(result, err)
	}
	if status, err := plugin.PodStatus(ctx, pod("a")); err != nil || status.Pod != want || status.Source != "cache" {
		t.Error(status, err)
	}
	if result, err := plugin.TearDownPod(ctx, pod("a")); err != nil || result.Pod != want {
		t.Error(result, err)
	}
	if pods, err := plugin.ListPods(ctx); err != nil || len(pods) != 0 {
		t.Error(pods, err)
	}
	if result, err := plugin.GC(ctx, GCRequest{ValidPods: []ValidPod{}}); err != nil || len(result.Deleted) != 0 {
		t.Error(result, err)
	}
	for _, status := range []func(context.Context) (*Status, error){plugin.Status, plugin.Reload} {
		if status, err := status(ctx); err != nil || !status.Ready || !status.LastLoad.OK {
			t.Error(status, err)
		}
	}
	if capabilities, err := plugin.Capabilities(ctx); err != nil || len(capabilities) != 0 {
		t.Error(capabilities, err)
	}
	if err := plugin.Event(ctx, EventPodCIDRChange, map[string]string{"pod-cidr": "10.1.0.0/16"}); err != nil {
		t.Error(err)
	}
	if err := plugin.Event(ctx, "unknown", nil); err != nil {
		t.Error(err)
	}
	if text, err := plugin.Metrics(ctx); err != nil || !strings.Contains(text, "cnirt_") {
		t.Error(text, err)
	}
	if err := errors.Join(plugin.Cancel("a"), plugin.Cancel("")); err != nil {
		t.Error(err)
	}
}

func TestLibraryErrorsArrive(t *testing.T) {
	_, err := NewPlugin(Options{Plugin: "x"})
	if !errors.Is(err, ErrInvalidArgument) || !strings.Contains(err.Error(), `"x" is none of cni, noop`) {
		t.Error(err)
	}
	if _, err := noop(t).SetUpPod(context.Background(), PodRequest{}); !errors.Is(err, ErrInvalidArgument) {
		t.Error(err)
	}
	_, options := node(t, `echo '{"code":11,"msg":"busy","details":"later"}'; exit 1`)
	_, err = open(t, options).SetUpPod(context.Background(), pod("a"))
	var ours *Error
	var cause *Cause
	if !errors.As(err, &ours) || !errors.As(err, &cause) || !errors.Is(err, ErrRetry) {
		t.Fatalf("%#v", err)
	}
	if *cause != (Cause{11, "busy", "later"}) || ours.Plugin != "fake" || ours.Command != "ADD" || ours.Network != "test" ||
		ours.IfName != "eth0" || ours.Rollback == nil {
		t.Errorf("%+v", ours)
	}
}

func TestResultsAreTyped(t *testing.T) {
	_, options := node(t, `[ "$CNI_COMMAND" = ADD ] && cat <<E
{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"$CNI_NETNS"}],
"ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":0},{"address":"fd00::3/64"}],"routes":[{"dst":"0.0.0.0/0"}]}
E
exit 0`)
	plugin, ctx := open(t, options), context.Background()
	result, err := plugin.SetUpPod(ctx, pod("a"))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(result.IPs) != "[10.1.2.3 fd00::3]" || len(result.Networks) != 1 ||
		result.Networks[0].Attachment != (Attachment{"test", "eth0"}) {
		t.Errorf("%+v", result)
	}
	decoded, err := result.Networks[0].Decode()
	if err != nil || decoded.IPs[0].Address.String() != "10.1.2.3/24" || decoded.IPs[0].Gateway.String() != "10.1.2.1" ||
		decoded.IPs[1].Gateway.IsValid() || decoded.Interfaces[*decoded.IPs[0].Interface].Sandbox == "" ||
		decoded.Routes[0].Dst.Bits() != 0 {
		t.Errorf("%+v, %v", decoded, err)
	}
	if _, err := plugin.SetUpPod(ctx, pod("a")); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	pods, err := plugin.ListPods(ctx)
	if err != nil || len(pods) != 1 || pods[0].Pod.Name != "name" || *pods[0].Networks[0].Owner != "cnirt" {
		t.Errorf("%+v, %v", pods, err)
	}
	if checked, err := plugin.CheckPod(ctx, pod("a")); err != nil || !checked.Networks[0].Checked {
		t.Errorf("%+v, %v", checked, err)
	}
	status, err := plugin.Status(ctx)
	if err != nil || !status.Ready || status.DefaultNetwork != "test" || status.Networks[0].Plugins[0].Type != "fake" {
		t.Errorf("%+v, %v", status, err)
	}
	removed, err := plugin.TearDownPod(ctx, PodRequest{ID: "a"})
	if err != nil || len(removed.Networks) != 1 || removed.Networks[0].Network != "test" {
		t.Errorf("%+v, %v", removed, err)
	}
	if removed, err := plugin.TearDownPod(ctx, PodRequest{ID: "a"}); err != nil {
		t.Errorf("%+v, %v", removed, err)
	}
}

func TestDecode(t *testing.T) {
	for text, class := range map[string]Class{
		`null`: ErrNotFound,
		`{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24"}}`: ErrUnsupported,
	} {
		if _, err := (NetworkResult{Result: []byte(text)}).Decode(); !errors.Is(err, class) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := (NetworkResult{Result: []byte(`{"ips":3}`)}).Decode(); err == nil {
		t.Error("nonsense is a result")
	}
}

func TestUnknownKeysInAnswersAreTolerated(t *testing.T) {
	status, err := decode[*Status](`{"ready":true,"later":{},"lastLoad":{"ok":true,"when":1},"networks":[{"name":"a","x":[]}]}`)
	if err != nil || !status.Ready || status.Networks[0].Name != "a" {
		t.Error(status, err)
	}
}

func TestContextDeadlineEndsAHangingPlugin(t *testing.T) {
	_, dir, options := hanging(t)
	plugin := open(t, options)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	go func() { _, _ = os.ReadFile(dir + "/started") }()
	_, err := plugin.SetUpPod(ctx, pod("a"))
	if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Errorf("%#v", err)
	}
	undone(t, dir)
}

func TestRequestTimeoutIsNotTheContexts(t *testing.T) {
	_, dir, options := hanging(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	request := pod("a")
	request.Timeout = 300 * time.Millisecond
	go func() { _, _ = os.ReadFile(dir + "/started") }()
	_, err := open(t, options).SetUpPod(ctx, request)
	if !errors.Is(err, ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%#v", err)
	}
}

func TestCancel(t *testing.T) {
	for _, row := range []struct {
		name    string
		callID  string
		cancel  func(*Plugin, context.CancelFunc)
		context bool
	}{
		{"by the context", "", func(_ *Plugin, cancel context.CancelFunc) { cancel() }, true},
		{"by the context of a named call", "mine", func(_ *Plugin, cancel context.CancelFunc) { cancel() }, true},
		{"by call ID", "mine", func(p *Plugin, _ context.CancelFunc) { _ = p.Cancel("mine") }, false},
		{"by pod ID", "", func(p *Plugin, _ context.CancelFunc) { _ = p.Cancel("a") }, false},
		{"all", "", func(p *Plugin, _ context.CancelFunc) { _ = p.Cancel("") }, false},
		{"by Close", "", func(p *Plugin, _ context.CancelFunc) { _ = p.Close() }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			started, dir, options := hanging(t)
			plugin := open(t, options)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			request := pod("a")
			request.CallID = row.callID
			go func() {
				started()
				row.cancel(plugin, cancel)
			}()
			_, err := plugin.SetUpPod(ctx, request)
			if !errors.Is(err, ErrCancelled) || errors.Is(err, context.Canceled) != row.context {
				t.Errorf("%#v", err)
			}
			undone(t, dir)
		})
	}
}

// undone checks that a DEL followed the ADD.
func undone(t *testing.T, dir string) {
	t.Helper()
	log, _ := os.ReadFile(dir + "/log")
	if string(log) != "ADD\nDEL\n" {
		t.Errorf("the plugin ran %q", log)
	}
}

func TestAContextThatIsOverBeginsNothing(t *testing.T) {
	plugin := noop(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, pods := plugin.ListPods(ctx)
	_, status := plugin.Status(ctx)
	_, pod := plugin.SetUpPod(ctx, pod("a"))
	_, gc := plugin.GC(ctx, GCRequest{ValidPods: []ValidPod{}})
	for _, err := range []error{pods, status, pod, gc, plugin.Event(ctx, "x", nil)} {
		if !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// late is a context that ends right after somebody looked at it.
type late struct {
	context.Context
	looks atomic.Int32
}

func (l *late) Err() error {
	if l.looks.Add(1) == 1 {
		return nil
	}
	return l.Context.Err()
}

func TestACancelThatComesBeforeTheCallIsNotLost(t *testing.T) {
	_, dir, options := hanging(t)
	go func() { _, _ = os.ReadFile(dir + "/started") }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	// The library does not know the call before it has read a long request: that is when it is cancelled first.
	request := pod("a")
	request.Annotations = map[string]string{}
	for i := range 100_000 {
		request.Annotations[fmt.Sprint(i)] = "x"
	}
	_, err := open(t, options).SetUpPod(&late{Context: ctx}, request)
	if !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) {
		t.Errorf("%#v", err)
	}
}

func TestClosed(t *testing.T) {
	plugin, ctx := noop(t), context.Background()
	if err := errors.Join(plugin.Close(), plugin.Close()); err != nil {
		t.Error(err)
	}
	_, set := plugin.SetUpPod(ctx, pod("a"))
	_, status := plugin.Status(ctx)
	_, metrics := plugin.Metrics(ctx)
	_, gc := plugin.GC(ctx, GCRequest{ValidPods: []ValidPod{}})
	for _, err := range []error{set, status, metrics, gc, plugin.Event(ctx, "x", nil), plugin.Cancel("")} {
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if plugin.Name() == "" {
		t.Error("the name is gone")
	}
}

func TestCloseWaitsForEveryCloser(t *testing.T) {
	started, dir, options := hanging(t)
	plugin := open(t, options)
	ended := make(chan error, 1)
	go func() {
		_, err := plugin.SetUpPod(context.Background(), pod("a"))
		ended <- err
	}()
	started()
	var closers sync.WaitGroup
	for range 4 {
		closers.Add(1)
		go func() {
			defer closers.Done()
			_ = plugin.Close()
			undone(t, dir)
		}()
	}
	closers.Wait()
	if err := <-ended; !errors.Is(err, ErrCancelled) {
		t.Error(err)
	}
}

func TestAForgottenPluginIsClosed(t *testing.T) {
	freed := func() <-chan struct{} {
		plugin, err := NewPlugin(Options{Plugin: PluginNoop, Callbacks: Callbacks{Log: func(LogEntry) {}}})
		if err != nil {
			t.Fatal(err)
		}
		return plugin.s.freed
	}()
	for {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestManyGoroutines(t *testing.T) {
	_, options := node(t, `[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0"}'; exit 0`)
	options.Durability = DurabilityAtomic
	plugin, ctx := open(t, options), context.Background()
	var all sync.WaitGroup
	for i := range 64 {
		all.Add(1)
		go func() {
			defer all.Done()
			request := pod(fmt.Sprint("pod", i))
			if _, err := plugin.SetUpPod(ctx, request); err != nil {
				t.Error(err)
			}
			if status, err := plugin.Status(ctx); err != nil || !status.Ready {
				t.Error(status, err)
			}
			if _, err := plugin.TearDownPod(ctx, request); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
	if pods, err := plugin.ListPods(ctx); err != nil || len(pods) != 0 {
		t.Error(pods, err)
	}
}

func TestManyGoroutinesMeetAClose(t *testing.T) {
	plugin, ctx := noop(t), context.Background()
	var all sync.WaitGroup
	for i := range 64 {
		all.Add(1)
		go func() {
			defer all.Done()
			if i == 32 {
				_ = plugin.Close()
			}
			for {
				_, err := plugin.SetUpPod(ctx, pod("a"))
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil && !errors.Is(err, ErrCancelled) {
					t.Error(err)
				}
			}
		}()
	}
	all.Wait()
}

func TestJSONHelpers(t *testing.T) {
	if text, err := JSONGet(`{"ips":["10.0.0.2"]}`, "/ips/0"); text != "10.0.0.2" || err != nil {
		t.Error(text, err)
	}
	if _, err := JSONGet(`{}`, "/ips"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if _, err := JSONGet(``, ""); !errors.Is(err, ErrInvalidArgument) {
		t.Error(err)
	}
	text, err := JSONSet("", "/a/b", "[1]")
	if err == nil {
		text, err = JSONSetString(text, "/a/c", `"q"`)
	}
	if text != `{"a":{"b":[1],"c":"\"q\""}}` || err != nil {
		t.Error(text, err)
	}
}

func TestVersion(t *testing.T) {
	versions := found(`(?m)^version = "(.+)"`, read(t, "../../Cargo.toml"))
	if len(versions) == 0 || Version() != versions[0] || !strings.HasPrefix(Version(), fmt.Sprint(ABIVersion(), ".")) {
		t.Error(Version(), ABIVersion(), versions)
	}
}

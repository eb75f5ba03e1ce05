package cnirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	types020 "github.com/containernetworking/cni/pkg/types/020"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"go.opentelemetry.io/otel/trace"
)

func openCNI(t *testing.T, path []string, cacheDir string, opts ...Option) *CNI {
	t.Helper()
	opts = append([]Option{WithDurability(DurabilityAtomic), WithKillGrace(100 * time.Millisecond)}, opts...)
	cni := NewCNI(path, cacheDir, opts...)
	t.Cleanup(func() { _ = cni.Close() })
	return cni
}

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

func listOf(t *testing.T, text string) *libcni.NetworkConfigList {
	t.Helper()
	list, err := libcni.ConfListFromBytes([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func containerRT() *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: "c1", NetNS: "/run/netns/c1", IfName: "eth0", Args: [][2]string{{"A", "b"}},
		CapabilityArgs: map[string]any{"portMappings": []any{map[string]any{"hostPort": 80}}, "other": 1},
	}
}

const twoPlugins = `{"cniVersion":"%s","name":"net","plugins":[
	{"type":"one","capabilities":{"portMappings":true}},{"type":"two","name":"second","x":{"y":1.5}}]}`

// unwrapping is an error's chain as its callers can see it.
func unwrapping(err error) (chain []string) {
	for err != nil {
		var object *types.Error
		kind := "plain"
		if errors.As(err, &object) {
			kind = fmt.Sprintf("types.Error %d %q %q", object.Code, object.Msg, object.Details)
		}
		chain = append(chain, fmt.Sprintf("%s: %s, not supported: %v", kind, err, errors.Is(err, libcni.ErrorCheckNotSupp)))
		if list, ok := err.(interface{ Unwrap() []error }); ok && reflect.TypeOf(err).String() == "*errors.joinError" {
			for _, one := range list.Unwrap() {
				chain = append(chain, unwrapping(one)...)
			}
			return chain
		}
		err = errors.Unwrap(err)
	}
	return chain
}

// Every row is done by libcni and by this package, and must give the same results and errors, run the same plugins and
// leave the same cache.
func TestRowsAsLibcni(t *testing.T) {
	t.Setenv("CNIRT_TEST", "shown to plugins")
	ctx := context.Background()
	fails := func(on string, err error) func(context.Context, string, []byte, []string) ([]byte, error) {
		return func(ctx context.Context, command string, stdin []byte, env []string) ([]byte, error) {
			if command == on {
				return nil, err
			}
			return answers(ctx, command, stdin, env)
		}
	}
	object := &types.Error{Code: 11, Msg: "busy", Details: "come back"}
	own := fmt.Errorf("of its own: %w", os.ErrPermission)
	for _, row := range []struct {
		name    string
		version string
		run     func(context.Context, string, []byte, []string) ([]byte, error)
		find    func(string, []string) (string, error)
		do      func(libcni.CNI, *libcni.NetworkConfigList) []any
	}{
		{name: "a life", do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
			result, err := c.AddNetworkList(ctx, list, containerRT())
			got := []any{result, err, c.CheckNetworkList(ctx, list, containerRT())}
			cached, err := c.GetNetworkListCachedResult(list, containerRT())
			config, rt, err2 := c.GetNetworkListCachedConfig(list, &libcni.RuntimeConf{ContainerID: "c1", IfName: "eth0"})
			attachments, err3 := c.GetCachedAttachments("")
			return append(got, cached, err, string(config), rt, err2, attachments, err3,
				c.GetStatusNetworkList(ctx, list), c.DelNetworkList(ctx, list, containerRT()))
		}},
		{name: "a single network's life", do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
			net := &libcni.PluginConfig{
				Network: &types.PluginConf{CNIVersion: "1.0.0", Name: "net", Type: "one", Capabilities: map[string]bool{"other": true}},
				Bytes:   []byte(`{"cniVersion":"1.0.0","name":"net","type":"one","capabilities":{"other":true}}`),
			}
			result, err := c.AddNetwork(ctx, net, containerRT())
			got := []any{result, err, c.CheckNetwork(ctx, net, containerRT())}
			cached, err := c.GetNetworkCachedResult(net, containerRT())
			config, rt, err2 := c.GetNetworkCachedConfig(net, containerRT())
			capabilities, err3 := c.ValidateNetwork(ctx, net)
			return append(got, cached, err, string(config), rt, err2, capabilities, err3, c.DelNetwork(ctx, net, containerRT()))
		}},
		{name: "nothing cached", do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
			cached, err := c.GetNetworkListCachedResult(list, containerRT())
			config, rt, err2 := c.GetNetworkListCachedConfig(list, containerRT())
			attachments, err3 := c.GetCachedAttachments("c1")
			return []any{cached, err, config, rt, err2, attachments, err3}
		}},
		{name: "an old version has no CHECK", version: "0.3.1", do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
			return []any{c.CheckNetworkList(ctx, list, containerRT())}
		}},
		{name: "a plugin's error object", run: fails("ADD", object), do: addAndDel},
		{name: "a plugin's error object at DEL", run: fails("DEL", object), do: addAndDel},
		{name: "an error of the Exec's own", run: fails("ADD", own), do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
			_, err := c.AddNetworkList(ctx, list, containerRT())
			return []any{err, errors.Is(err, own), errors.Is(err, os.ErrPermission)}
		}},
		{name: "a single network's error", run: fails("ADD", object), do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
			_, err := c.AddNetwork(ctx, list.Plugins[0], &libcni.RuntimeConf{ContainerID: "a", IfName: "b"})
			net := *list.Plugins[0]
			net.Network.Name = "net"
			_, named := c.AddNetwork(ctx, &net, containerRT())
			_, is := named.(*types.Error)
			return []any{err, named, is}
		}},
		{name: "a plugin that is not found", find: func(string, []string) (string, error) { return "", own }, do: addAndDel},
		{name: "a path that is empty", find: func(string, []string) (string, error) { return "", nil }, do: addAndDel},
		{name: "a bad container ID", do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
			_, err := c.AddNetworkList(ctx, list, &libcni.RuntimeConf{ContainerID: "../x", IfName: "eth0"})
			return []any{err}
		}},
		{name: "STATUS", version: "1.1.0", run: fails("STATUS", &types.Error{Code: 50, Msg: "not yet"}),
			do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
				err := c.GetStatusNetworkList(ctx, list)
				_, is := err.(*types.Error)
				return []any{err, is}
			}},
		{name: "VALIDATE", do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
			capabilities, err := c.ValidateNetworkList(ctx, list)
			info, err2 := c.GetVersionInfo(ctx, "one")
			return []any{capabilities, err, info, err2}
		}},
		{name: "VALIDATE of what is not supported", version: "0.3.1", do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
			capabilities, err := c.ValidateNetworkList(ctx, list)
			return []any{capabilities, err}
		}},
		{name: "VALIDATE of what is not found", find: func(string, []string) (string, error) { return "", own },
			do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
				capabilities, err := c.ValidateNetworkList(ctx, list)
				return []any{capabilities, err}
			}},
		{name: "GC", version: "1.1.0", do: addAndGC},
		{name: "GC that fails", version: "1.1.0", run: fails("GC", object), do: addAndGC},
		{name: "GC whose DEL fails", version: "1.1.0", run: fails("DEL", object), do: addAndGC},
		{name: "GC of everything", version: "1.1.0", run: fails("GC", own), do: func(c libcni.CNI, list *libcni.NetworkConfigList) []any {
			_, err := c.AddNetworkList(ctx, list, containerRT())
			return []any{err, c.GCNetworkList(ctx, list, nil), c.GCNetworkList(ctx, list, &libcni.GCArgs{})}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var seen [2]string
			for i := range seen {
				exec := &fakeExec{run: row.run, find: row.find}
				if exec.run == nil {
					exec.run = answers
				}
				dir := t.TempDir()
				var c libcni.CNI = libcni.NewCNIConfigWithCacheDir([]string{"/a", "/b"}, dir, exec)
				if i == 1 {
					c = openCNI(t, []string{"/a", "/b"}, dir, WithExec(exec))
				}
				conf := row.version
				if conf == "" {
					conf = "1.0.0"
				}
				seen[i] = shown(row.do(c, listOf(t, fmt.Sprintf(twoPlugins, conf)))) + "ran " + strings.Join(exec.ran, "") + left(t, dir)
			}
			if seen[0] != seen[1] {
				t.Errorf("libcni: %s\ncnirt: %s", seen[0], seen[1])
			}
		})
	}
}

func addAndDel(c libcni.CNI, list *libcni.NetworkConfigList) []any {
	result, err := c.AddNetworkList(context.Background(), list, containerRT())
	return []any{result, err, c.DelNetworkList(context.Background(), list, containerRT())}
}

func addAndGC(c libcni.CNI, list *libcni.NetworkConfigList) []any {
	_, err := c.AddNetworkList(context.Background(), list, containerRT())
	keep := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: "other", IfName: "eth0"}}}
	return []any{err, c.GCNetworkList(context.Background(), list, keep)}
}

func shown(values []any) string {
	var text strings.Builder
	for _, value := range values {
		if err, ok := value.(error); ok {
			fmt.Fprintln(&text, "error", strings.Join(unwrapping(err), "\n  "))
			continue
		}
		encoded, _ := json.Marshal(value)
		fmt.Fprintf(&text, "%T %s\n", value, encoded)
	}
	return text.String()
}

// left is what is in the cache.
func left(t *testing.T, dir string) string {
	files, _ := os.ReadDir(dir + "/results")
	var text string
	for _, file := range files {
		var entry map[string]any
		_ = json.Unmarshal([]byte(read(t, dir+"/results/"+file.Name())), &entry)
		encoded, _ := json.Marshal(entry)
		text += file.Name() + " " + string(encoded) + "\n"
	}
	return text
}

// shellPlugin is a directory with a plugin that is this shell script.
func shellPlugin(t *testing.T, script string) string {
	dir := t.TempDir()
	write(t, dir+"/fake", "#!/bin/sh\ndir="+dir+"\n"+script)
	return dir
}

const fakeList = `{"cniVersion":"%s","name":"net","plugins":[{"type":"fake"}]}`

func TestTheNativeEngineFailsAsLibcni(t *testing.T) {
	for name, script := range map[string]string{
		"an error object":     `echo '{"code":7,"msg":"bad","details":"worse"}'; exit 1`,
		"nothing":             `exit 1`,
		"standard error only": `echo oops >&2; exit 3`,
	} {
		dir := shellPlugin(t, "cat >/dev/null\n"+script)
		var seen [2]string
		for i, c := range []libcni.CNI{
			libcni.NewCNIConfigWithCacheDir([]string{dir}, t.TempDir(), nil),
			openCNI(t, []string{dir}, t.TempDir(), WithExec(&invoke.DefaultExec{RawExec: &invoke.RawExec{}})),
		} {
			seen[i] = shown(addAndDel(c, listOf(t, fmt.Sprintf(fakeList, "1.0.0"))))
		}
		if seen[0] != seen[1] {
			t.Errorf("%s\nlibcni: %s\ncnirt: %s", name, seen[0], seen[1])
		}
	}
}

func TestResultsAreOfTheirVersionsTypes(t *testing.T) {
	for conf, want := range map[string]types.Result{"0.2.0": &types020.Result{}, "1.1.0": &types100.Result{}} {
		dir := shellPlugin(t, `cat >/dev/null; echo '{"ip4":{"ip":"10.0.0.2/24"}}'`)
		result, err := openCNI(t, []string{dir}, t.TempDir()).AddNetworkList(context.Background(), listOf(t, fmt.Sprintf(fakeList, conf)), containerRT())
		if err != nil || reflect.TypeOf(result) != reflect.TypeOf(want) || result.Version() != conf {
			t.Errorf("%s: %T, %v", conf, result, err)
		}
	}
}

func TestDetailsAreBelowTheWords(t *testing.T) {
	dir := shellPlugin(t, `cat >/dev/null; [ "$CNI_COMMAND" = DEL ] || { echo '{"code":11,"msg":"busy"}'; exit 1; }`)
	cni := openCNI(t, []string{dir}, t.TempDir(), WithRollback(true))
	_, err := cni.AddNetworkList(context.Background(), listOf(t, fmt.Sprintf(fakeList, "1.0.0")), containerRT())
	var ours *Error
	if !errors.As(err, &ours) || ours.Class != ErrRetry || ours.Rollback == nil || !ours.Rollback.Done || !errors.Is(err, ErrRetry) {
		t.Errorf("%v, %+v", err, ours)
	}
}

func TestAContextEndsAPlugin(t *testing.T) {
	for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
		dir := shellPlugin(t, "cat >/dev/null; echo >$dir/started; exec sleep 1000")
		if err := syscall.Mkfifo(dir+"/started", 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		if want == context.DeadlineExceeded {
			ctx, cancel = context.WithTimeout(context.Background(), 500*time.Millisecond)
		}
		go func() {
			_, _ = os.ReadFile(dir + "/started")
			if want == context.Canceled {
				cancel()
			}
		}()
		_, err := openCNI(t, []string{dir}, t.TempDir()).AddNetworkList(ctx, listOf(t, fmt.Sprintf(fakeList, "1.0.0")), containerRT())
		var object *types.Error
		var ours *Error
		if !errors.Is(err, want) || !errors.As(err, &object) || !errors.As(err, &ours) ||
			!strings.HasPrefix(err.Error(), `plugin type="fake" failed (add): `) {
			t.Errorf("%v: %#v", want, err)
		}
		cancel()
	}
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

func TestPluginsAreToldOfTheTrace(t *testing.T) {
	dir := shellPlugin(t, `cat >/dev/null; echo "$TRACEPARENT" >$dir/trace`)
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	ctx := trace.ContextWithSpanContext(context.Background(), span)
	if err := openCNI(t, []string{dir}, t.TempDir()).DelNetworkList(ctx, listOf(t, fmt.Sprintf(fakeList, "1.0.0")), containerRT()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir+"/trace"); got != "00-01000000000000000000000000000000-0200000000000000-01\n" {
		t.Error(got)
	}
}

func TestOptionsThatCannotBeAreTheErrorOfEveryCall(t *testing.T) {
	cni := NewCNI([]string{"/a"}, "", WithDurability("none"))
	_, err := cni.GetCachedAttachments("")
	if !errors.Is(err, ErrInvalidArgument) || cni.Close() != nil {
		t.Error(err)
	}
}

func TestEnvIsExact(t *testing.T) {
	t.Setenv("CNIRT_TEST", "x")
	dir := shellPlugin(t, `cat >/dev/null; echo "$CNIRT_TEST,$OWN" >$dir/env`)
	cni := openCNI(t, []string{dir}, t.TempDir(), WithEnv(map[string]string{"OWN": "y", "PATH": os.Getenv("PATH")}))
	if err := cni.DelNetworkList(context.Background(), listOf(t, fmt.Sprintf(fakeList, "1.0.0")), containerRT()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir+"/env"); got != ",y\n" {
		t.Error(got)
	}
}

func threads(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func Test500CallsDoNotTake500Threads(t *testing.T) {
	const calls, opThreads = 500, 8
	dir := shellPlugin(t, "cat >/dev/null; exec sleep 1000")
	cni := openCNI(t, []string{dir}, t.TempDir(), WithOpThreads(opThreads))
	list := listOf(t, fmt.Sprintf(fakeList, "1.0.0"))
	_, options := node(t, "[ $CNI_COMMAND = ADD ] && exec sleep 1000; exit 0")
	options.OpThreads = opThreads
	plugin := open(t, options)
	before := threads(t)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range calls {
		all.Add(1)
		go func() {
			defer all.Done()
			rt := containerRT()
			rt.ContainerID = fmt.Sprint("c", i)
			var err error
			if i%2 == 0 {
				_, err = cni.AddNetworkList(ctx, list, rt)
			} else {
				_, err = plugin.SetUpPod(ctx, pod(rt.ContainerID))
			}
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}()
	}
	begun := func(s *session) int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.calls)
	}
	for begun(cni.s)+begun(plugin.s) < calls {
		time.Sleep(time.Millisecond)
	}
	if during := threads(t); during > before+2*opThreads+32 {
		t.Errorf("%d threads before, %d during %d calls", before, during, calls)
	} else {
		t.Logf("%d threads before, %d during %d calls", before, during, calls)
	}
	cancel()
	all.Wait()
}

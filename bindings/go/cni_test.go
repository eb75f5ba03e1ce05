package cnirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types020 "github.com/containernetworking/cni/pkg/types/020"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"go.opentelemetry.io/otel/trace"
)

func openCNI(t *testing.T, path []string, cacheDir string, opts ...Option) *CNI {
	t.Helper()
	opts = append([]Option{WithDurability(DurabilityAtomic), WithKillGrace(100 * time.Millisecond)}, opts...)
	cni := NewCNI(path, cacheDir, opts...)
	t.Cleanup(func() { _ = cni.Close() })
	return cni
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

// shellPlugin is a directory with a plugin that is this shell script.
func shellPlugin(t *testing.T, script string) string {
	dir := t.TempDir()
	write(t, dir+"/fake", "#!/bin/sh\ndir="+dir+"\n"+script)
	return dir
}

const fakeList = `{"cniVersion":"%s","name":"net","plugins":[{"type":"fake"}]}`

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

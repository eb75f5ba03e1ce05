package cnirt

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"
)

func TestGCRequestRoundTrip(t *testing.T) {
	testRoundTrip[GCRequest](t, "../../src/pod/gc.rs", requestKeys, 7)
}

func TestGCRequestIsKnownToTheLibrary(t *testing.T) {
	var request GCRequest
	fill(reflect.ValueOf(&request).Elem())
	request.Timeout = time.Minute
	if result, err := noop(t).GC(context.Background(), request); err != nil || len(result.Deleted) != 0 {
		t.Error(result, err)
	}
}

func TestGCDeletesWhatIsNotValid(t *testing.T) {
	_, options := node(t, `[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0"}'; exit 0`)
	plugin, ctx := open(t, options), context.Background()
	for _, id := range []string{"a", "b", "c"} {
		if _, err := plugin.SetUpPod(ctx, pod(id)); err != nil {
			t.Fatal(err)
		}
	}
	attachment := Attachment{"test", "eth0"}
	other := []Attachment{{"test", "eth1"}}
	for _, row := range []struct {
		name  string
		valid []ValidPod
		want  []CollectedNetwork
	}{
		{"all are valid", []ValidPod{{ID: "a"}, {ID: "b", Networks: []Attachment{attachment}}, {ID: "c"}}, nil},
		{"one has another attachment", []ValidPod{{ID: "a"}, {ID: "b"}, {ID: "c", Networks: other}}, []CollectedNetwork{{attachment, "c"}}},
		{"one has none", []ValidPod{{ID: "a"}, {ID: "b", Networks: []Attachment{}}}, []CollectedNetwork{{attachment, "b"}}},
		{"none is valid", []ValidPod{}, []CollectedNetwork{{attachment, "a"}}},
	} {
		if result, err := plugin.GC(ctx, GCRequest{ValidPods: row.valid}); err != nil || !slices.Equal(result.Deleted, row.want) {
			t.Errorf("%s: %+v, %v", row.name, result, err)
		}
	}
	if pods, err := plugin.ListPods(ctx); err != nil || len(pods) != 0 {
		t.Error(pods, err)
	}
}

func TestGCWithoutAListDeletesNothing(t *testing.T) {
	_, options := node(t, `[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0"}'; exit 0`)
	plugin, ctx := open(t, options), context.Background()
	if _, err := plugin.SetUpPod(ctx, pod("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := plugin.GC(ctx, GCRequest{}); !errors.Is(err, ErrInvalidArgument) {
		t.Error(err)
	}
	if pods, err := plugin.ListPods(ctx); err != nil || len(pods) != 1 {
		t.Error(pods, err)
	}
}

// hangingDEL is a node with a pod whose DEL never ends.
func hangingDEL(t *testing.T) (started func(), plugin *Plugin) {
	started, dir, options := hanging(t)
	write(t, dir+"/bin/fake", "#!/bin/sh\n"+`case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
ADD) echo '{"cniVersion":"1.0.0"}' ;;
DEL) echo >`+dir+`/started; exec sleep 1000 ;;
esac`)
	plugin = open(t, options)
	if _, err := plugin.SetUpPod(context.Background(), pod("a")); err != nil {
		t.Fatal(err)
	}
	return started, plugin
}

func TestGCEndsWithItsContext(t *testing.T) {
	for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
		started, plugin := hangingDEL(t)
		ctx, cancel := context.WithCancel(context.Background())
		if want == context.DeadlineExceeded {
			ctx, cancel = context.WithTimeout(context.Background(), 500*time.Millisecond)
		}
		go func() {
			started()
			if want == context.Canceled {
				cancel()
			}
		}()
		if _, err := plugin.GC(ctx, GCRequest{ValidPods: []ValidPod{}}); !errors.Is(err, want) {
			t.Errorf("%v: %#v", want, err)
		}
		cancel()
	}
}

func TestGCIsCancelledByItsName(t *testing.T) {
	started, plugin := hangingDEL(t)
	go func() {
		started()
		_ = plugin.Cancel("mine")
	}()
	_, err := plugin.GC(context.Background(), GCRequest{ValidPods: []ValidPod{}, CallID: "mine"})
	if !errors.Is(err, ErrCancelled) || errors.Is(err, context.Canceled) {
		t.Errorf("%#v", err)
	}
}

func TestAForcedTearDownTellsWhatFailed(t *testing.T) {
	dir, options := node(t, `[ "$CNI_COMMAND" = ADD ] && { echo '{"cniVersion":"1.0.0"}'; exit; }
echo '{"code":100,"msg":"stuck"}'; exit 1`)
	plugin, ctx := open(t, options), context.Background()
	if _, err := plugin.SetUpPod(ctx, pod("a")); err != nil {
		t.Fatal(err)
	}
	if _, err := plugin.TearDownPod(ctx, pod("a")); !errors.Is(err, ErrPlugin) {
		t.Error(err)
	}
	forced := pod("a")
	forced.Force = true
	result, err := plugin.TearDownPod(ctx, forced)
	if err != nil || len(result.Networks) != 1 || len(result.Errors) != 1 || result.Errors[0].Cause.Msg != "stuck" ||
		!errors.Is(result.Errors[0], ErrPlugin) {
		t.Errorf("%+v, %v", result, err)
	}
	if left, err := os.ReadDir(dir + "/cache/results"); err != nil || len(left) != 0 {
		t.Error(left, err)
	}
}

func TestReplaceRemovesFirst(t *testing.T) {
	dir, options := node(t, `echo "$CNI_COMMAND" >>$dir/log
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0"}'; exit 0`)
	plugin, ctx := open(t, options), context.Background()
	for _, replace := range []bool{false, true} {
		request := pod("a")
		request.Replace = replace
		if _, err := plugin.SetUpPod(ctx, request); err != nil {
			t.Fatal(err)
		}
	}
	if log := read(t, dir+"/log"); log != "ADD\nDEL\nADD\n" {
		t.Errorf("the plugin ran %q", log)
	}
}

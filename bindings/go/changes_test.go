package cnirt

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func receive(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	select {
	case _, open := <-changed:
		if !open {
			t.Fatal("closed")
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing was told")
	}
}

func TestChangesAreToldUntilClose(t *testing.T) {
	dir, options := node(t, "")
	if err := os.Remove(dir + "/net.d/10-test.conflist"); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/bin/fake", "#!/bin/sh\necho '{\"cniVersion\":\"1.0.0\",\"supportedVersions\":[\"1.0.0\"]}'\n")
	plugin := open(t, options)
	changed, err := plugin.Changed()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := plugin.Changed(); err != nil || again != changed {
		t.Fatalf("another channel: %v", err)
	}
	ready := func() bool {
		t.Helper()
		status, err := plugin.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return status.Ready
	}
	receive(t, changed)
	if ready() {
		t.Fatal("ready without a configuration")
	}
	for range 3 {
		write(t, dir+"/net.d/10-test.conflist", `{"cniVersion":"1.0.0","name":"test","plugins":[{"type":"fake"}]}`)
		// One that was made while the file was half written is told of once more.
		for receive(t, changed); !ready(); receive(t, changed) {
		}
		if err := os.RemoveAll(dir + "/net.d"); err != nil {
			t.Fatal(err)
		}
		for gone := false; !gone; {
			receive(t, changed)
			status, err := plugin.Status(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			gone = !status.LastLoad.OK
		}
	}
	if err := plugin.Close(); err != nil {
		t.Fatal(err)
	}
	for range changed {
	}
	if _, err := plugin.Changed(); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	// It has closed the channel, and has nothing else to do but to end.
	stacks := make([]byte, 1<<20)
	for strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "(*changes).watch") {
		runtime.Gosched()
	}
}

func TestTheNoopPluginHasNoChanges(t *testing.T) {
	if _, err := noop(t).Changed(); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

func TestAPluginThatNobodyHasIsEndedWithItsChanges(t *testing.T) {
	_, options := node(t, "")
	changed := func() <-chan struct{} {
		plugin, err := NewPlugin(options)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := plugin.Changed()
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}()
	receive(t, changed)
	closed := make(chan struct{})
	go func() {
		for range changed {
		}
		close(closed)
	}()
	for {
		runtime.GC()
		select {
		case <-closed:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

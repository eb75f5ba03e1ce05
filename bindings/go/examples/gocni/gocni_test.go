package gocni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	cnirt "github.com/cnirt/cnirt/bindings/go"
	gocni "github.com/containerd/go-cni"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
)

// node is a configuration directory with one network, and a directory with its only plugin, a shell script that notes
// what it gets.
func node(t *testing.T) (dir, confDir string) {
	t.Helper()
	dir, confDir = t.TempDir(), t.TempDir()
	write(t, confDir+"/10-net.conflist", `{"cniVersion":"1.0.0","name":"net","plugins":[
		{"type":"fake","capabilities":{"portMappings":true}}]}`)
	write(t, dir+"/fake", `#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $CNI_ARGS" >>`+dir+`/log
cat >>`+dir+`/log; echo >>`+dir+`/log
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/x"}],
	"ips":[{"address":"10.9.8.7/24","gateway":"10.9.8.1","interface":0}],"dns":{"nameservers":["10.0.0.53"]}}'
exit 0`)
	return dir, confDir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func over(t *testing.T, dir, confDir string) *CNI {
	cni := cnirt.NewCNI([]string{dir}, t.TempDir(), cnirt.WithExec(&invoke.DefaultExec{RawExec: &invoke.RawExec{}}))
	t.Cleanup(func() { _ = cni.Close() })
	return New(cni, Options{PluginDirs: []string{dir}, ConfDir: confDir})
}

// drive uses a CNI as a runtime does, and returns what it saw and what the plugin got.
func drive(t *testing.T, cni gocni.CNI, dir string, opts ...gocni.NamespaceOpts) string {
	t.Helper()
	ctx := context.Background()
	result, err := cni.Setup(ctx, "c1", "/run/netns/c1", opts...)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(cni.Status(), cni.Check(ctx, "c1", "/run/netns/c1", opts...), cni.Remove(ctx, "c1", "/run/netns/c1", opts...))
	seen, _ := json.Marshal([]any{result, cni.GetConfig()})
	log, _ := os.ReadFile(dir + "/log")
	_ = os.Remove(dir + "/log")
	// JSON keys are in no order that anybody promises.
	var lines []string
	for _, line := range strings.Split(string(log), "\n") {
		var object any
		if json.Unmarshal([]byte(line), &object) == nil {
			sorted, _ := json.Marshal(object)
			line = string(sorted)
		}
		lines = append(lines, line)
	}
	return fmt.Sprintln(err, string(seen), strings.Join(lines, "\n"))
}

func TestARuntimeSeesWhatGoCNIShows(t *testing.T) {
	dir, confDir := node(t)
	libcni.CacheDir = t.TempDir()
	theirs, err := gocni.New(gocni.WithPluginDir([]string{dir}), gocni.WithPluginConfDir(confDir))
	if err == nil {
		err = theirs.Load(gocni.WithDefaultConf)
	}
	if err != nil {
		t.Fatal(err)
	}
	ours := over(t, dir, confDir)
	if err := ours.Status(); !gocni.IsCNINotInitialized(err) {
		t.Error(err)
	}
	if err := ours.Load(); err != nil {
		t.Fatal(err)
	}
	ports := []gocni.PortMapping{{HostPort: 80, ContainerPort: 8080, Protocol: "tcp"}}
	want := drive(t, theirs, dir, gocni.WithCapabilityPortMap(ports), gocni.WithArgs("K8S_POD_NAME", "web"))
	got := drive(t, ours, dir, WithCapability("portMappings", ports), WithArgs("K8S_POD_NAME", "web"))
	if got != want {
		t.Errorf("go-cni: %s\ncnirt: %s", want, got)
	}
	for _, part := range []string{"10.9.8.7", `"HostPort":80`, "K8S_POD_NAME=web", "CHECK c1", "DEL c1"} {
		if !strings.Contains(got, part) {
			t.Errorf("%q is not in %s", part, got)
		}
	}
}

func TestGoCNIsOwnOptionsAreRefused(t *testing.T) {
	dir, confDir := node(t)
	cni := over(t, dir, confDir)
	if err := cni.Load(gocni.WithDefaultConf); !errors.Is(err, ErrOption) {
		t.Error(err)
	}
	if err := cni.Load(); err != nil {
		t.Fatal(err)
	}
	if _, err := cni.Setup(context.Background(), "c1", "", gocni.WithArgs("A", "b")); !errors.Is(err, ErrOption) {
		t.Error(err)
	}
	if _, err := os.Stat(dir + "/log"); err == nil {
		t.Error("a plugin ran")
	}
}

func Example() {
	runtime := cnirt.NewCNI([]string{"/opt/cni/bin"}, "")
	defer runtime.Close()
	var cni gocni.CNI = New(runtime, Options{ConfDir: "/nonexistent"})
	fmt.Println(errors.Is(cni.Load(), gocni.ErrCNINotInitialized))
	// Output: true
}

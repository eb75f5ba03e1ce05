package cnirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
)

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
		{name: "VALIDATE of a network without text", do: func(c libcni.CNI, _ *libcni.NetworkConfigList) []any {
			capabilities, err := c.ValidateNetwork(ctx, &libcni.PluginConfig{Network: &types.PluginConf{Type: "x", CNIVersion: "0.4.0"}})
			return []any{capabilities, err}
		}},
		{name: "a plugin older than VERSION", do: func(c libcni.CNI, _ *libcni.NetworkConfigList) []any {
			info, err := c.GetVersionInfo(ctx, "old")
			return []any{info, err}
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

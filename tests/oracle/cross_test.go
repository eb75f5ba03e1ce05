package oracle

// Caches cross over: what one library attached with real plugins, the other one checks, lists, collects and deletes.
// Below a release's name the tests run on a node (node_test.go).

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cnirt/cnirt/bindings/go"
	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

func TestCachesCrossOver(t *testing.T) {
	if dir := os.Getenv(insideOf); dir != "" {
		crossOnANode(t, dir)
		return
	}
	for _, release := range releases(t) {
		t.Run(release.name, func(t *testing.T) {
			t.Parallel()
			if err := onANode("TestCachesCrossOver", release.dir); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// crossOnANode has every version that the plugins in a directory support, and every form of an entry.
func crossOnANode(t *testing.T, plugins string) {
	libraries := map[string]network{"libcni": theirs, "cnirt": ours}
	info, err := theirs(t, []string{plugins}, "", nil).GetVersionInfo(context.Background(), "bridge")
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{"libcni", "cnirt"}, {"cnirt", "libcni"}} {
		for _, version := range []string{"0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
			if !slices.Contains(info.SupportedVersions(), version) {
				continue
			}
			for _, form := range []string{"entry", "bare result", "bare result of 0.2.0", "no bytes"} {
				t.Run(fmt.Sprintf("%s's, %s, %s", pair[0], version, form), func(t *testing.T) {
					cross(t, plugins, libraries[pair[0]], libraries[pair[1]], version, form)
				})
			}
		}
	}
}

// cross attaches two containers with one library and lets the other one do the rest.
func cross(t *testing.T, plugins string, first, second network, version, form string) {
	ctx := context.Background()
	dir := t.TempDir()
	list, err := libcni.NetworkConfFromBytes([]byte(fmt.Sprintf(`{"cniVersion":%q,"name":"cross","plugins":[`+
		`{"type":"bridge","bridge":"cross0","isGateway":true,"ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":"10.99.0.0/24"}]]}},`+
		`{"type":"portmap","backend":"iptables","capabilities":{"portMappings":true}}]}`, version, dir+"/ipam")))
	if err != nil {
		t.Fatal(err)
	}
	path, cache := []string{plugins}, filepath.Join(dir, "cache")
	begin, end := first(t, path, cache, nil), second(t, path, cache, nil)
	var pods []*libcni.RuntimeConf
	for i, id := range []string{"one", "two"} {
		netns := filepath.Join(dir, id)
		if err := cnirt.CreateNetNS(netns); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := cnirt.RemoveNetNS(netns); err != nil {
				t.Error(err)
			}
		})
		rt := &libcni.RuntimeConf{ContainerID: id, NetNS: netns, IfName: "eth0", CapabilityArgs: map[string]any{
			"portMappings": []map[string]any{{"hostPort": 8080 + i, "containerPort": 80, "protocol": "tcp"}}}}
		if _, err := begin.AddNetworkList(ctx, list, rt); err != nil {
			t.Fatal("ADD: ", err)
		}
		pods = append(pods, rt)
	}
	if veths(t) != 2 || forwards(t) != 2 {
		t.Fatal("the plugins attached nothing")
	}

	entries, err := end.GetCachedAttachments("")
	if err != nil || len(entries) != 2 {
		t.Fatalf("attachments: %v, %v", entries, err)
	}
	known, err := begin.GetCachedAttachments("")
	if err != nil || asText(t, known) != asText(t, entries) {
		t.Errorf("attachments are %s and %s, %v", asText(t, known), asText(t, entries), err)
	}
	was, err := begin.GetNetworkListCachedResult(list, pods[0])
	is, other := end.GetNetworkListCachedResult(list, pods[0])
	if err != nil || other != nil || asText(t, was) != asText(t, is) {
		t.Errorf("cached results are %s and %s, %v, %v", asText(t, was), asText(t, is), err, other)
	}
	age(t, filepath.Join(cache, "results", "cross-one-eth0"), form)

	theirError, ourError := begin.CheckNetworkList(ctx, list, pods[0]), end.CheckNetworkList(ctx, list, pods[0])
	if (theirError == nil) != (ourError == nil) {
		t.Errorf("CHECK says %v and %v", theirError, ourError)
	}
	if strings.HasPrefix(version, "0.4") || strings.HasPrefix(version, "1") {
		// portmap 1.1.1 looks for IPv4 rules in ip6tables, whoever asks it.
		if form == "entry" && ourError != nil && !strings.Contains(ourError.Error(), "could not check ipv6 dnat") {
			t.Error("CHECK: ", ourError)
		}
	}

	// The second container is not valid any more. Of the first one an older form does not say whose it is.
	valid := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: "one", IfName: "eth0"}}}
	if err := end.GCNetworkList(ctx, list, valid); err != nil {
		t.Error("GC: ", err)
	}
	if veths(t) != 1 || forwards(t) != 1 {
		t.Error("GC did not delete the one container that is gone")
	}
	if err := end.DelNetworkList(ctx, list, pods[0]); err != nil {
		t.Error("DEL: ", err)
	}
	if veths(t) != 0 || forwards(t) != 0 {
		t.Error("DEL left an interface or a rule")
	}
	for _, pattern := range []string{"cache/results/*", "ipam/cross/10.*"} {
		left, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(left) > 0 {
			t.Errorf("left: %q, %v", left, err)
		}
	}
}

// age makes an older form of an entry.
func age(t *testing.T, path, form string) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var entry struct{ Result json.RawMessage }
	if err := json.Unmarshal(text, &entry); err != nil {
		t.Fatal(err)
	}
	switch form {
	case "bare result":
		text = entry.Result
	case "bare result of 0.2.0":
		old := resultConvert(string(entry.Result), "0.2.0")
		if old.err != "" {
			t.Fatal(old.err)
		}
		text = []byte(old.json)
	case "no bytes":
		text = nil
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// veths counts the host's ends.
func veths(t *testing.T) int {
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, one := range interfaces {
		if strings.HasPrefix(one.Name, "veth") {
			count++
		}
	}
	return count
}

// forwards counts the rules that lead to a container's port.
func forwards(t *testing.T) int {
	rules, err := exec.Command("iptables", "-t", "nat", "-S").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(rules), "--to-destination")
}

func asText(t *testing.T, value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

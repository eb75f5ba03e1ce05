package oracle

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// entry is a cache entry as libcni writes it.
func entry(network, container, ifName, more string) string {
	config := base64.StdEncoding.EncodeToString([]byte(conf("1.0.0", "alpha")))
	return fmt.Sprintf(`{"kind":"cniCacheV1","containerId":%q,"config":%q,"ifName":%q,"networkName":%q%s}`, container, config, ifName, network, more)
}

func cacheRows() []row {
	list := conf("1.0.0", "alpha")
	at := "results/net-pod1-eth0"
	read := steps("cached result", "cached config", "attachments")
	withRT := &libcni.RuntimeConf{ContainerID: "pod1", NetNS: "/n", IfName: "eth0", Args: [][2]string{{"A", "1"}}, CapabilityArgs: map[string]any{"c": 1}}
	whole := entry("net", "pod1", "eth0", `,"netns":"/run/netns/pod1","cniArgs":[["K","V"]],"capabilityArgs":{"mac":"x"},"result":`+result("1.0.0"))
	rows := []row{
		{name: "nothing is cached", conf: list, steps: read},
		{name: "an empty cache directory", conf: list, steps: []step{{do: "attachments", before: func(dir string) error { return os.MkdirAll(filepath.Join(dir, "cache/results"), 0o700) }}}},
		{name: "the cache directory is no directory", conf: list, steps: []step{{do: "attachments", before: func(dir string) error {
			if err := os.Mkdir(filepath.Join(dir, "cache"), 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "cache/results"), nil, 0o600)
		}}}},
		{name: "cached args win over the caller's", conf: list, cache: map[string]string{at: whole}, steps: []step{{do: "cached config", rt: withRT}}},
		{name: "the caller's args stay where none are cached", conf: list, cache: map[string]string{at: entry("net", "pod1", "eth0", "")}, steps: []step{{do: "cached config", rt: withRT}}},
		{name: "the cache without a container ID", conf: list, steps: []step{{do: "cached result", rt: &libcni.RuntimeConf{IfName: "eth0"}}, {do: "cached config", rt: &libcni.RuntimeConf{IfName: "eth0"}}}},
		{name: "the cache without an interface name", conf: list, steps: []step{{do: "cached result", rt: &libcni.RuntimeConf{ContainerID: "a"}}, {do: "cached config", rt: &libcni.RuntimeConf{ContainerID: "a"}}}},
		{name: "the cache of a container ID with a slash", conf: list, steps: []step{{do: "cached result", rt: &libcni.RuntimeConf{ContainerID: "a/b", IfName: "eth0"}}, {do: "cached config", rt: &libcni.RuntimeConf{ContainerID: "a/b", IfName: "eth0"}}}},
		{name: "a cached result in an unknown version of the configuration", conf: conf("5.0.0", "alpha"), cache: map[string]string{at: whole}, steps: steps("cached result")},
		{name: "a cached result for an older configuration", conf: conf("0.2.0", "alpha"), cache: map[string]string{at: whole}, steps: steps("cached result")},
		{name: "attachments of one container", conf: list, cache: map[string]string{at: whole, "results/net-pod2-eth0": entry("net", "pod2", "eth0", ""), "results/other-pod1-eth0": entry("other", "pod1", "eth0", "")}, steps: []step{{do: "attachments", about: "pod1"}, {do: "attachments", about: "pod2"}, {do: "attachments", about: "pod"}, {do: "attachments"}}},
		{name: "attachments are sorted by file name", conf: list, cache: map[string]string{"results/b-1-eth0": entry("b", "1", "eth0", ""), "results/a-1-eth1": entry("a", "1", "eth1", ""), "results/a-1-eth0": entry("a", "1", "eth0", "")}, steps: steps("attachments")},
		{name: "other files in the cache directory", conf: list, cache: map[string]string{at: whole, "results/note": "text", "results/.hidden": "{}", "results/sub/x": whole}, steps: steps("attachments")},
		{name: "the cache has directories of its own", conf: list, directories: true, steps: steps("add", "del")},
		{name: "DEL of a container ID that leads to another entry", conf: list, cache: map[string]string{"results/x-eth0": whole}, steps: []step{{do: "check", rt: &libcni.RuntimeConf{ContainerID: "a/../x", IfName: "eth0"}}, {do: "del", rt: &libcni.RuntimeConf{ContainerID: "a/../x", IfName: "eth0"}}}},
		{name: "capability arguments that a float64 cannot hold", conf: conf("1.0.0", `{"type":"alpha","capabilities":{"n":true}}`), cache: map[string]string{at: entry("net", "pod1", "eth0", `,"capabilityArgs":{"n":12345678901234567890}`)}, steps: steps("attachments", "gc")},
		{name: "two attachments whose file names are the same", conf: list, steps: []step{
			{do: "add", rt: &libcni.RuntimeConf{ContainerID: "a-b", IfName: "c"}},
			{do: "add", rt: &libcni.RuntimeConf{ContainerID: "a", IfName: "b-c"}},
			{do: "attachments"}}},
	}
	for _, one := range []struct{ name, text string }{
		{"a zero-byte file", ""},
		{"half an object", `{"kind":"cniCacheV1","conf`},
		{"an entry torn in its result", whole[:len(whole)-40]},
		{"an entry without its last byte", whole[:len(whole)-1]},
		{"an entry of zeros", strings.Repeat("\x00", len(whole))},
		{"an entry whose end is zeros", whole[:100] + strings.Repeat("\x00", len(whole)-100)},
		{"an entry and more after it", whole + "}"},
		{"a list", `[]`},
		{"null", `null`},
		{"an empty object", `{}`},
		{"an unknown kind", `{"kind":"cniCacheV2","containerId":"pod1","config":"e30=","ifName":"eth0","networkName":"net"}`},
		{"an empty kind", `{"kind":"","containerId":"pod1","config":"e30=","ifName":"eth0","networkName":"net"}`},
		{"an entry without a result", entry("net", "pod1", "eth0", "")},
		{"an entry whose result is null", entry("net", "pod1", "eth0", `,"result":null`)},
		{"an entry whose result has no version", entry("net", "pod1", "eth0", `,"result":{"ip4":{"ip":"10.1.0.5/16"}}`)},
		{"an entry whose result is of 0.2.0", entry("net", "pod1", "eth0", `,"result":`+result("0.2.0"))},
		{"an entry whose result is of an unknown version", entry("net", "pod1", "eth0", `,"result":{"cniVersion":"8.0.0"}`)},
		{"an entry whose result is a list", entry("net", "pod1", "eth0", `,"result":[]`)},
		{"an entry with config that is not base64", `{"kind":"cniCacheV1","containerId":"pod1","config":"!","ifName":"eth0","networkName":"net"}`},
		{"an entry whose result has a route without dst", entry("net", "pod1", "eth0", `,"result":{"cniVersion":"1.0.0","routes":[{"gw":"10.1.0.1"}]}`)},
		{"an entry with unknown keys", entry("net", "pod1", "eth0", `,"more":{"a":1},"result":`+result("1.0.0"))},
		{"an entry without names", `{"kind":"cniCacheV1","config":"e30=","result":` + result("1.0.0") + `}`},
		{"an entry of another container", entry("net", "pod2", "eth0", `,"result":`+result("1.0.0"))},
		{"a bare result of 1.0.0", result("1.0.0")},
		{"a bare result of 0.4.0", result("0.4.0")},
		{"a bare result of 0.2.0", result("0.2.0")},
		{"a bare result without a version", `{"ip4":{"ip":"10.1.0.5/16"}}`},
	} {
		rows = append(rows,
			row{name: "in the cache: " + one.name, conf: list, cache: map[string]string{at: one.text}, steps: read},
			row{name: "CHECK and DEL with " + one.name, conf: list, cache: map[string]string{at: one.text}, steps: steps("check", "del", "attachments")},
			row{name: "GC and ADD with " + one.name, conf: list, cache: map[string]string{at: one.text, "results/net-pod2-eth0": entry("net", "pod2", "eth0", "")}, steps: steps("gc", "add", "cached result", "attachments", "del")},
		)
	}
	for _, one := range []struct{ name, text string }{
		{"an entry of a network whose name is a path", entry("../net", "pod1", "eth0", `,"result":`+result("1.0.0"))},
		{"an entry without a container", entry("net", "", "eth0", `,"result":`+result("1.0.0"))},
		{"an entry with keys in another case", strings.ReplaceAll(whole, `"kind"`, `"Kind"`)},
		{"an entry with arguments that are no pairs", entry("net", "pod1", "eth0", `,"cniArgs":[["K"],["A","B","C"]],"result":`+result("1.0.0"))},
		{"an entry with base64 in lines", strings.ReplaceAll(whole, `fQ==`, `fQ==\n`)},
	} {
		rows = append(rows, row{name: "in the cache: " + one.name, conf: list, cache: map[string]string{at: one.text}, steps: read})
	}
	return rows
}

func gcRows() []row {
	list := conf("1.1.0", "alpha", "beta")
	cache := map[string]string{
		"results/net-pod1-eth0":   entry("net", "pod1", "eth0", `,"netns":"/n1","cniArgs":[["K","V"]],"capabilityArgs":{"mac":"x"},"result":`+result("1.0.0")),
		"results/net-pod1-eth1":   entry("net", "pod1", "eth1", `,"result":`+result("1.0.0")),
		"results/net-pod2-eth0":   entry("net", "pod2", "eth0", ""),
		"results/other-pod1-eth0": entry("other", "pod1", "eth0", ""),
	}
	keep := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: "pod1", IfName: "eth0"}, {ContainerID: "pod9", IfName: "eth0"}}}
	gc := []step{{do: "gc", args: keep}, {do: "attachments"}}
	return []row{
		{name: "GC keeps what is valid", conf: list, cache: cache, steps: gc},
		{name: "GC without args", conf: list, cache: cache, steps: steps("gc", "attachments")},
		{name: "GC with an empty list", conf: list, cache: cache, steps: []step{{do: "gc", args: &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}}}},
		{name: "GC with a list that is nil", conf: list, cache: cache, steps: []step{{do: "gc", args: &libcni.GCArgs{}}}},
		{name: "GC below 1.1.0 only deletes", conf: conf("1.0.0", "alpha"), cache: cache, steps: gc},
		{name: "GC below 0.4.0 deletes without prevResult", conf: conf("0.3.1", "alpha"), cache: cache, steps: gc},
		{name: "disableGC", conf: `{"cniVersion":"1.1.0","name":"net","disableGC":true,"plugins":[{"type":"alpha"}]}`, cache: cache, steps: gc},
		{name: "GC goes on where a DEL fails", conf: list, cache: cache, replies: replies{"beta DEL": failed("1.1.0", 11)}, steps: gc},
		{name: "GC goes on where a plugin's GC fails", conf: list, cache: cache, replies: replies{"alpha GC": failed("1.1.0", 11)}, steps: gc},
		{name: "GC where everything fails", conf: list, cache: cache, replies: replies{"* GC": failed("1.1.0", 11), "* DEL": failed("1.1.0", 7)}, steps: gc},
		{name: "GC with a plugin missing", conf: list, cache: cache, missing: []string{"beta"}, steps: gc},
		{name: "GC of an empty cache", conf: list, steps: gc},
		{name: "GC gives the plugins' capabilities what is cached", conf: conf("1.0.0", `{"type":"alpha","capabilities":{"mac":true}}`), cache: cache, steps: steps("gc")},
		{name: "GC passes unreadable entries by", conf: list, cache: map[string]string{"results/net-pod1-eth0": "", "results/net-pod2-eth0": "{", "results/net-pod3-eth0": result("1.0.0")}, steps: gc},
		{name: "GC where the cache directory cannot be read", conf: list, steps: []step{{do: "gc", args: keep, before: func(dir string) error {
			if err := os.Mkdir(filepath.Join(dir, "cache"), 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "cache/results"), nil, 0o600)
		}}}},
	}
}

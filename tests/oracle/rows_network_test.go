package oracle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

var versions = []string{"", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

func named(version string) string {
	if version == "" {
		return "no version"
	}
	return version
}

// versionRows are an attachment's whole life in every version.
func versionRows() []row {
	var rows []row
	for _, version := range versions {
		rows = append(rows,
			row{
				name:  "a list of two lives: " + named(version),
				conf:  conf(version, "alpha", `{"type":"beta","capabilities":{"portMappings":true}}`),
				steps: steps("add", "cached result", "cached config", "attachments", "check", "del", "attachments"),
			},
			row{
				name:  "a single network lives: " + named(version),
				conf:  one(version, `,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.0.0/16"}]]}`),
				steps: steps("one add", "one cached result", "one cached config", "attachments", "one check", "one del", "attachments"),
			},
			row{
				name: "GC, STATUS, VALIDATE and VERSION: " + named(version),
				conf: conf(version, "alpha", "beta"),
				steps: []step{
					{do: "add"}, {do: "status"}, {do: "validate"}, {do: "version", about: "beta"},
					{do: "gc", args: &libcni.GCArgs{ValidAttachments: []types.GCAttachment{{ContainerID: "pod1", IfName: "eth0"}}}},
					{do: "attachments"}, {do: "gc", args: &libcni.GCArgs{}}, {do: "attachments"},
				},
			},
			row{
				name:    "a plugin answers without a version: " + named(version),
				conf:    conf(version, "alpha", "beta"),
				replies: replies{"* ADD": {out: strings.Replace(result(version), `"cniVersion":"`+version+`",`, "", 1)}},
				steps:   steps("add", "cached result", "del"),
			},
			row{
				name:    "plugins answer in 0.4.0: " + named(version),
				conf:    conf(version, "alpha", "beta"),
				replies: replies{"* ADD": {out: result("0.4.0")}},
				steps:   steps("add", "cached result", "check", "del"),
			},
			row{
				name:    "a plugin fails at ADD and at DEL: " + named(version),
				conf:    conf(version, "alpha", "beta"),
				replies: replies{"beta ADD": failed(version, 11), "beta DEL": failed(version, 7)},
				steps:   steps("add", "attachments", "del"),
			},
		)
	}
	return rows
}

// failed is the error that a plugin prints.
func failed(version string, code int) reply {
	return reply{out: fmt.Sprintf(`{"cniVersion":%q,"code":%d,"msg":"it broke","details":"in two"}`, version, code), code: "1"}
}

func addRows() []row {
	two := conf("1.0.0", "alpha", "beta")
	withArgs := pod()
	withArgs.Args = [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAME", "web"}, {"IP", ""}}
	withCapabilities := pod()
	withCapabilities.CapabilityArgs = map[string]any{
		"portMappings": []map[string]any{{"hostPort": 80, "containerPort": 8080, "protocol": "tcp"}},
		"bandwidth":    map[string]int{"ingressRate": 1000},
		"mac":          "02:00:00:00:00:09",
	}
	add := steps("add")
	rows := []row{
		{name: "CNI_ARGS", conf: two, steps: []step{{do: "add", rt: withArgs}, {do: "cached config"}, {do: "attachments"}, {do: "del", rt: withArgs}}},
		{name: "capabilities go to the plugins that declare them", conf: conf("1.0.0", `{"type":"alpha","capabilities":{"portMappings":true,"mac":false}}`, `{"type":"beta","capabilities":{"bandwidth":true,"ips":true}}`, "gamma"),
			steps: []step{{do: "add", rt: withCapabilities}, {do: "cached config"}, {do: "check", rt: withCapabilities}, {do: "del", rt: withCapabilities}}},
		{name: "runtimeConfig of the configuration is replaced", conf: conf("1.0.0", `{"type":"alpha","capabilities":{"mac":true},"runtimeConfig":{"mac":"x","ips":[]}}`), steps: []step{{do: "add", rt: withCapabilities}}},
		{name: "runtimeConfig of the configuration stays where no capability is given", conf: conf("1.0.0", `{"type":"alpha","capabilities":{"mac":true},"runtimeConfig":{"mac":"x"}}`), steps: add},
		{name: "a plugin's name and version give way to the list's", conf: conf("1.0.0", `{"type":"alpha","name":"other","cniVersion":"0.1.0"}`), steps: add},
		{name: "a plugin's name is in its errors", conf: conf("1.0.0", `{"type":"alpha","name":"other"}`), replies: replies{"alpha ADD": failed("1.0.0", 100)}, steps: add},
		{name: "prevResult of the configuration is replaced", conf: conf("1.0.0", "alpha", `{"type":"beta","prevResult":{"ips":[]}}`), steps: add},
		{name: "standard input, byte for byte", conf: conf("1.0.0", `{"type":"alpha","z":1,"a":{"y":[1,2],"b":"<&>"},"e":"é"}`), bytes: true, steps: add},
		{name: "unknown keys reach the plugin", conf: conf("1.0.0", `{"type":"alpha","x":null,"y":[true,{}],"z":"\u0001\"\\"}`), steps: add},
		{name: "numbers that a float64 cannot hold", conf: conf("1.0.0", `{"type":"alpha","n":12345678901234567890,"m":1e5,"x":0.10}`), list: exactly("1.0.0", `{"type":"alpha","n":12345678901234567890,"m":1e5,"x":0.10}`), steps: add},
		{name: "a number beyond float64", list: exactly("1.0.0", `{"type":"alpha","n":1e400}`), steps: add},
		{name: "keys that differ only in case", list: exactly("1.0.0", `{"type":"alpha","Type":"beta","capabilities":{"mac":true},"Capabilities":{"mac":false}}`), steps: []step{{do: "add", rt: withCapabilities}}},
		{name: "no container ID", conf: two, steps: []step{{do: "add", rt: &libcni.RuntimeConf{IfName: "eth0"}}}},
		{name: "a container ID with a slash", conf: two, steps: []step{{do: "add", rt: &libcni.RuntimeConf{ContainerID: "a/b", IfName: "eth0"}}}},
		{name: "a container ID that begins with a dot", conf: two, steps: []step{{do: "add", rt: &libcni.RuntimeConf{ContainerID: ".a", IfName: "eth0"}}}},
		{name: "no interface name", conf: two, steps: []step{{do: "add", rt: &libcni.RuntimeConf{ContainerID: "a"}}}},
		{name: "an interface name of 16 bytes", conf: two, steps: []step{{do: "add", rt: &libcni.RuntimeConf{ContainerID: "a", IfName: "abcdefghijklmnop"}}}},
		{name: "the interface name .", conf: two, steps: []step{{do: "add", rt: &libcni.RuntimeConf{ContainerID: "a", IfName: "."}}}},
		{name: "the interface name ..", conf: two, steps: []step{{do: "add", rt: &libcni.RuntimeConf{ContainerID: "a", IfName: ".."}}}},
		{name: "an interface name with a slash", conf: two, steps: []step{{do: "add", rt: &libcni.RuntimeConf{ContainerID: "a", IfName: "a/b"}}}},
		{name: "an interface name with a colon", conf: two, steps: []step{{do: "add", rt: &libcni.RuntimeConf{ContainerID: "a", IfName: "a:b"}}}},
		{name: "an interface name with a space", conf: two, steps: []step{{do: "add", rt: &libcni.RuntimeConf{ContainerID: "a", IfName: "a b"}}}},
		{name: "no network namespace", conf: two, steps: []step{{do: "add", rt: &libcni.RuntimeConf{ContainerID: "a", IfName: "eth0"}}}},
		{name: "a network name with a slash", conf: strings.Replace(two, `"net"`, `"a/b"`, 1), steps: add},
		{name: "an empty network name", conf: strings.Replace(two, `"net"`, `""`, 1), steps: add},
		{name: "no such plugin", conf: two, missing: []string{"alpha"}, steps: add},
		{name: "no such second plugin", conf: two, missing: []string{"beta"}, steps: steps("add", "del")},
		{name: "a plugin type with a slash", conf: conf("1.0.0", "../bin/alpha"), steps: add},
		{name: "a plugin that nobody may execute", conf: conf("1.0.0", "alpha"), missing: []string{"alpha"}, steps: []step{{do: "add", before: func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "bin/alpha"), []byte("#!/bin/sh\n"), 0o600)
		}}}},
		{name: "a plugin that is no program", conf: conf("1.0.0", "alpha"), missing: []string{"alpha"}, steps: []step{{do: "add", before: func(dir string) error { return os.WriteFile(filepath.Join(dir, "bin/alpha"), []byte("text"), 0o700) }}}},
		{name: "a directory in the plugin's place", conf: conf("1.0.0", "alpha"), missing: []string{"alpha"}, steps: []step{{do: "add", before: func(dir string) error { return os.Mkdir(filepath.Join(dir, "bin/alpha"), 0o700) }}}},
		{name: "a plugin that somebody goes on writing", conf: conf("1.0.0", "alpha"), missing: []string{"alpha"}, steps: []step{{do: "add", before: writing(nil)}}},
		{name: "a plugin that somebody is done writing after a while", conf: conf("1.0.0", "alpha"), missing: []string{"alpha"}, steps: []step{{do: "add", before: writing(func(file *os.File) {
			time.AfterFunc(1500*time.Millisecond, func() { _ = file.Close() })
		})}}},
		{name: "a list without plugins", list: func() *libcni.NetworkConfigList {
			return &libcni.NetworkConfigList{Name: "net", CNIVersion: "1.0.0", Bytes: []byte(`{}`)}
		}, steps: steps("add", "attachments", "check", "del")},
		{name: "an unknown version", conf: conf("9.9.9", "alpha"), steps: steps("add", "check", "del", "status", "gc")},
		{name: "a version that is none", conf: conf("one", "alpha"), steps: steps("add", "check", "del", "status", "gc")},
		{name: "the cache directory is a file", conf: conf("1.0.0", "alpha"), steps: []step{{do: "add", before: func(dir string) error { return os.WriteFile(filepath.Join(dir, "cache"), nil, 0o600) }}}},
		{name: "the context has ended before ADD", conf: two, steps: []step{{do: "add", cancel: "before"}}},
		{name: "the context ends while a plugin runs", conf: two, replies: replies{"alpha ADD": {code: "wait"}}, steps: []step{{do: "add", cancel: "while"}}},
		{name: "a plugin writes to standard error and succeeds", conf: two, replies: replies{"alpha ADD": {out: result("1.0.0"), err: "careful\n"}}, steps: add},
		{name: "ADD twice", conf: two, steps: steps("add", "add", "attachments", "del")},
		{name: "two interfaces of one container", conf: two, steps: []step{{do: "add"}, {do: "add", rt: &libcni.RuntimeConf{ContainerID: "pod1", NetNS: "/run/netns/pod1", IfName: "eth1"}}, {do: "attachments", about: "pod1"}, {do: "del"}, {do: "attachments"}}},
	}
	for _, answer := range []struct {
		name  string
		reply reply
	}{
		{"nothing", reply{}},
		{"null", reply{out: "null"}},
		{"a list", reply{out: "[]"}},
		{"text", reply{out: "hello"}},
		{"half an object", reply{out: `{"cniVersion":"1.0.0"`}},
		{"two objects", reply{out: `{"cniVersion":"1.0.0"}{}`}},
		{"an empty object", reply{out: "{}"}},
		{"white space around it", reply{out: "\n " + result("1.0.0") + "\n\n"}},
		{"a byte order mark", reply{out: "\uFEFF" + result("1.0.0")}},
		{"an unknown version", reply{out: `{"cniVersion":"7.0.0"}`}},
		{"a version that is a number", reply{out: `{"cniVersion":1}`}},
		{"ips that are an object", reply{out: `{"cniVersion":"1.0.0","ips":{}}`}},
		{"an address without a length", reply{out: `{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.5"}]}`}},
		{"an address that is none", reply{out: `{"cniVersion":"1.0.0","ips":[{"address":"x/16"}]}`}},
		{"a gateway that is none", reply{out: `{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.5/16","gateway":"x"}]}`}},
		{"a route without dst", reply{out: `{"cniVersion":"1.0.0","routes":[{"gw":"10.1.0.1"}]}`}},
		{"an interface index that no interface has", reply{out: `{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.5/16","interface":7}]}`}},
		{"null in ips", reply{out: `{"cniVersion":"1.0.0","ips":[null]}`}},
		{"null in interfaces", reply{out: `{"cniVersion":"1.0.0","interfaces":[null]}`}},
		{"null in routes", reply{out: `{"cniVersion":"1.0.0","routes":[null]}`}},
		{"unknown keys", reply{out: `{"cniVersion":"1.0.0","more":{"a":1},"interfaces":[{"name":"eth0","odd":1}]}`}},
		{"a host address in a route", reply{out: `{"cniVersion":"1.0.0","routes":[{"dst":"10.1.2.3/16"}]}`}},
		{"an IPv4-mapped address", reply{out: `{"cniVersion":"1.0.0","ips":[{"address":"::ffff:10.1.0.5/112"}]}`}},
		{"keys in other case", reply{out: `{"CNIVERSION":"1.0.0","IPs":[{"Address":"10.1.0.5/16"}]}`}},
		{"an error object and success", reply{out: `{"code":11,"msg":"later"}`}},
		{"nothing, and fails", reply{code: "1"}},
		{"nothing, and exits with 200", reply{code: "200"}},
		{"only standard error, and fails", reply{err: "no \"way\"\n\u00e9\x01", code: "3"}},
		{"text, and fails", reply{out: "oh no", code: "1"}},
		{"an empty object, and fails", reply{out: "{}", code: "1"}},
		{"null, and fails", reply{out: "null", code: "1"}},
		{"a list, and fails", reply{out: "[]", code: "1"}},
		{"a result, and fails", reply{out: result("1.0.0"), code: "1"}},
		{"a code that is text, and fails", reply{out: `{"code":"x","msg":"y"}`, code: "1"}},
		{"a code below 0, and fails", reply{out: `{"code":-1,"msg":"y"}`, code: "1"}},
		{"an error without msg, and fails", reply{out: `{"code":5,"details":"why"}`, code: "1"}},
		{"an error with other keys, and fails", reply{out: `{"code":5,"msg":"a","details":"b","more":1}`, code: "1"}},
		{"an error and standard error, and fails", reply{out: `{"code":11,"msg":"a"}`, err: "b", code: "1"}},
		{"a signal", reply{code: "-9"}},
		{"a segmentation fault after a result", reply{out: result("1.0.0"), code: "-11"}},
		{"500 routes", reply{out: `{"cniVersion":"1.0.0","routes":[` + strings.Repeat(`{"dst":"10.0.0.0/8"},`, 499) + `{"dst":"10.0.0.0/8"}]}`}},
		{"all keys of a 1.1.0 result", reply{out: `{"cniVersion":"1.1.0","interfaces":[{"name":"e","mac":"m","mtu":1500,"sandbox":"s","socketPath":"/s","pciID":"p"}],"ips":[{"interface":0,"address":"10.1.0.5/16","gateway":"10.1.0.1"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.1","mtu":9000,"advmss":1400,"priority":5,"table":7,"scope":0}],"dns":{"nameservers":["1.1.1.1"],"domain":"d","search":["s"],"options":["o"]}}`}},
		{"a large mtu", reply{out: `{"cniVersion":"1.1.0","interfaces":[{"name":"e","mtu":9007199254740993}]}`}},
		{"a mtu with a fraction", reply{out: `{"cniVersion":"1.1.0","interfaces":[{"name":"e","mtu":1.5}]}`}},
	} {
		rows = append(rows, row{
			name:    "the first plugin answers ADD with " + answer.name,
			conf:    conf("1.0.0", "alpha", "beta"),
			replies: replies{"alpha ADD": answer.reply},
			steps:   steps("add", "cached result", "attachments"),
		})
	}
	for _, code := range []int{1, 4, 7, 11, 50, 51, 100, 999} {
		rows = append(rows, row{
			name:  fmt.Sprintf("every command fails with code %d", code),
			conf:  conf("1.1.0", "alpha", "beta"),
			steps: []step{{do: "add"}, {do: "add", replies: replies{"* ADD": failed("1.1.0", code), "* DEL": failed("1.1.0", code), "* CHECK": failed("1.1.0", code), "* GC": failed("1.1.0", code), "* STATUS": failed("1.1.0", code), "* VERSION": failed("1.1.0", code)}}, {do: "check"}, {do: "status"}, {do: "validate"}, {do: "version", about: "alpha"}, {do: "gc"}, {do: "del"}, {do: "attachments"}},
		})
	}
	return rows
}

func delRows() []row {
	two := conf("1.0.0", "alpha", "beta")
	return []row{
		{name: "DEL of what was never added", conf: two, steps: steps("del")},
		{name: "DEL twice", conf: two, steps: steps("add", "del", "del")},
		{name: "DEL fails at the last plugin and is repeated", conf: two, steps: []step{{do: "add"}, {do: "del", replies: replies{"beta DEL": failed("1.0.0", 11)}}, {do: "attachments"}, {do: "del", replies: replies{"beta DEL": {}}}}},
		{name: "DEL fails at the first plugin and is repeated", conf: two, steps: []step{{do: "add"}, {do: "del", replies: replies{"alpha DEL": failed("1.0.0", 11)}}, {do: "attachments"}, {do: "del", replies: replies{"alpha DEL": {}}}}},
		{name: "DEL prints a result", conf: two, replies: replies{"* DEL": {out: "anything"}}, steps: steps("add", "del")},
		{name: "DEL of a plugin that is gone", conf: two, steps: []step{{do: "add"}, {do: "del", before: func(dir string) error { return os.Remove(filepath.Join(dir, "bin/alpha")) }}, {do: "attachments"}}},
		{name: "DEL without a container ID", conf: two, steps: []step{{do: "del", rt: &libcni.RuntimeConf{IfName: "eth0"}}}},
		{name: "DEL without an interface name", conf: two, steps: []step{{do: "del", rt: &libcni.RuntimeConf{ContainerID: "a"}}}},
		{name: "DEL of a container ID with dots and slashes", conf: two, steps: []step{{do: "del", rt: &libcni.RuntimeConf{ContainerID: "../a", IfName: "eth0"}}}},
		{name: "DEL without a network namespace", conf: two, steps: []step{{do: "add"}, {do: "del", rt: &libcni.RuntimeConf{ContainerID: "pod1", IfName: "eth0"}}}},
		{name: "DEL with a newer configuration", conf: conf("0.4.0", "alpha"), steps: []step{{do: "add"}, {do: "del", conf: conf("1.1.0", "beta", "gamma")}}},
		{name: "DEL with an older configuration", conf: conf("1.0.0", "alpha"), steps: []step{{do: "add"}, {do: "del", conf: conf("0.3.1", "beta", "gamma")}}},
		{name: "DEL of a cached result that the version cannot hold", conf: conf("1.0.0", "alpha"), steps: []step{{do: "add"}, {do: "cached result", conf: conf("5.0.0", "alpha")}, {do: "del", conf: conf("5.0.0", "alpha")}, {do: "attachments"}}},
		{name: "DEL is cancelled while a plugin runs", conf: two, replies: replies{"beta DEL": {code: "wait"}}, steps: []step{{do: "add"}, {do: "del", cancel: "while"}, {do: "attachments"}}},
		{name: "DEL with code 3 is an error", conf: two, replies: replies{"beta DEL": {out: `{"code":3,"msg":"unknown container"}`, code: "1"}}, steps: steps("add", "del")},
		{name: "DEL of a single network fails", conf: one("1.0.0", ""), replies: replies{"alpha DEL": failed("1.0.0", 11)}, steps: steps("one add", "one del", "attachments")},
		{name: "DEL of a single network with an unreadable entry", conf: one("1.0.0", ""), cache: map[string]string{"results/net-pod1-eth0": `{"kind"`}, steps: steps("one del")},
		{name: "a failing DEL with an unreadable entry", conf: two, cache: map[string]string{"results/net-pod1-eth0": `{"kind"`}, replies: replies{"beta DEL": failed("1.0.0", 11)}, steps: steps("del")},
	}
}

func checkRows() []row {
	two := conf("1.0.0", "alpha", "beta")
	return []row{
		{name: "CHECK of what was never added", conf: two, steps: steps("check")},
		{name: "CHECK goes to no plugin after one that fails", conf: two, replies: replies{"alpha CHECK": failed("1.0.0", 100)}, steps: steps("add", "check")},
		{name: "disableCheck", conf: strings.Replace(two, `"name"`, `"disableCheck":true,"name"`, 1), steps: steps("add", "check")},
		{name: "CHECK with a newer configuration", conf: conf("0.4.0", "alpha"), steps: []step{{do: "add"}, {do: "check", conf: conf("1.1.0", "beta")}}},
		{name: "CHECK with a version that is none", conf: two, steps: []step{{do: "add"}, {do: "check", conf: conf("x.y", "alpha")}}},
		{name: "CHECK of an unreadable entry", conf: two, cache: map[string]string{"results/net-pod1-eth0": `{"kind"`}, steps: steps("check")},
		{name: "CHECK without a container ID", conf: two, steps: []step{{do: "check", rt: &libcni.RuntimeConf{IfName: "eth0"}}}},
		{name: "CHECK of a container ID with a slash", conf: two, steps: []step{{do: "check", rt: &libcni.RuntimeConf{ContainerID: "a/b", IfName: "eth0"}}}},
		{name: "CHECK of a plugin that is missing", conf: two, missing: []string{"beta"}, steps: steps("check")},
		{name: "CHECK of a single network that fails", conf: one("1.0.0", ""), replies: replies{"alpha CHECK": {err: "broken", code: "2"}}, steps: steps("one add", "one check")},
		{name: "CHECK has the capabilities that the caller gives", conf: conf("1.0.0", `{"type":"alpha","capabilities":{"mac":true}}`), steps: []step{{do: "add"}, {do: "check", rt: &libcni.RuntimeConf{ContainerID: "pod1", IfName: "eth0", CapabilityArgs: map[string]any{"mac": "x"}}}}},
	}
}

func otherRows() []row {
	three := conf("1.1.0", "alpha", "beta", "gamma")
	return []row{
		{name: "STATUS stops at the first plugin that is not ready", conf: three, replies: replies{"beta STATUS": failed("1.1.0", 50)}, steps: steps("status")},
		{name: "STATUS with limited connectivity", conf: three, replies: replies{"alpha STATUS": failed("1.1.0", 51)}, steps: steps("status")},
		{name: "STATUS of a missing plugin", conf: three, missing: []string{"alpha"}, steps: steps("status")},
		{name: "STATUS prints something", conf: three, replies: replies{"alpha STATUS": {out: "ready"}}, steps: steps("status")},
		{name: "VALIDATE names every plugin that is missing", conf: three, missing: []string{"alpha", "gamma"}, steps: steps("validate")},
		{name: "VALIDATE lists capabilities once", conf: conf("1.0.0", `{"type":"alpha","capabilities":{"b":true,"a":true,"c":false}}`, `{"type":"beta","capabilities":{"a":true}}`), steps: steps("validate")},
		{name: "VALIDATE of a version that a plugin lacks", conf: three, replies: replies{"beta VERSION": {out: `{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}`}}, steps: steps("validate")},
		{name: "VALIDATE of no version is of 0.1.0", conf: conf("", "alpha"), replies: replies{"alpha VERSION": {out: `{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}`}}, steps: steps("validate")},
		{name: "VALIDATE of a single network", conf: one("1.0.0", `,"capabilities":{"x":true,"y":false}`), steps: steps("one validate")},
		{name: "VALIDATE of a single network that is missing", conf: one("1.0.0", ""), missing: []string{"alpha"}, steps: steps("one validate")},
		{name: "VALIDATE of a single network in a version that the plugin lacks", conf: one("1.0.0", ""), replies: replies{"alpha VERSION": {out: `{"cniVersion":"0.2.0"}`}}, steps: steps("one validate")},
		{name: "VERSION of a plugin that does not know it", replies: replies{"alpha VERSION": {out: `{"code":4,"msg":"unknown CNI_COMMAND: VERSION"}`, code: "1"}}, conf: three, steps: []step{{do: "version", about: "alpha"}}},
		{name: "VERSION without supportedVersions, 0.2.0", replies: replies{"alpha VERSION": {out: `{"cniVersion":"0.2.0"}`}}, conf: three, steps: []step{{do: "version", about: "alpha"}}},
		{name: "VERSION without supportedVersions, 1.0.0", replies: replies{"alpha VERSION": {out: `{"cniVersion":"1.0.0"}`}}, conf: three, steps: []step{{do: "version", about: "alpha"}}},
		{name: "VERSION without cniVersion", replies: replies{"alpha VERSION": {out: `{"supportedVersions":["1.0.0"]}`}}, conf: three, steps: []step{{do: "version", about: "alpha"}}},
		{name: "VERSION that says nothing", replies: replies{"alpha VERSION": {}}, conf: three, steps: []step{{do: "version", about: "alpha"}}},
		{name: "VERSION that says text", replies: replies{"alpha VERSION": {out: "1.0.0"}}, conf: three, steps: []step{{do: "version", about: "alpha"}}},
		{name: "VERSION of a missing plugin", missing: []string{"alpha"}, conf: three, steps: []step{{do: "version", about: "alpha"}}},
		{name: "VERSION of no type", conf: three, steps: []step{{do: "version"}}},
		{name: "VERSION of a type with a slash", conf: three, steps: []step{{do: "version", about: "a/b"}}},
	}
}

// written keeps files open until the tests end.
var written sync.Map

// writing installs the plugin alpha by a file that stays open for writing, until then does otherwise: ETXTBSY.
func writing(then func(*os.File)) func(dir string) error {
	return func(dir string) error {
		program, err := os.ReadFile(filepath.Join(built.dir, "plugin"))
		if err != nil {
			return err
		}
		file, err := os.OpenFile(filepath.Join(dir, "bin/alpha"), os.O_WRONLY|os.O_CREATE, 0o755)
		if err != nil {
			return err
		}
		if _, err := file.Write(program); err != nil {
			return err
		}
		written.Store(dir, file)
		if then != nil {
			then(file)
		}
		return nil
	}
}

// exactly is a list whose plugin has the text as it is written.
func exactly(version, plugin string) func() *libcni.NetworkConfigList {
	return func() *libcni.NetworkConfigList {
		return &libcni.NetworkConfigList{Name: "net", CNIVersion: version, Bytes: []byte(conf(version, plugin)), Plugins: []*libcni.PluginConfig{
			{Network: &types.PluginConf{Type: "alpha", Capabilities: map[string]bool{"mac": true}}, Bytes: []byte(plugin)},
		}}
	}
}

package oracle

// Chains of the reference plugins: each once by libcni and once by cnirt, on a node and with a pod of their own, with
// both releases and in every version. The chains are those of ../real_plugins/rows.json, which say there what they
// need, and one of all plugins that go together. What is compared: every answer, the cache, and the node and the pod
// while they are attached and afterwards, with names in place of what is random (names_test.go).

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

const chainTable = "../real_plugins/rows.json"

// chain is what is used of a row of the table.
type chain struct {
	Name           string
	Plugins        []map[string]any
	IfName         string
	CapabilityArgs map[string]any
	// Needs is a type of link that a kernel may not have.
	Needs string
	// Only is the one release that can, and why.
	Only []string
	// Prepare are shell commands that make the node what the plugins need.
	Prepare []string
}

// allTogether has every plugin that adds to a bridge.
const allTogether = `{
	"name": "bridge, host-local, portmap, bandwidth, tuning and firewall, dual stack",
	"needs": "ifb",
	"plugins": [
		{"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
			"ipam": {"type": "host-local", "dataDir": "/run/ipam", "ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00:1:2::/64"}]]},
			"dns": {"nameservers": ["10.1.2.1"], "search": ["a.test", "b.test"]}},
		{"type": "portmap", "backend": "iptables", "capabilities": {"portMappings": true}},
		{"type": "bandwidth", "capabilities": {"bandwidth": true}},
		{"type": "tuning", "dataDir": "/run/tuning", "mtu": 1400, "mac": "02:00:00:00:00:07"},
		{"type": "firewall", "backend": "iptables"}],
	"capabilityArgs": {
		"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, {"hostPort": 8053, "containerPort": 53, "protocol": "udp"}],
		"bandwidth": {"ingressRate": 8000000, "ingressBurst": 800000, "egressRate": 16000000, "egressBurst": 800000}}
}`

func chains(t *testing.T) []chain {
	t.Helper()
	table, err := os.ReadFile(chainTable)
	if err != nil {
		t.Fatal(err)
	}
	var all []chain
	var last chain
	if err := json.Unmarshal(table, &all); err != nil {
		t.Fatal(chainTable, ": ", err)
	}
	if err := json.Unmarshal([]byte(allTogether), &last); err != nil {
		t.Fatal(err)
	}
	return append(all, last)
}

// types are those of the plugins, the ones for addresses too.
func (c chain) types() []string {
	var list []string
	for _, plugin := range c.Plugins {
		list = append(list, plugin["type"].(string))
		if ipam, ok := plugin["ipam"].(map[string]any); ok {
			list = append(list, ipam["type"].(string))
		}
	}
	return list
}

// skipped says why a release cannot run the chain here.
func (c chain) skipped(t *testing.T, release release) string {
	switch {
	case len(c.Only) == 2 && c.Only[0] != release.name:
		return c.Only[1]
	case release.name == "Debian's" && slices.Contains(c.types(), "tap"):
		return "there is no tap in 1.1.1"
	case c.Needs != "" && kernelLacks(t, c.Needs):
		return "the kernel has no " + c.Needs + " device"
	}
	return ""
}

// chainVersions are those from 0.3.1 on that all its plugins support; both libraries say the same of each.
func (c chain) versions(t *testing.T, release release) []string {
	common := []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}
	for _, kind := range c.types() {
		var said [2][]string
		for i, library := range []network{theirs, ours} {
			info, err := library(t, []string{release.dir}, t.TempDir(), nil).GetVersionInfo(context.Background(), kind)
			if err != nil {
				t.Fatal(err)
			}
			said[i] = info.SupportedVersions()
		}
		if !slices.Equal(said[0], said[1]) {
			t.Errorf("%s supports %q, or %q", kind, said[0], said[1])
		}
		common = slices.DeleteFunc(common, func(version string) bool { return !slices.Contains(said[0], version) })
	}
	if len(common) == 0 {
		t.Fatal("the plugins have no version in common")
	}
	return common
}

func TestChainsOfRealPlugins(t *testing.T) {
	if os.Getenv(insideOf) != "" {
		chainOnANode(t)
		return
	}
	both, all := releases(t), chains(t)
	for _, release := range both {
		for index, chain := range all {
			t.Run(release.name+": "+chain.Name, func(t *testing.T) {
				if why := chain.skipped(t, release); why != "" {
					t.Skip(why)
				}
				t.Parallel()
				for _, version := range chain.versions(t, release) {
					t.Run(version, func(t *testing.T) {
						t.Parallel()
						var seen [2]outcome
						var problems [2]error
						var both sync.WaitGroup
						both.Add(2)
						for i, library := range []string{"libcni", "cnirt"} {
							task := chainTask{index, release.dir, version, library, filepath.Join(t.TempDir(), library)}
							go func() {
								defer both.Done()
								seen[i], problems[i] = task.do()
							}()
						}
						both.Wait()
						if err := errors.Join(problems[:]...); err != nil {
							t.Fatal(err)
						}
						if different := differing(seen[0], seen[1]); len(different) > 0 {
							t.Error(explain(different, seen[0], seen[1]))
						}
						if seen[0]["1 add: result"] == "" {
							t.Error("nothing was attached: ", seen[0]["1 add: error"])
						}
					})
				}
			})
		}
	}
}

// chainTask is what one run on a node has to do, and the file for what was seen.
type chainTask struct {
	Index                             int
	Plugins, Version, Library, Answer string
}

// do runs it on a node.
func (c chainTask) do() (outcome, error) {
	what, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	if err := onANode("TestChainsOfRealPlugins", string(what)); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(c.Answer)
	if err != nil {
		return nil, err
	}
	seen := outcome{}
	return seen, json.Unmarshal(text, &seen)
}

// chainOnANode attaches and detaches a pod twice, by DEL and by GC, and writes down what was to be seen.
func chainOnANode(t *testing.T) {
	var task chainTask
	if err := json.Unmarshal([]byte(os.Getenv(insideOf)), &task); err != nil {
		t.Fatal(err)
	}
	if err := os.Unsetenv(insideOf); err != nil {
		t.Fatal(err)
	}
	chain := chains(t)[task.Index]
	for _, on := range [][2]string{{"tmpfs", "/run"}, {"sysfs", "/sys"}} {
		if err := syscall.Mount(on[0], on[1], on[0], 0, ""); err != nil {
			t.Fatal(on, ": ", err)
		}
	}
	// Nobody else has the addresses: without the kernel asking for that an attachment takes a tenth of the time.
	quick := "for of in all default; do echo 0 >/proc/sys/net/ipv6/conf/$of/accept_dad; done"
	for _, command := range append([]string{"ip link set lo up", "ip netns add pod", quick, "ip netns exec pod sh -c '" + quick + "'"}, chain.Prepare...) {
		if output, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, output)
		}
	}
	text, err := json.Marshal(map[string]any{"cniVersion": task.Version, "name": "net1", "plugins": chain.Plugins})
	if err != nil {
		t.Fatal(err)
	}
	list, err := libcni.NetworkConfFromBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	if chain.IfName == "" {
		chain.IfName = "eth0"
	}
	rt := &libcni.RuntimeConf{ContainerID: "pod1", NetNS: "/run/netns/pod", IfName: chain.IfName, CapabilityArgs: chain.CapabilityArgs}
	cni := map[string]network{"libcni": theirs, "cnirt": ours}[task.Library](t, []string{task.Plugins}, "/run/cache", nil)
	seen := outcome{}
	own := types.GCAttachment{ContainerID: rt.ContainerID, IfName: rt.IfName}
	for i, step := range []struct {
		step
		// node is looked at afterwards.
		node bool
	}{
		{step{do: "add"}, true},
		{step{do: "cached result"}, false}, {step{do: "cached config"}, false}, {step{do: "attachments"}, false},
		{step{do: "validate"}, false}, {step{do: "check"}, false}, {step{do: "status"}, false},
		{step{do: "gc", args: &libcni.GCArgs{ValidAttachments: []types.GCAttachment{own}}}, true},
		{step{do: "del"}, true}, {step{do: "del"}, false},
		{step{do: "add"}, false}, {step{do: "gc", args: &libcni.GCArgs{}}, true},
	} {
		step.rt = rt
		at := fmt.Sprintf("%d %s", i+1, step.do)
		said, err := call(context.Background(), cni, step.step, target{list: list})
		seen.add(at+": result", said)
		seen.error(at, err)
		if step.node {
			if err := seen.node(at + ": "); err != nil {
				t.Fatal(err)
			}
		}
	}
	seen.rename(string(text))
	if err := os.WriteFile(task.Answer, []byte(asText(t, seen)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// node adds what is to be seen on a node: links, addresses, routes, packet filters, queues and files.
func (o outcome) node(at string) error {
	for name, command := range map[string]string{
		"node's links": "ip -json -details addr", "pod's links": "ip -n pod -json -details addr",
		"node's routes": "ip route show table all", "pod's routes": "ip -n pod route show table all",
		"pod's rules": "ip -n pod rule", "pod's rules 6": "ip -n pod -6 rule",
		"node's filters": "nft --stateless list ruleset", "node's queues": "tc qdisc", "pod's queues": "tc -n pod qdisc",
	} {
		words := strings.Fields(command)
		output, err := exec.Command(words[0], words[1:]...).Output()
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		text := string(output)
		if strings.Contains(name, "links") {
			if text, err = links(output); err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
		} else if strings.Contains(name, "routes") {
			text = settledRoutes(text)
		} else if strings.Contains(name, "filters") {
			text = sortedChains(text)
		}
		o.add(at+name, text)
	}
	return o.files(at)
}

// files adds every file below /run and what is in it.
func (o outcome) files(at string) error {
	return filepath.WalkDir("/run", func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.HasPrefix(path, "/run/netns/") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		o.add(at+path, canonical(string(text))+"\n")
		var stored struct{ Config []byte }
		if json.Unmarshal(text, &stored) == nil {
			o.add(at+path+" config", string(stored.Config))
		}
		return nil
	})
}

// links are their names, types, sizes and addresses: what does not depend on when one looks.
func links(output []byte) (string, error) {
	var all []struct {
		IfName, Link, Master, Address, LinkType string
		MTU                                     int
		Flags                                   []string
		LinkInfo                                struct {
			InfoKind      string         `json:"info_kind"`
			InfoData      map[string]any `json:"info_data"`
			InfoSlaveKind string         `json:"info_slave_kind"`
			InfoSlaveData map[string]any `json:"info_slave_data"`
		}
		AddrInfo []struct {
			Family, Local, Broadcast, Label string
			PrefixLen                       int
			Scope                           string
		} `json:"addr_info"`
	}
	if err := json.Unmarshal(output, &all); err != nil {
		return "", err
	}
	var text strings.Builder
	for _, link := range all {
		up := slices.Contains(link.Flags, "UP")
		fmt.Fprintf(&text, "%s %s %s link %s master %s mtu %d up %t kind %q", link.IfName, link.LinkType, link.Address, link.Link, link.Master, link.MTU, up, link.LinkInfo.InfoKind)
		if link.LinkInfo.InfoKind != "bridge" {
			fmt.Fprintf(&text, " %v", link.LinkInfo.InfoData)
		}
		if link.LinkInfo.InfoSlaveKind == "bridge" {
			fmt.Fprintf(&text, " hairpin %v", link.LinkInfo.InfoSlaveData["hairpin"])
		}
		text.WriteString("\n")
		for _, address := range link.AddrInfo {
			// The kernel's own one comes some time after the link.
			if address.Scope != "link" {
				fmt.Fprintf(&text, "  %+v\n", address)
			}
		}
	}
	return text.String(), nil
}

// settledRoutes are those that do not come and go with the detection of duplicate addresses.
func settledRoutes(text string) string {
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || slices.Contains(fields, "local") && strings.Contains(fields[1], ":") || strings.Contains(line, "fe80::") ||
			strings.Contains(line, "ff00::") || strings.Contains(line, "anycast") {
			continue
		}
		kept = append(kept, strings.Join(slices.DeleteFunc(fields, func(field string) bool { return field == "linkdown" }), " "))
	}
	return strings.Join(kept, "\n")
}

// sortedChains has the tables and chains of a packet filter in order, as plugins make some of them in no certain one; the
// rules of a chain stay as they are.
func sortedChains(text string) string {
	blocks := map[string]string{}
	table, block := "", ""
	for _, line := range strings.Split(text, "\n") {
		switch name := strings.TrimSuffix(line, " {"); {
		case strings.HasPrefix(line, "table "):
			table, block = name, ""
		case name != line && strings.HasPrefix(line, "\t"):
			block = name
		case line != "":
			blocks[table+block] += line + "\n"
		}
	}
	var sorted strings.Builder
	for _, name := range slices.Sorted(maps.Keys(blocks)) {
		sorted.WriteString(name + "\n" + blocks[name])
	}
	return sorted.String()
}

package oracle

// Generated rows: a configuration, answers and calls that nobody thought of. Most run over a fake invoke.Exec, which both
// libraries call back; some over processes. rapid shrinks what fails.

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"pgregory.net/rapid"
)

// fake is an invoke.Exec that has every plugin, writes down and answers as processes do.
type fake struct {
	version.PluginDecoder
	mutex   sync.Mutex
	replies replies
	seen    []run
}

func (f *fake) exec() invoke.Exec { return f }

func (f *fake) answer(more replies) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	for what, reply := range more {
		f.replies[what] = reply
	}
}

func (f *fake) runs() ([]run, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	seen := f.seen
	f.seen = nil
	return seen, nil
}

func (f *fake) FindInPath(plugin string, paths []string) (string, error) {
	return filepath.Join(paths[0], plugin), nil
}

func (f *fake) ExecPlugin(_ context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	kind, command := filepath.Base(path), ""
	for _, variable := range environ {
		if value, ok := strings.CutPrefix(variable, "CNI_COMMAND="); ok {
			command = value
		}
	}
	f.seen = append(f.seen, run{kind: kind, env: environ, stdin: string(stdin)})
	reply, ok := f.replies[kind+" "+command]
	if !ok {
		reply = f.replies["* "+command]
	}
	if reply.code != "" && reply.code != "0" {
		failure := &types.Error{}
		if err := json.Unmarshal([]byte(reply.out), failure); err != nil {
			failure.Msg = "no error object"
		}
		return nil, failure
	}
	return []byte(reply.out), nil
}

// cases is how many there are; ORACLE_CASES says otherwise.
func cases(t *testing.T, usual int) int {
	text := os.Getenv("ORACLE_CASES")
	if text == "" {
		return usual
	}
	count, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return count
}

func TestGeneratedRows(t *testing.T) {
	check(t, cases(t, 2000), func(dir string, row row, version string) plugins {
		fake := &fake{replies: usual(version)}
		return fake
	})
}

func TestGeneratedRowsWithProcesses(t *testing.T) {
	check(t, cases(t, 2000)/40, func(dir string, row row, version string) plugins {
		return newProcesses(t, dir, row, version)
	})
}

// check compares generated rows: numbers as float64, errors by their codes.
func check(t *testing.T, count int, make func(dir string, row row, version string) plugins) {
	root := t.TempDir()
	made := 0
	property := func(r *rapid.T) {
		made++
		version := rapid.SampledFrom(versions).Draw(r, "version")
		row := drawRow(r, version)
		var outcomes [2]outcome
		for i, library := range []network{theirs, ours} {
			dir := filepath.Join(root, fmt.Sprint(made, "-", i))
			if err := os.Mkdir(dir, 0o700); err != nil {
				r.Fatal(err)
			}
			seen, err := perform(closing{t, r}, row, library, dir, make(dir, row, version))
			if err != nil {
				r.Fatal(err)
			}
			outcomes[i] = seen.floats()
			_ = os.RemoveAll(dir)
		}
		theirs, ours := withoutWords(outcomes[0]), withoutWords(outcomes[1])
		if different := differing(theirs, ours); len(different) > 0 {
			r.Fatalf("conf: %s\n%s", row.conf, explain(different, theirs, ours))
		}
	}
	repeat(t, count, property)
}

// repeat checks a property with so many cases: the same ones every time, unless ORACLE_SEED or -rapid.seed say otherwise.
func repeat(t *testing.T, count int, property func(r *rapid.T)) {
	t.Helper()
	made := 0
	seed := os.Getenv("ORACLE_SEED")
	if seed == "" {
		seed = "1"
	}
	settings := map[string]string{"rapid.checks": strconv.Itoa(count), "rapid.seed": seed, "rapid.nofailfile": "true"}
	flag.Visit(func(given *flag.Flag) { delete(settings, given.Name) })
	for name, value := range settings {
		old := flag.Lookup(name).Value
		before := old.String()
		if err := old.Set(value); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = old.Set(before) }()
	}
	rapid.Check(t, func(r *rapid.T) {
		made++
		property(r)
	})
	t.Logf("%d generated cases", made)
}

// closing has cleanups run at the end of a case, not of the test.
type closing struct {
	testing.TB
	r *rapid.T
}

func (c closing) Cleanup(f func()) { c.r.Cleanup(f) }

// withoutWords keeps of an error only that there is one; its code is a key of its own.
func withoutWords(seen outcome) outcome {
	for key := range seen {
		if strings.HasSuffix(key, ": error") {
			seen[key] = "an error"
		}
	}
	return seen.without(": msg", ": details")
}

// value draws JSON, as deep as levels.
func value(levels int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Just[any](nil),
		rapid.Bool().AsAny(),
		rapid.Int32().AsAny(),
		rapid.Float64().AsAny(),
		rapid.StringN(0, 8, -1).AsAny(),
	}
	if levels > 0 {
		leaves = append(leaves,
			rapid.SliceOfN(value(levels-1), 0, 3).AsAny(),
			rapid.MapOfN(rapid.StringMatching(`[a-z]{1,5}`), value(levels-1), 0, 3).AsAny())
	}
	return rapid.OneOf(leaves...)
}

var capabilities = []string{"portMappings", "bandwidth", "mac"}

func drawPlugin(r *rapid.T) map[string]any {
	plugin := map[string]any{}
	for key, value := range rapid.MapOfN(rapid.StringMatching(`x[a-z]{0,5}`), value(2), 0, 4).Draw(r, "more") {
		plugin[key] = value
	}
	plugin["type"] = rapid.SampledFrom(kinds).Draw(r, "type")
	declared := map[string]bool{}
	for _, capability := range capabilities {
		if rapid.Bool().Draw(r, "has") {
			declared[capability] = rapid.Bool().Draw(r, capability)
		}
	}
	if len(declared) > 0 {
		plugin["capabilities"] = declared
	}
	if rapid.Bool().Draw(r, "named") {
		plugin["name"] = rapid.StringMatching(`[a-z]{1,4}`).Draw(r, "plugin name")
	}
	return plugin
}

func drawRT(r *rapid.T) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{
		ContainerID: rapid.SampledFrom([]string{"pod1", "pod2", "a.b_c-d", ""}).Draw(r, "container"),
		IfName:      rapid.SampledFrom([]string{"eth0", "eth1", "net-1", ""}).Draw(r, "interface"),
		NetNS:       rapid.SampledFrom([]string{"", "/run/netns/x"}).Draw(r, "netns"),
	}
	for range rapid.IntRange(0, 2).Draw(r, "args") {
		rt.Args = append(rt.Args, [2]string{rapid.StringMatching(`[A-Z_]{1,6}`).Draw(r, "key"), rapid.StringMatching(`[a-z0-9.]{0,6}`).Draw(r, "value")})
	}
	for _, capability := range capabilities {
		if rapid.Bool().Draw(r, "given") {
			if rt.CapabilityArgs == nil {
				rt.CapabilityArgs = map[string]any{}
			}
			rt.CapabilityArgs[capability] = value(2).Draw(r, capability)
		}
	}
	return rt
}

func drawReply(r *rapid.T, version string) reply {
	switch rapid.IntRange(0, 6).Draw(r, "answer") {
	case 0, 1, 2:
		return reply{out: result(version)}
	case 3:
		return reply{out: result(rapid.SampledFrom(versions).Draw(r, "result version"))}
	case 4:
		return failed(version, rapid.SampledFrom([]int{1, 4, 7, 11, 50, 51, 100, 999}).Draw(r, "code"))
	case 5:
		return reply{}
	}
	more := value(1).Draw(r, "odd")
	text, _ := json.Marshal(map[string]any{"cniVersion": version, "odd": more, "dns": map[string]any{"domain": "d"}})
	return reply{out: string(text)}
}

func drawRow(r *rapid.T, version string) row {
	list := map[string]any{"cniVersion": version, "name": rapid.SampledFrom([]string{"net", "a-b", "x.y"}).Draw(r, "name")}
	var plugins []any
	for range rapid.IntRange(1, 3).Draw(r, "plugins") {
		plugins = append(plugins, drawPlugin(r))
	}
	list["plugins"] = plugins
	for _, key := range []string{"disableCheck", "disableGC"} {
		if rapid.IntRange(0, 5).Draw(r, key) == 0 {
			list[key] = true
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		r.Fatal(err)
	}
	row := row{conf: string(text), replies: replies{}}
	for _, kind := range kinds {
		for _, command := range []string{"ADD", "DEL", "CHECK", "GC", "STATUS"} {
			if rapid.IntRange(0, 4).Draw(r, kind+command) == 0 {
				row.replies[kind+" "+command] = drawReply(r, version)
			}
		}
	}
	rts := []*libcni.RuntimeConf{drawRT(r), drawRT(r)}
	for range rapid.IntRange(1, 8).Draw(r, "steps") {
		step := step{
			do: rapid.SampledFrom([]string{"add", "add", "add", "del", "check", "gc", "status", "validate", "cached result",
				"cached config", "attachments", "version"}).Draw(r, "call"),
			rt: rapid.SampledFrom(rts).Draw(r, "rt"),
		}
		switch step.do {
		case "gc":
			if rapid.Bool().Draw(r, "with args") {
				step.args = &libcni.GCArgs{}
				for _, rt := range rts {
					if rapid.Bool().Draw(r, "valid") {
						step.args.ValidAttachments = append(step.args.ValidAttachments, types.GCAttachment{ContainerID: rt.ContainerID, IfName: rt.IfName})
					}
				}
			}
		case "attachments":
			step.about = rapid.SampledFrom([]string{"", "pod1", "pod2"}).Draw(r, "about")
		case "version":
			step.about = "alpha"
		}
		row.steps = append(row.steps, step)
	}
	return row
}

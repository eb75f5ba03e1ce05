package oracle

// Rows: what both libraries are made to do. What came of it is an outcome (outcome_test.go); the rows themselves are in
// rows_*_test.go.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
)

// reply is what a plugin answers: standard output, standard error, and the exit status. A status below 0 is a signal
// that the plugin sends to itself; "wait" is to wait until it is killed.
type reply struct{ out, err, code string }

// replies are those of plugins, by "type COMMAND".
type replies map[string]reply

// step is one call.
type step struct {
	// do names the call: a key of calls, with "one " before it for a single network.
	do string
	// rt is the container; nil is pod.
	rt *libcni.RuntimeConf
	// conf is a configuration of this step's own.
	conf string
	// replies go before the row's from this step on.
	replies replies
	// args of a GC; nil is none.
	args *libcni.GCArgs
	// about is the type or container that is asked for.
	about string
	// before is done to the row's directory first.
	before func(dir string) error
	// cancel ends the context: "before" the call or "while" a plugin runs.
	cancel string
}

// row is one case: a configuration, what plugins answer, and calls.
type row struct {
	name string
	// conf is the text of a list, or of a single network where all steps are about one.
	conf string
	// list makes the list where libcni's parser would not.
	list func() *libcni.NetworkConfigList
	// replies of the plugins; a plugin that none is told of says nothing and succeeds, see usual.
	replies replies
	// missing are types that have no binary.
	missing []string
	// cache has files of the cache directory, by path below it.
	cache map[string]string
	steps []step
	// bytes compares standard input byte for byte.
	bytes bool
	// directories compares those of the cache, too.
	directories bool
}

func pod() *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: "pod1", NetNS: "/run/netns/pod1", IfName: "eth0"}
}

// usual are the answers of plugins that a row says nothing about.
func usual(version string) replies {
	return replies{
		"* ADD":     {out: result(version)},
		"* VERSION": {out: `{"cniVersion":"1.1.0","supportedVersions":["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}`},
	}
}

// result is that of an ADD in a version.
func result(version string) string {
	switch version {
	case "", "0.1.0", "0.2.0":
		return fmt.Sprintf(`{"cniVersion":%q,"ip4":{"ip":"10.1.0.5/16","gateway":"10.1.0.1","routes":[{"dst":"0.0.0.0/0"}]},`+
			`"ip6":{"ip":"fd00::5/64"},"dns":{"nameservers":["10.1.0.1"]}}`, version)
	case "0.3.0", "0.3.1", "0.4.0":
		return fmt.Sprintf(`{"cniVersion":%q,"interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/run/netns/pod1"}],`+
			`"ips":[{"version":"4","interface":0,"address":"10.1.0.5/16","gateway":"10.1.0.1"}],`+
			`"routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.1"}],"dns":{"domain":"example.test"}}`, version)
	default:
		return fmt.Sprintf(`{"cniVersion":%q,"interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/run/netns/pod1"}],`+
			`"ips":[{"interface":0,"address":"10.1.0.5/16","gateway":"10.1.0.1"},{"address":"fd00::5/64"}],`+
			`"routes":[{"dst":"0.0.0.0/0","gw":"10.1.0.1"}],"dns":{"search":["a.test","b.test"]}}`, version)
	}
}

// network is one of the two libraries.
type network func(t testing.TB, path []string, cacheDir string, exec invoke.Exec) libcni.CNI

func theirs(_ testing.TB, path []string, cacheDir string, exec invoke.Exec) libcni.CNI {
	return libcni.NewCNIConfigWithCacheDir(path, cacheDir, exec)
}

// plugins are what runs them and writes down what they got.
type plugins interface {
	exec() invoke.Exec
	answer(replies)
	runs() ([]run, error)
}

// run is one run of a plugin.
type run struct {
	kind  string
	env   []string
	stdin string
}

// perform does a row's steps with one library.
func perform(t testing.TB, row row, library network, dir string, plugins plugins) (outcome, error) {
	seen := outcome{}
	for name, text := range row.cache {
		path := filepath.Join(dir, "cache", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			return nil, err
		}
	}
	plugins.answer(row.replies)
	cni := library(t, []string{filepath.Join(dir, "bin")}, filepath.Join(dir, "cache"), plugins.exec())
	for i, step := range row.steps {
		if step.replies != nil {
			plugins.answer(step.replies)
		}
		if step.before != nil {
			if err := step.before(dir); err != nil {
				return nil, err
			}
		}
		target, err := row.target(step)
		if err != nil {
			return nil, err
		}
		at := fmt.Sprintf("%d %s", i+1, step.do)
		ctx, cancel := step.context(dir)
		said, err := call(ctx, cni, step, target)
		cancel()
		seen.add(at+": result", said)
		seen.error(at, err)
		runs, err := plugins.runs()
		if err != nil {
			return nil, err
		}
		seen.runs(at, runs, row.bytes)
	}
	if err := seen.cache(filepath.Join(dir, "cache"), row.directories); err != nil {
		return nil, err
	}
	seen.hide(dir)
	return seen, nil
}

// context is cancelled as the step says; a plugin that runs is known by its record.
func (s step) context(dir string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	switch s.cancel {
	case "before":
		cancel()
	case "while":
		size := func() int64 {
			info, err := os.Stat(filepath.Join(dir, "log"))
			if err != nil {
				return 0
			}
			return info.Size()
		}
		begun := size()
		go func() {
			for size() == begun && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
			cancel()
		}()
	}
	return ctx, cancel
}

// target is the configuration that a step is about.
type target struct {
	list *libcni.NetworkConfigList
	one  *libcni.PluginConfig
}

func (r row) target(s step) (target, error) {
	conf := r.conf
	if s.conf != "" {
		conf = s.conf
	} else if r.list != nil {
		return target{list: r.list()}, nil
	}
	if strings.HasPrefix(s.do, "one ") {
		one, err := libcni.NetworkPluginConfFromBytes([]byte(conf))
		return target{one: one}, err
	}
	list, err := libcni.NetworkConfFromBytes([]byte(conf))
	return target{list: list}, err
}

// call does what a step says; the answer is JSON.
func call(ctx context.Context, cni libcni.CNI, s step, on target) (said string, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("panic: %v", problem)
		}
	}()
	rt := s.rt
	if rt == nil {
		rt = pod()
	}
	result := func(result types.Result, err error) (string, error) {
		if err != nil || result == nil {
			return "", err
		}
		text, err := json.Marshal(result)
		return result.Version() + " " + string(text), err
	}
	cached := func(conf []byte, rt *libcni.RuntimeConf, err error) (string, error) {
		if err != nil || rt == nil {
			return "", err
		}
		text, err := json.Marshal(rt)
		return string(conf) + " " + string(text), err
	}
	list := func(list any, err error) (string, error) {
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(list)
		return string(text), err
	}
	switch s.do {
	case "add":
		return result(cni.AddNetworkList(ctx, on.list, rt))
	case "del":
		return "", cni.DelNetworkList(ctx, on.list, rt)
	case "check":
		return "", cni.CheckNetworkList(ctx, on.list, rt)
	case "gc":
		return "", cni.GCNetworkList(ctx, on.list, s.args)
	case "status":
		return "", cni.GetStatusNetworkList(ctx, on.list)
	case "validate":
		capabilities, err := cni.ValidateNetworkList(ctx, on.list)
		return list(append([]string{}, sorted(capabilities)...), err)
	case "cached result":
		return result(cni.GetNetworkListCachedResult(on.list, rt))
	case "cached config":
		return cached(cni.GetNetworkListCachedConfig(on.list, rt))
	case "attachments":
		attachments, err := cni.GetCachedAttachments(s.about)
		// Nothing is a nil slice in libcni where there is no directory; nobody can use the difference.
		return list(append([]*libcni.NetworkAttachment{}, attachments...), err)
	case "version":
		info, err := cni.GetVersionInfo(ctx, s.about)
		if err != nil {
			return "", err
		}
		return list(info.SupportedVersions(), nil)
	case "one add":
		return result(cni.AddNetwork(ctx, on.one, rt))
	case "one del":
		return "", cni.DelNetwork(ctx, on.one, rt)
	case "one check":
		return "", cni.CheckNetwork(ctx, on.one, rt)
	case "one validate":
		capabilities, err := cni.ValidateNetwork(ctx, on.one)
		return list(append([]string{}, sorted(capabilities)...), err)
	case "one cached result":
		return result(cni.GetNetworkCachedResult(on.one, rt))
	case "one cached config":
		return cached(cni.GetNetworkCachedConfig(on.one, rt))
	}
	return "", fmt.Errorf("no such call: %q", s.do)
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	network = "reliable"
	plugins = "/usr/lib/cni"
	// The C program that makes one call of cnirt.
	callVariable = "RELIABILITY_CALL"
)

// node is where one case runs: namespaces of its own, a directory, a runtime.
type node struct {
	dir, side string
}

// state is what there is that a pod had, or a call.
type state struct {
	Addresses, Links, Rules, Entries, Records, Processes int
}

func (s state) String() string {
	var parts []string
	for _, part := range []struct {
		count     int
		one, many string
	}{
		{s.Addresses, "address", "addresses"},
		{s.Links, "link end", "link ends"},
		{s.Rules, "rule", "rules"},
		{s.Entries, "cache entry", "cache entries"},
		{s.Records, "record", "records"},
		{s.Processes, "process", "processes"},
	} {
		switch part.count {
		case 0:
		case 1:
			parts = append(parts, "1 "+part.one)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", part.count, part.many))
		}
	}
	if parts == nil {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

func (n *node) netns(pod string) string { return n.path("ns-" + pod) }

func (n *node) binDirs() []string { return []string{n.path("bin"), plugins} }

// prepare makes the node; the list is bridge with host-local, portmap, and then the given types.
func (n *node) prepare(main string, last ...string) error {
	for _, name := range []string{"conf", "cache", "ipam", "bin"} {
		if err := os.Mkdir(n.path(name), 0o700); err != nil {
			return err
		}
	}
	for _, pod := range []string{"pod1", "pod2"} {
		if err := os.WriteFile(n.netns(pod), nil, 0o600); err != nil {
			return err
		}
		if err := run("unshare", "--net="+n.netns(pod), "true"); err != nil {
			return err
		}
	}
	for _, name := range []string{"slow", "hang", "fail", "pass"} {
		if err := n.install(name); err != nil {
			return err
		}
	}
	list := []any{
		map[string]any{
			"type": main, "bridge": "reliable0", "isGateway": true,
			"ipam": map[string]any{
				"type": "host-local", "dataDir": n.path("ipam"),
				"ranges": []any{[]any{map[string]any{"subnet": "10.89.0.0/24"}}},
			},
		},
		map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}, "snat": false},
	}
	for _, name := range last {
		list = append(list, map[string]any{"type": name})
	}
	text, err := json.Marshal(map[string]any{"cniVersion": "1.0.0", "name": network, "plugins": list})
	if err != nil {
		return err
	}
	return os.WriteFile(n.path("conf/10-reliable.conflist"), text, 0o600)
}

func (n *node) install(name string) error {
	this, err := os.Executable()
	if err != nil {
		return err
	}
	return os.Symlink(this, filepath.Join(n.path("bin"), name))
}

// call has the runtime do something, to its end.
func (n *node) call(r request) (answer, error) {
	command, err := n.command(r)
	if err != nil {
		return answer{}, err
	}
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	var said answer
	if json.Unmarshal(output, &said) != nil {
		return said, fmt.Errorf("%s: %w: %s%s", r.Operation, err, output, stderr.String())
	}
	return said, nil
}

// killed has the runtime begin to set up a pod, and kills it when its plugin has come far enough.
func (n *node) killed(r request) error {
	command, err := n.command(r)
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	if err := waitFor(n.path("reached")); err != nil {
		return err
	}
	if err := command.Process.Kill(); err != nil {
		return err
	}
	_ = command.Wait()
	n.settle(3 * time.Second)
	return nil
}

// settle waits until no process is left, or the time is over.
func (n *node) settle(limit time.Duration) {
	for end := time.Now().Add(limit); processes() > 0 && time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
	}
}

// look counts.
func (n *node) look() (state, error) {
	var s state
	entries, _ := os.ReadDir(n.path("ipam/" + network))
	for _, entry := range entries {
		if name := entry.Name(); name != "lock" && !strings.HasPrefix(name, "last_reserved_ip.") {
			s.Addresses++
		}
	}
	links, err := output("ip", "-o", "link")
	if err != nil {
		return s, err
	}
	s.Links = strings.Count(links, ": veth")
	for _, pod := range []string{"pod1", "pod2"} {
		links, err := output("nsenter", "--net="+n.netns(pod), "ip", "-o", "link")
		if err != nil {
			return s, err
		}
		s.Links += strings.Count(links, "\n") - strings.Count(links, ": lo:")
	}
	rules, err := output("iptables-save", "-t", "nat")
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(rules) {
		// portmap says in a comment whose it is; what it shares between pods stays.
		if strings.HasPrefix(line, "-A") && strings.Contains(line, `id: \"pod`) {
			s.Rules++
		}
	}
	results, _ := os.ReadDir(n.path("cache/results"))
	s.Entries = len(results)
	err = filepath.WalkDir(n.path("cache/cnirt"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && path != n.path("cache/cnirt/lock") {
			s.Records++
		}
		return nil
	})
	s.Processes = processes()
	return s, err
}

// processes counts those of this pid namespace but this one, the first, and those that have ended. The main thread of one
// that execs from another thread looks ended for a moment.
func processes() (count int) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err != nil || pid == os.Getpid() {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "stat"))
		at := bytes.LastIndexByte(stat, ')')
		if err != nil || at < 0 {
			continue
		}
		threads, _ := os.ReadDir(filepath.Join("/proc", entry.Name(), "task"))
		if !bytes.HasPrefix(stat[at:], []byte(") Z")) || len(threads) > 1 {
			count++
		}
	}
	return count
}

// fill makes the cache directory a file system that takes nothing more.
func (n *node) fill() error {
	if err := syscall.Mount("tmpfs", n.path("cache"), "tmpfs", 0, "size=64k"); err != nil {
		return err
	}
	file, err := os.Create(n.path("cache/filling"))
	if err != nil {
		return err
	}
	defer file.Close()
	for chunk := make([]byte, 4096); err == nil; {
		_, err = file.Write(chunk)
	}
	return nil
}

func run(name string, args ...string) error {
	_, err := output(name, args...)
	return err
}

func output(name string, args ...string) (string, error) {
	said, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, said)
	}
	return string(said), nil
}

package cnirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// host is a process with a node: a directory with a network of bridge and host-local, and plugins that are scripts.
type host struct {
	dir string
	// What came of SIGCHLD, save for the host's own children, of which there is one at a time.
	heard    chan os.Signal
	oneChild sync.Mutex
}

// expect ends the host with words and stacks, on whichever goroutine it finds out.
func expect(good bool, format string, args ...any) {
	if !good {
		panic(fmt.Sprintf(format, args...))
	}
}

func noError(err error) { expect(err == nil, "%v", err) }

func newHost(dir string) *host {
	h := &host{dir: dir, heard: make(chan os.Signal, 10000)}
	signal.Notify(h.heard, syscall.SIGCHLD)
	for _, name := range []string{"conf", "bin"} {
		noError(os.Mkdir(h.path(name), 0o755))
	}
	for _, name := range []string{"running", "go"} {
		noError(syscall.Mkfifo(h.path(name), 0o600))
	}
	network := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "net", "plugins": [{"type": "bridge", "bridge": "bridge0",
		"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.77.0.0/24"}]]}}]}`, h.path("ipam"))
	noError(os.WriteFile(h.path("conf/net.conflist"), []byte(network), 0o644))
	// It has a child, hears no TERM, and waits for a word.
	h.script("slow", "sleep 1000 &\ntrap '' TERM\necho > "+h.path("running")+"\nread line < "+h.path("go")+"\nkill $!")
	h.script("hang", "echo >> "+h.path("hanging")+"\nexec sleep 1000")
	h.lookingScript()
	// So that Go's poller has its descriptors.
	reader, writer, err := os.Pipe()
	noError(err)
	noError(writer.Close())
	_, _ = reader.Read(make([]byte, 1))
	noError(reader.Close())
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) script(name, onAdd string) {
	text := "#!/bin/sh\ncat > /dev/null\n[ $CNI_COMMAND = ADD ] || exit 0\n" + onAdd +
		"\necho '{\"cniVersion\":\"1.0.0\"}'\n"
	noError(os.WriteFile(h.path("bin/"+name), []byte(text), 0o755))
}

// lookingScript writes what a plugin finds: only what it inherited, save for the descriptor that ls reads the directory
// by. Not for a shell, which clears its mask.
func (h *host) lookingScript() {
	awk, err := exec.LookPath("awk")
	noError(err)
	text := fmt.Sprintf(`#!%s -f
BEGIN {
	if (ENVIRON["CNI_COMMAND"] != "ADD") exit
	while ((getline line < "/proc/self/status") > 0) if (line ~ /^(Sig[PBI]|ShdPnd)/) print line > %[2]q
	close(%[2]q)
	system("ls /proc/self/fd >> %[2]s")
	system("env > %[3]s")
	print "{\"cniVersion\":\"1.0.0\"}"
	exit
}
`, awk, h.path("seen"), h.path("environment"))
	noError(os.WriteFile(h.path("bin/look"), []byte(text), 0o755))
}

func (h *host) plugin(callbacks Callbacks) *Plugin {
	plugin, err := NewPlugin(Options{
		ConfDir: h.path("conf"), CacheDir: h.path("cache"),
		BinDirs: []string{h.path("bin"), "/opt/cni/bin", "/usr/lib/cni"},
		// So that loopback is a process, too.
		Builtin: []string{}, Timeout: time.Minute, KillGrace: 200 * time.Millisecond, Callbacks: callbacks,
	})
	noError(err)
	expectNoThreads()
	return plugin
}

// beside is a request for the node's network and one of this script's.
func (h *host) beside(id, script string) PodRequest {
	config := json.RawMessage(fmt.Sprintf(`{"cniVersion": "1.0.0", "name": %q, "type": %[1]q}`, script))
	return PodRequest{ID: id, NetNS: h.path(id), Networks: []NetworkRequest{{Name: "net"}, {Config: config}}}
}

// What the threads of background calls are called, which are the handle's until they are idle for long.
const backgroundThread = "cnirt-op"

func (h *host) withNetNS(id string, do func()) {
	noError(CreateNetNS(h.path(id)))
	expectNoThreads(backgroundThread)
	do()
	noError(RemoveNetNS(h.path(id)))
	expectNoThreads(backgroundThread)
}

// attached does something while there is this pod.
func (h *host) attached(plugin *Plugin, request PodRequest, do func()) {
	h.withNetNS(request.ID, func() {
		result, err := plugin.SetUpPod(context.Background(), request)
		noError(err)
		expect(len(result.IPs) == 1 && strings.HasPrefix(result.IPs[0].String(), "10.77.0."), "%+v", result)
		do()
		removed, err := plugin.TearDownPod(context.Background(), PodRequest{ID: request.ID})
		noError(err)
		expect(len(removed.Networks) == max(1, len(request.Networks)), "%+v", removed)
	})
}

// pod is a pod's whole life.
func (h *host) pod(plugin *Plugin, id string) {
	h.attached(plugin, PodRequest{ID: id, NetNS: h.path(id)}, func() {
		checked, err := plugin.CheckPod(context.Background(), PodRequest{ID: id})
		noError(err)
		expect(checked.Networks[0].Checked, "%+v", checked)
		status, err := plugin.PodStatus(context.Background(), PodRequest{ID: id})
		noError(err)
		expect(status.Source == "netlink", "%+v", status)
	})
}

// slowSetUp does something while a pod's set-up is within its second plugin.
func (h *host) slowSetUp(plugin *Plugin, do func()) {
	var all sync.WaitGroup
	all.Add(1)
	go func() {
		defer all.Done()
		h.attached(plugin, h.beside("slow", "slow"), func() {})
	}()
	_, err := os.ReadFile(h.path("running"))
	noError(err)
	do()
	noError(os.WriteFile(h.path("go"), []byte("\n"), 0))
	all.Wait()
}

// repeating does the first again and again, once at least, while the second runs.
func repeating(again, do func()) {
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			again()
			select {
			case <-over:
				return
			default:
			}
		}
	}()
	do()
	close(over)
	<-ended
}

// unchanged does what leaves the process as it was, no child of any kind, and nothing on the node.
func (h *host) unchanged(do func()) {
	before := currentState()
	do()
	h.expectNothingLeft()
	before.expectSame()
	expectNoChild(syscall.WALL)
}

// guest lends a handle, and expects the host unchanged when it was closed.
func (h *host) guest(callbacks Callbacks, use func(*Plugin)) {
	h.unchanged(func() {
		plugin := h.plugin(callbacks)
		use(plugin)
		pods, err := plugin.ListPods(context.Background())
		expect(err == nil && len(pods) == 0, "%v %v", pods, err)
		_, err = plugin.Changed()
		noError(errors.Join(err, plugin.Cancel("")))
		expectNoThreads(backgroundThread)
		noError(plugin.Close())
	})
}

func (h *host) expectNothingLeft() {
	left := linesOf("/proc/thread-self/net/dev", "veth", " veth", "  veth")
	for _, pattern := range []string{"ipam/net/10.*", "cache/results/*", "cache/cnirt/intents/*", "cache/cnirt/tmp-*"} {
		paths, _ := filepath.Glob(h.path(pattern))
		left = append(left, paths...)
	}
	expect(len(left) == 0, "left behind: %q", left)
}

// run is for a child of the host's own. It waits for ever where no SIGCHLD can be heard.
func (h *host) run(command *exec.Cmd) ([]byte, error) {
	h.oneChild.Lock()
	defer h.oneChild.Unlock()
	out, err := command.Output()
	// Of two at once there may be one SIGCHLD only.
	<-h.heard
	return out, err
}

// expectNoSIGCHLD is for the end of a host, and shows that it would have heard one. None comes where it is ignored.
func (h *host) expectNoSIGCHLD() {
	if signal.Ignored(syscall.SIGCHLD) {
		return
	}
	expect(len(h.heard) == 0, "heard %d SIGCHLD", len(h.heard))
	_, err := h.run(exec.Command("true"))
	noError(err)
}

func expectNoChild(options int) {
	var status syscall.WaitStatus
	child, err := syscall.Wait4(-1, &status, syscall.WNOHANG|options, nil)
	expect(err == syscall.ECHILD, "wait4(-1) found %d with status %#x, %v", child, status, err)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// What a runtime is asked to do, one process a call.
type request struct {
	// add, del or gc.
	Operation string
	// Of the pod; for gc, of the only pod that is valid, if any.
	Pod string
	// Tells runtimes on one cache directory apart, where they can be.
	Owner string
	// In milliseconds, 0 for the runtime's own.
	Limit int
}

// What it did.
type answer struct {
	MS    float64         `json:"ms"`
	Error json.RawMessage `json:"error"`
}

func (a answer) failed() bool { return string(a.Error) != "null" }

const ifName, hostPort = "eth0", 8080

var sides = []string{"libcni", "cnirt"}

// command is a process of a runtime that does one call.
func (n *node) command(r request) (*exec.Cmd, error) {
	if n.side == "libcni" {
		text, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		return exec.Command("/proc/self/exe", "libcni", n.dir, string(text)), nil
	}
	owner := r.Owner
	if owner == "" {
		owner = "one"
	}
	options := map[string]any{
		"confDir": n.path("conf"), "binDirs": n.binDirs(), "cacheDir": n.path("cache"), "owner": owner,
	}
	asked := map[string]any{"timeoutMs": 220000}
	if r.Limit > 0 {
		asked["timeoutMs"] = r.Limit
	}
	operation := map[string]string{"add": "setup_pod", "del": "teardown_pod", "gc": "plugin_gc"}[r.Operation]
	if r.Operation == "gc" {
		valid := []any{}
		if r.Pod != "" {
			valid = append(valid, map[string]any{"id": r.Pod})
		}
		asked["validPods"] = valid
	} else {
		asked["id"], asked["netns"] = r.Pod, n.netns(r.Pod)
		asked["portMappings"] = []any{portMapping()}
	}
	texts := make([]string, 2)
	for i, value := range []any{options, asked} {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		texts[i] = string(text)
	}
	return exec.Command(os.Getenv(callVariable), texts[0], operation, texts[1]), nil
}

func portMapping() map[string]any {
	return map[string]any{"hostPort": hostPort, "containerPort": 80, "protocol": "tcp"}
}

// libcniCall is what a runtime on libcni does: the context limits the call, and the list is loaded by its name.
func libcniCall(dir, text string) error {
	n := &node{dir: dir, side: "libcni"}
	var r request
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	ctx := context.Background()
	if r.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.Limit)*time.Millisecond)
		defer cancel()
	}
	list, err := libcni.LoadConfList(n.path("conf"), network)
	if err != nil {
		return err
	}
	config := libcni.NewCNIConfigWithCacheDir(n.binDirs(), n.path("cache"), nil)
	rt := &libcni.RuntimeConf{
		ContainerID: r.Pod, NetNS: n.netns(r.Pod), IfName: ifName,
		CapabilityArgs: map[string]any{"portMappings": []any{portMapping()}},
	}
	begun := time.Now()
	switch r.Operation {
	case "add":
		_, err = config.AddNetworkList(ctx, list, rt)
	case "del":
		err = config.DelNetworkList(ctx, list, rt)
	case "gc":
		args := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}
		if r.Pod != "" {
			args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: r.Pod, IfName: ifName})
		}
		err = config.GCNetworkList(ctx, list, args)
	default:
		err = errors.New("unknown operation")
	}
	said := answer{MS: float64(time.Since(begun).Microseconds()) / 1000, Error: json.RawMessage("null")}
	if err != nil {
		said.Error, _ = json.Marshal(err.Error())
	}
	line, err := json.Marshal(said)
	fmt.Println(string(line))
	return err
}

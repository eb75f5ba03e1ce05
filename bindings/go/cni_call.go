package cnirt

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// callOptions are what every call is told.
type callOptions struct {
	CallID    string            `json:"callId"`
	Env       map[string]string `json:"env,omitempty"`
	TimeoutMs *int64            `json:"timeoutMs,omitempty"`
}

func (o *callOptions) options() *callOptions { return o }

type gcArgs struct {
	*callOptions
	// Never left out: the library would take that for a mistake.
	ValidAttachments []types.GCAttachment `json:"validAttachments"`
}

type runtimeConf struct {
	*callOptions
	ContainerID    string                     `json:"containerID"`
	NetNS          string                     `json:"netns"`
	IfName         string                     `json:"ifName"`
	Args           [][2]string                `json:"args"`
	CapabilityArgs map[string]json.RawMessage `json:"capabilityArgs"`
	CacheDir       string                     `json:"cacheDir,omitempty"`
}

// onNetwork does an operation that is about no container.
func (c *CNI) onNetwork(ctx context.Context, operation string, conf conf) (string, error) {
	return c.call(ctx, &call{}, operation, conf, &callOptions{})
}

// onContainer does an operation that is about one container.
func (c *CNI) onContainer(ctx context.Context, operation string, conf conf, rt *libcni.RuntimeConf) (string, error) {
	if rt == nil {
		return "", newError(ErrInvalidArgument, "rt: nil is not allowed")
	}
	object := runtimeConf{
		callOptions: &callOptions{},
		ContainerID: rt.ContainerID, NetNS: rt.NetNS, IfName: rt.IfName, Args: rt.Args, CacheDir: rt.CacheDir,
		CapabilityArgs: make(map[string]json.RawMessage, len(rt.CapabilityArgs)),
	}
	if object.CacheDir == "" {
		object.CacheDir = libcni.CacheDir
	}
	if strings.IndexByte(rt.NetNS+object.CacheDir, 0) >= 0 || !utf8.ValidString(rt.NetNS+object.CacheDir) {
		return "", newError(ErrInvalidArgument, "rt: a path has a NUL or is not UTF-8")
	}
	for key, value := range rt.CapabilityArgs {
		text, err := json.Marshal(value)
		if err != nil {
			return "", err
		}
		object.CapabilityArgs[key] = text
	}
	return c.call(ctx, &call{}, operation, conf, &object)
}

// call does an operation; a nil request is none.
func (c *CNI) call(ctx context.Context, call *call, operation string, conf conf, request interface{ options() *callOptions }) (string, error) {
	defer runtime.KeepAlive(c)
	if c.err != nil {
		return "", c.err
	}
	if ctx.Err() != nil {
		return "", libcniError(contextError(ctx), nil)
	}
	text, err := conf.text()
	if err != nil {
		return "", err
	}
	first, second := argument{"conf", text}, argument{name: "rt"}
	if request != nil {
		options := request.options()
		call.callID = uniqueCallID()
		options.CallID = call.callID
		options.Env = c.environment(ctx)
		var timeout time.Duration
		if timeout, call.limited = limit(ctx, 0, c.s.timeout); timeout != 0 {
			options.TimeoutMs = milliseconds(timeout)
		}
		encoded, err := json.Marshal(request)
		if err != nil {
			return "", err
		}
		second.text = string(encoded)
	}
	if request == nil && c.s.exec != nil {
		select {
		case c.nameless <- struct{}{}:
			defer func() { <-c.nameless }()
		case <-ctx.Done():
			return "", libcniError(contextError(ctx), nil)
		}
	}
	answer, err := c.s.call(ctx, call, operation, first, second)
	var ours *Error
	if errors.As(err, &ours) {
		return "", libcniError(ours, call)
	}
	return answer, err
}

// environment is what the plugins of a call get besides CNI's variables: the environment as it is now, which the library
// itself reads only once, and the trace of the caller.
func (c *CNI) environment(ctx context.Context) map[string]string {
	env := make(map[string]string)
	if c.env == nil {
		for _, line := range os.Environ() {
			if key, value, ok := strings.Cut(line, "="); ok && key != "" && utf8.ValidString(line) {
				env[key] = value
			}
		}
	}
	if c.s.exec == nil {
		addTrace(ctx, env)
	}
	return env
}

package cnirt

// #cgo pkg-config: cnirt
// #include "shim.h"
import "C"

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
)

// EventPodCIDRChange tells the node's pod CIDR; its details are {"pod-cidr": "10.1.0.0/16"}. Only the first counts.
const EventPodCIDRChange = "pod-cidr-change"

// Plugin is the kubelet's network plugin: it attaches pods to networks, knows which are attached, and detaches them.
// Any number of goroutines may use it.
type Plugin struct{ s *session }

// NewPlugin makes a network plugin and reads the network configurations; a node that has none yet is no error.
func NewPlugin(options Options) (*Plugin, error) {
	text, err := encode("plugin options", options)
	if err != nil {
		return nil, err
	}
	s, err := openSession(text, &session{callbacks: options.Callbacks, timeout: options.timeout()})
	if err != nil {
		return nil, err
	}
	plugin := &Plugin{s}
	// The safety net of a program that forgets Close. Not in the runtime's own goroutine, which must not wait.
	runtime.AddCleanup(plugin, func(s *session) { go s.close() }, s)
	return plugin, nil
}

// Close ends the network plugin: it refuses new calls, cancels the running ones, and returns when they have ended. What
// is attached stays attached. Further calls of Close do nothing but wait for that too. The error is always nil.
func (p *Plugin) Close() error {
	p.s.close()
	runtime.KeepAlive(p)
	return nil
}

// SetUpPod attaches a pod to its networks. It is ErrExists where the pod is attached already, unless PodRequest.Replace
// is set. What an earlier set-up of the pod neither finished nor undid is undone first. What a failed set-up began is
// undone; Error.Rollback tells how that went.
func (p *Plugin) SetUpPod(ctx context.Context, request PodRequest) (*PodResult, error) {
	return onPod[PodResult](ctx, p, "setup_pod", request)
}

// TearDownPod detaches a pod from its networks, as they were recorded, finished or not. It needs no configuration and no
// network namespace, and succeeds where nothing is known of the pod. With PodRequest.Force it succeeds where plugins
// fail, too; TearDownResult.Errors are what they said.
func (p *Plugin) TearDownPod(ctx context.Context, request PodRequest) (*TearDownResult, error) {
	return onPod[TearDownResult](ctx, p, "teardown_pod", request)
}

// CheckPod asks the plugins whether a pod's networks are as they were made. It is ErrNotFound for an unknown pod.
func (p *Plugin) CheckPod(ctx context.Context, request PodRequest) (*CheckResult, error) {
	return onPod[CheckResult](ctx, p, "check_pod", request)
}

// PodStatus reads a pod's addresses from its network namespace. It is ErrNotFound for an unknown pod.
func (p *Plugin) PodStatus(ctx context.Context, request PodRequest) (*PodStatus, error) {
	return onPod[PodStatus](ctx, p, "pod_status", request)
}

// ListPods returns every pod that is recorded, and every one whose set-up is under way or did not end.
func (p *Plugin) ListPods(ctx context.Context) ([]KnownPod, error) {
	return onPlugin[[]KnownPod](ctx, p, "list_pods")
}

// Status says whether pods can be set up on the default network, and what is configured. Not being ready is no error.
func (p *Plugin) Status(ctx context.Context) (*Status, error) {
	return onPlugin[*Status](ctx, p, "plugin_status")
}

// Reload reads the network configurations again, changed or not. It is seldom needed: every call looks for changes.
func (p *Plugin) Reload(ctx context.Context) (*Status, error) {
	return onPlugin[*Status](ctx, p, "plugin_reload")
}

// Capabilities returns what the default network's plugins declare, sorted.
func (p *Plugin) Capabilities(ctx context.Context) ([]string, error) {
	return onPlugin[[]string](ctx, p, "plugin_capabilities")
}

// Metrics returns the plugin's metrics in the Prometheus text format.
func (p *Plugin) Metrics(ctx context.Context) (string, error) {
	return p.on(ctx, "plugin_metrics", &call{}, "")
}

// Event tells of an event on the node. The details are anything that makes a JSON object, or nil; unknown names are
// ignored.
func (p *Plugin) Event(ctx context.Context, name string, details any) error {
	event := struct {
		Name    string          `json:"name"`
		Details json.RawMessage `json:"details,omitempty"`
	}{Name: name}
	if details != nil {
		text, err := encode("event details", details)
		if err != nil {
			return err
		}
		event.Details = json.RawMessage(text)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return newError(ErrInvalidArgument, "name: there is a NUL inside")
	}
	text, err := encode("event", event)
	if err != nil {
		return err
	}
	_, err = p.on(ctx, "plugin_event", &call{}, text)
	return err
}

// Name is the network plugin's: "cni", or "kubernetes.io/no-op".
func (p *Plugin) Name() string { return p.s.name }

// Cancel cancels the calls with this CallID or on the pod with this ID; an empty id is all calls. They return
// ErrCancelled when their plugins have stopped and what they began is undone. No such call is no error.
func (p *Plugin) Cancel(id string) error {
	defer runtime.KeepAlive(p)
	return p.s.cancel(id)
}

func onPod[T any](ctx context.Context, p *Plugin, operation string, request PodRequest) (*T, error) {
	text, err := p.onPod(ctx, operation, request)
	if err != nil {
		return nil, err
	}
	return decode[*T](text)
}

func onPlugin[T any](ctx context.Context, p *Plugin, operation string) (answer T, err error) {
	text, err := p.on(ctx, operation, &call{}, "")
	if err != nil {
		return answer, err
	}
	return decode[T](text)
}

// decode reads an answer; keys of a later library are no error.
func decode[T any](text string) (answer T, err error) {
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return answer, fmt.Errorf("cnirt: the library's answer: %w", err)
	}
	return answer, nil
}

// named is a call by the name in its request, which gets one where it has none.
func named(callID *string) *call {
	if *callID == "" {
		*callID = uniqueCallID()
	}
	return &call{callID: *callID}
}

// onPod does one operation on a pod.
func (p *Plugin) onPod(ctx context.Context, operation string, request PodRequest) (string, error) {
	call := named(&request.CallID)
	call.podID = request.ID
	request.Timeout, call.limited = limit(ctx, request.Timeout, p.s.timeout)
	text, err := encode("pod request", request)
	if err != nil {
		return "", err
	}
	return p.on(ctx, operation, call, text)
}

// on does an operation; an empty request is none.
func (p *Plugin) on(ctx context.Context, operation string, call *call, request string) (string, error) {
	defer runtime.KeepAlive(p)
	return p.s.call(ctx, call, operation, argument{"request", request}, argument{})
}

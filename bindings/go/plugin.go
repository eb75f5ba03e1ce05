package cnirt

// #cgo pkg-config: cnirt
// #include "shim.h"
import "C"

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
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
	s, err := openSession(text, options)
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

// SetUpPod attaches a pod to its networks. It is ErrExists where the pod is attached already. What a failed set-up
// began is undone; Error.Rollback tells how that went.
func (p *Plugin) SetUpPod(ctx context.Context, request PodRequest) (*PodResult, error) {
	return onPod[PodResult](ctx, p, "setup_pod", request)
}

// TearDownPod detaches a pod from its networks, as they were recorded. It needs no configuration and no network
// namespace, and succeeds where nothing is known of the pod.
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

// ListPods returns every pod that is recorded.
func (p *Plugin) ListPods(ctx context.Context) ([]KnownPod, error) {
	return onPlugin[[]KnownPod](ctx, p, C.cnirt_go_plugin_function(C.cni_list_pods))
}

// Status says whether pods can be set up on the default network, and what is configured. Not being ready is no error.
func (p *Plugin) Status(ctx context.Context) (*Status, error) {
	return onPlugin[*Status](ctx, p, C.cnirt_go_plugin_function(C.cni_plugin_status))
}

// Reload reads the network configurations again, changed or not. It is seldom needed: every call looks for changes.
func (p *Plugin) Reload(ctx context.Context) (*Status, error) {
	return onPlugin[*Status](ctx, p, C.cnirt_go_plugin_function(C.cni_plugin_reload))
}

// Capabilities returns what the default network's plugins declare, sorted.
func (p *Plugin) Capabilities(ctx context.Context) ([]string, error) {
	return onPlugin[[]string](ctx, p, C.cnirt_go_plugin_function(C.cni_plugin_capabilities))
}

// Metrics returns the plugin's metrics in the Prometheus text format.
func (p *Plugin) Metrics(ctx context.Context) (string, error) {
	return p.on(ctx, C.cnirt_go_plugin_function(C.cni_plugin_metrics))
}

// Event tells of an event on the node. The details are anything that makes a JSON object, or nil; unknown names are
// ignored.
func (p *Plugin) Event(ctx context.Context, name string, details any) error {
	text := "{}"
	if details != nil {
		var err error
		if text, err = encode("event details", details); err != nil {
			return err
		}
	}
	cName, err := cText("name", name)
	if err != nil {
		return err
	}
	defer freeC(cName)
	cDetails := C.CString(text)
	defer freeC(cDetails)
	defer runtime.KeepAlive(p)
	_, err = p.s.call(ctx, &call{}, func(current C.uintptr_t, handle *C.cni_plugin, out **C.char) C.cni_rc {
		return C.cnirt_go_event(current, handle, cName, cDetails, out)
	})
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

// The operations on a pod, by the name of their C function.
var podFunctions = map[string]C.cnirt_go_pod_function{
	"setup_pod":    C.cnirt_go_pod_function(C.cni_setup_pod),
	"teardown_pod": C.cnirt_go_pod_function(C.cni_teardown_pod),
	"check_pod":    C.cnirt_go_pod_function(C.cni_check_pod),
	"pod_status":   C.cnirt_go_pod_function(C.cni_pod_status),
}

func onPod[T any](ctx context.Context, p *Plugin, operation string, request PodRequest) (*T, error) {
	text, err := p.onPod(ctx, operation, request)
	if err != nil {
		return nil, err
	}
	return decode[*T](text)
}

func onPlugin[T any](ctx context.Context, p *Plugin, function C.cnirt_go_plugin_function) (answer T, err error) {
	text, err := p.on(ctx, function)
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

// onPod does one operation on a pod.
func (p *Plugin) onPod(ctx context.Context, operation string, request PodRequest) (string, error) {
	call := &call{podID: request.ID, callID: request.CallID}
	if call.callID == "" {
		call.callID = uniqueCallID()
		request.CallID = call.callID
	}
	request.Timeout, call.limited = limit(ctx, request.Timeout, p.s.timeout)
	text, err := encode("pod request", request)
	if err != nil {
		return "", err
	}
	return p.onPodJSON(ctx, operation, call, text)
}

func (p *Plugin) onPodJSON(ctx context.Context, operation string, call *call, request string) (string, error) {
	cRequest, err := cText("request", request)
	if err != nil {
		return "", err
	}
	defer freeC(cRequest)
	defer runtime.KeepAlive(p)
	return p.s.call(ctx, call, func(current C.uintptr_t, handle *C.cni_plugin, out **C.char) C.cni_rc {
		return C.cnirt_go_on_pod(current, podFunctions[operation], handle, cRequest, out)
	})
}

// on does an operation without a request.
func (p *Plugin) on(ctx context.Context, function C.cnirt_go_plugin_function) (string, error) {
	defer runtime.KeepAlive(p)
	return p.s.call(ctx, &call{}, func(current C.uintptr_t, handle *C.cni_plugin, out **C.char) C.cni_rc {
		return C.cnirt_go_on_plugin(current, function, handle, out)
	})
}

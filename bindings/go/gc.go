package cnirt

import (
	"context"
	"encoding/json"
	"time"
)

// GCRequest says what [Plugin.GC] keeps.
//
// In JSON the keys are the library's; the timeout is whole milliseconds (timeoutMs).
type GCRequest struct {
	// ValidPods are the pods that are there. Nil is ErrInvalidArgument, in case somebody forgot them; that no pod is
	// there, and everything is to go, is said by a list that is empty.
	ValidPods []ValidPod `json:"validPods,omitzero"`
	// Timeout limits this call; zero is the option's, NoLimit is none. A context's deadline only shortens it.
	Timeout time.Duration `json:"-"`
	// CallID names the call for callbacks and Plugin.Cancel; without one it gets one of its own.
	CallID string `json:"callId,omitempty"`
}

// ValidPod is a pod that is there.
type ValidPod struct {
	// ID is the container ID of the pod's sandbox.
	ID string `json:"id"`
	// Networks are those of its attachments that are in use; nil is all of them.
	Networks []Attachment `json:"networks,omitzero"`
}

// GCResult says what a GC deleted.
type GCResult struct {
	// Deleted are the attachments.
	Deleted []CollectedNetwork `json:"deleted"`
}

// CollectedNetwork is an attachment that GC deleted.
type CollectedNetwork struct {
	Attachment
	// ID is the container ID of the pod's sandbox.
	ID string `json:"id"`
}

// GC deletes the attachments of pods that are gone, then runs the plugins' own GC where their networks have one (CNI
// 1.1.0). Only what this plugin's owner made is deleted; attachments that others made are told to the plugins as valid.
// What a set-up that did not end left of a pod that is gone is undone, too.
//
// Nothing stops at the first error: Error.Errors lists what failed, and what was deleted is not told then.
func (p *Plugin) GC(ctx context.Context, request GCRequest) (*GCResult, error) {
	call := named(&request.CallID)
	request.Timeout, call.limited = limit(ctx, request.Timeout, p.s.timeout)
	text, err := encode("GC request", request)
	if err != nil {
		return nil, err
	}
	if text, err = p.on(ctx, "plugin_gc", call, text); err != nil {
		return nil, err
	}
	return decode[*GCResult](text)
}

type plainGCRequest GCRequest

type gcRequestJSON struct {
	plainGCRequest
	TimeoutMs *int64 `json:"timeoutMs,omitempty"`
}

// MarshalJSON makes the JSON object that the library reads.
func (r GCRequest) MarshalJSON() ([]byte, error) {
	return json.Marshal(gcRequestJSON{plainGCRequest(r), milliseconds(r.Timeout)})
}

// UnmarshalJSON reads what MarshalJSON makes.
func (r *GCRequest) UnmarshalJSON(text []byte) error {
	object := gcRequestJSON{plainGCRequest: plainGCRequest(*r)}
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	*r = GCRequest(object.plainGCRequest)
	setDuration(&r.Timeout, object.TimeoutMs)
	return nil
}

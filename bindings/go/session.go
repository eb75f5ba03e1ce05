package cnirt

// #include "shim.h"
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	goruntime "runtime"
	"runtime/cgo"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/version"
)

// session is a handle of the library, and who uses it. Plugin and CNI are only ways to it, so that the runtime can see
// when nobody has one any more.
type session struct {
	callbacks Callbacks
	// In place of the callbacks: a runtime's, or nil.
	exec invoke.Exec
	// Whether the handle is a runtime's.
	isRuntime bool
	name      string
	// The library's own limit of a call, 0 for none.
	timeout time.Duration
	// What a callback is in that belongs to no known call.
	nobodys cgo.Handle
	// Closed when the handle is freed.
	freed chan struct{}

	// Guards what follows; not held while C runs.
	mu sync.Mutex
	// Told when users or a call's cancellers become none.
	left *sync.Cond
	// Valid until freed is closed.
	handle handle
	closed bool
	// Who is in a C function with the handle just now.
	users int
	calls map[*call]struct{}
	// Panics of callbacks that belong to no known call; the next call takes them.
	panics []any
	// Made when it is first asked for, by somebody who is in.
	changes *changes
}

// call is one call of the library.
type call struct {
	session *session
	// What tells on a thread that one of the call's callbacks runs.
	self cgo.Handle
	// For callbacks: the caller's, but ended only after the library was told so, and also by Cancel and Close.
	ctx    context.Context
	cancel context.CancelCauseFunc
	podID  string
	callID string
	// Whether the context's deadline is the call's limit.
	limited bool
	// The call whose callback makes this one.
	outer *call

	// What follows is guarded by the session's mutex.

	// The call in the background, as long as it may be cancelled.
	op         *C.cni_op
	cancellers int
	panics     []any
	// Whether an Exec ended its goroutine.
	exited bool
	// What an Exec's methods returned.
	execErrors []error
	info       version.PluginInfo
}

// openSession makes a handle for a session that has its callbacks.
func openSession(options string, s *session) (*session, error) {
	s.left = sync.NewCond(&s.mu)
	s.freed = make(chan struct{})
	s.calls = make(map[*call]struct{})
	cOptions, err := cText("options", options)
	if err != nil {
		return nil, err
	}
	defer freeC(cOptions)
	making := &call{session: s, outer: currentCall()}
	defer making.begin(context.Background())()
	s.nobodys = cgo.NewHandle(&call{session: s})
	data := C.uintptr_t(cgo.NewHandle(s))
	var (
		out *C.char
		rc  C.cni_rc
	)
	markers.Add(1)
	if s.isRuntime {
		rc = C.cnirt_go_runtime_new(C.uintptr_t(making.self), cOptions, data, s.given(), &s.handle.runtime, &out)
	} else {
		rc = C.cnirt_go_plugin_new(C.uintptr_t(making.self), cOptions, data, s.given(), &s.handle.plugin, &out)
	}
	markers.Add(-1)
	text := takeText(out)
	value, panicked := s.takePanic(making)
	if rc != C.CNI_OK {
		s.nobodys.Delete()
	} else if !s.isRuntime {
		s.name = C.GoString(C.cni_plugin_name(s.handle.plugin))
	}
	switch {
	case panicked:
		if rc == C.CNI_OK {
			s.close()
		}
		panic(value)
	case rc != C.CNI_OK:
		return nil, readError(rc, text)
	}
	return s, nil
}

// call does one operation in the background and waits for it, with the context's end and callbacks' panics seen to.
func (s *session) call(ctx context.Context, c *call, operation string, first, second argument) (string, error) {
	if ctx.Err() != nil {
		return "", contextError(ctx)
	}
	c.session, c.outer = s, currentCall()
	defer c.begin(ctx)()
	text, err := s.run(ctx, c, operation, first, second)
	value, panicked := s.takePanic(c)
	switch {
	case panicked:
		panic(value)
	case c.exited:
		goruntime.Goexit()
	}
	var ours *Error
	if errors.As(err, &ours) {
		return "", c.failure(ctx, ours)
	}
	return text, err
}

func (s *session) run(ctx context.Context, c *call, operation string, first, second argument) (string, error) {
	if err := s.start(c, operation, first, second); err != nil {
		return "", err
	}
	stopWatching := s.watch(ctx, c)
	wait(c.op)
	stopWatching()
	return finish(s.forget(c))
}

// begin makes the context for callbacks, until the returned function is called.
func (c *call) begin(ctx context.Context) (end func()) {
	base, endBase := context.WithoutCancel(ctx), func() {}
	if deadline, ok := ctx.Deadline(); ok {
		base, endBase = context.WithDeadline(base, deadline)
	}
	c.ctx, c.cancel = context.WithCancelCause(base)
	c.self = cgo.NewHandle(c)
	return func() {
		c.self.Delete()
		c.cancel(nil)
		endBase()
	}
}

// callbackContext is the context of a callback that begins now. The library asks nobody any more for a call that is
// over, so then it is undoing what the call began, and that must not be cut off.
func (c *call) callbackContext() context.Context {
	if c.ctx.Err() != nil {
		return context.WithoutCancel(c.ctx)
	}
	return c.ctx
}

// failure adds the context's error where its end is why the call failed.
func (c *call) failure(ctx context.Context, err *Error) *Error {
	ended := ctx.Err()
	late := errors.Is(ended, context.DeadlineExceeded)
	switch {
	case err.Class == ErrCancelled && late:
		// The deadline was not in the request.
		err.Class, err.context = ErrTimeout, contextErrors(ctx)
	case err.Class == ErrTimeout && late, err.Class == ErrCancelled && ended != nil:
		err.context = contextErrors(ctx)
	case err.Class == ErrTimeout && c.limited:
		// The library's clock was a little faster than the context's.
		err.context = []error{context.DeadlineExceeded}
	}
	return err
}

// watch cancels the call when its context ends, until the returned function is called.
func (s *session) watch(ctx context.Context, c *call) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	finished := make(chan struct{})
	stopAfter := context.AfterFunc(ctx, func() {
		defer close(finished)
		// A deadline that is in the request needs nobody.
		if !c.limited || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.cancelCall(c)
		}
		c.cancel(context.Cause(ctx))
	})
	return func() {
		if !stopAfter() {
			<-finished
		}
	}
}

// enter makes the caller a user of the handle. Leave it by leave.
func (s *session) enter() (handle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return handle{}, ErrClosed
	}
	s.users++
	return s.handle, nil
}

func (s *session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	s.left.Broadcast()
}

// start begins a call, which callbacks find from then on. End it by forget.
func (s *session) start(c *call, operation string, first, second argument) error {
	handle, err := s.enter()
	if err != nil {
		return err
	}
	defer s.leave()
	s.mu.Lock()
	s.calls[c] = struct{}{}
	s.mu.Unlock()
	op, err := handle.start(operation, first, second)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.calls, c)
	}
	c.op = op
	return err
}

// forget makes sure that nobody cancels the call any more, and returns what is to be finished.
func (s *session) forget(c *call) *C.cni_op {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := c.op
	c.op = nil
	for c.cancellers > 0 {
		s.left.Wait()
	}
	delete(s.calls, c)
	return op
}

// cancelCall cancels a call in the library, if it is running.
func (s *session) cancelCall(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.op == nil {
		return
	}
	c.cancellers++
	op := c.op
	s.mu.Unlock()
	end := briefly()
	// It is no callback's thread, and the call is alive: nothing can be wrong.
	_ = C.cni_op_cancel(op)
	end()
	s.mu.Lock()
	c.cancellers--
	s.left.Broadcast()
}

func (s *session) cancel(id string) error {
	handle, err := s.enter()
	if err != nil {
		return err
	}
	defer s.leave()
	cID, err := argument{"id", id}.copy()
	if err != nil {
		return err
	}
	defer freeC(cID)
	if rc := C.cni_plugin_cancel(handle.plugin, cID); rc != C.CNI_OK {
		err = readError(rc, "")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.calls {
		if id == "" || id == c.callID || id == c.podID {
			c.cancel(nil)
		}
	}
	return err
}

// close refuses new calls, cancels the running ones, and waits for the handle's end. From one of its own callbacks it
// cannot wait.
func (s *session) close() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	inCallback := false
	for c := currentCall(); c != nil; c = c.outer {
		inCallback = inCallback || c.session == s
	}
	switch {
	case first && inCallback:
		// The library refuses to cancel from a callback.
		go s.stop()
	case first:
		s.stop()
	}
	if !inCallback {
		<-s.freed
	}
}

// stop ends all calls of a closed session, and the handle.
func (s *session) stop() {
	s.mu.Lock()
	for s.users > 0 {
		s.left.Wait()
	}
	running := slices.Collect(maps.Keys(s.calls))
	changes := s.changes
	s.mu.Unlock()
	if changes != nil {
		changes.stop()
	}
	for _, c := range running {
		s.cancelCall(c)
		c.cancel(nil)
	}
	s.handle.free()
	s.nobodys.Delete()
	close(s.freed)
}

// How many goroutines mark their thread as in a callback: without any, none has to ask C.
var markers atomic.Int32

// currentCall is the call that this goroutine is in a callback of.
func currentCall() *call {
	if markers.Load() == 0 {
		return nil
	}
	if current := C.cnirt_go_current(); current != 0 {
		return cgo.Handle(current).Value().(*call)
	}
	return nil
}

// inCallback marks the thread as running a callback of this call, or of none, until the returned function is called.
func (s *session) inCallback(c *call) (end func()) {
	self := s.nobodys
	if c != nil {
		self = c.self
	}
	markers.Add(1)
	outer := C.cnirt_go_set_current(C.uintptr_t(self))
	return func() {
		C.cnirt_go_set_current(outer)
		markers.Add(-1)
	}
}

// running finds the call that a callback belongs to: on a thread of the library's own the one that the question names,
// or the only one without a name.
func (s *session) running(current C.uintptr_t, question string) *call {
	if current != 0 {
		if c := cgo.Handle(current).Value().(*call); c.session == s {
			return c
		}
	}
	var named struct {
		CallID string `json:"callId"`
	}
	if json.Unmarshal([]byte(question), &named) != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *call
	for c := range s.calls {
		switch {
		case c.callID != named.CallID:
		case named.CallID != "":
			return c
		case found != nil:
			return nil
		default:
			found = c
		}
	}
	return found
}

// takePanic is the first panic of the call's callbacks, or one that belongs to no call.
func (s *session) takePanic(c *call) (value any, panicked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(c.panics) == 0 {
		c.panics, s.panics = s.panics, nil
	}
	if len(c.panics) == 0 {
		return nil, false
	}
	return c.panics[0], true
}

var callNumber atomic.Uint64

// uniqueCallID cannot be a pod's id, which has no colon.
func uniqueCallID() string { return fmt.Sprintf("go:%d", callNumber.Add(1)) }

// limit is the limit of a call: the request's or else the library's own, shortened to what is left of the context.
// Zero is the library's own; limited says that the context's is the shortest.
func limit(ctx context.Context, request, library time.Duration) (timeout time.Duration, limited bool) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return request, false
	}
	left := max(time.Until(deadline), time.Millisecond)
	own := request
	if own == 0 {
		own = library
	}
	if own > 0 && own <= left {
		return request, false
	}
	return left, true
}

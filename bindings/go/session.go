package cnirt

// #include "shim.h"
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/cgo"
	"sync"
	"sync/atomic"
	"time"
)

// How long a cancellation waits before it is tried again, at first and at most: the library does not keep one for a
// call that is only about to begin.
const (
	firstRetry = time.Millisecond
	lastRetry  = 100 * time.Millisecond
)

// session is a handle of the library, and who uses it. Plugin is only a way to it, so that the runtime can see when
// nobody has one any more.
type session struct {
	callbacks Callbacks
	name      string
	// The library's own limit of a call, 0 for none.
	timeout time.Duration
	// Closed when the handle is freed.
	freed chan struct{}

	// Guards what follows; not held while C runs.
	mu sync.Mutex
	// Valid until freed is closed.
	handle *C.cni_plugin
	closed bool
	// Who may use the handle just now. The last one that leaves a closed session frees it.
	users int
	calls map[*call]struct{}
	// Panics of callbacks that belong to no known call; the next call takes them.
	panics []any
}

// call is one call of the library.
type call struct {
	session *session
	// For callbacks: the caller's, but ended only after the library was told so, and also by Cancel and Close.
	ctx    context.Context
	cancel context.CancelCauseFunc
	podID  string
	callID string
	// Whether the context's deadline is the call's limit.
	limited bool
	// The call whose callback makes this one.
	outer *call
	// Guarded by the session's mutex.
	panics []any
}

func openSession(options string, given Options) (*session, error) {
	s := &session{
		callbacks: given.Callbacks,
		timeout:   given.timeout(),
		freed:     make(chan struct{}),
		users:     1,
		calls:     make(map[*call]struct{}),
	}
	cOptions := C.CString(options)
	defer freeC(cOptions)
	making := &call{session: s, outer: currentCall()}
	defer making.begin(context.Background())()
	current := cgo.NewHandle(making)
	defer current.Delete()
	var out *C.char
	rc := C.cnirt_go_plugin_new(C.uintptr_t(current), cOptions, C.uintptr_t(cgo.NewHandle(s)), s.callbacks.given(),
		&s.handle, &out)
	text := takeText(out)
	if rc == C.CNI_OK {
		s.name = C.GoString(C.cni_plugin_name(s.handle))
	}
	value, panicked := s.takePanic(making)
	if rc == C.CNI_OK {
		s.leave()
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

// call runs one C function, with the context's end and callbacks' panics seen to.
func (s *session) call(
	ctx context.Context, c *call, function func(current C.uintptr_t, handle *C.cni_plugin, out **C.char) C.cni_rc,
) (string, error) {
	if ctx.Err() != nil {
		return "", contextError(ctx)
	}
	c.session, c.outer = s, currentCall()
	defer c.begin(ctx)()
	handle, err := s.enter(c)
	if err != nil {
		return "", err
	}
	current := cgo.NewHandle(c)
	stopWatching := s.watch(ctx, c)
	var out *C.char
	rc := function(C.uintptr_t(current), handle, &out)
	text := takeText(out)
	stopWatching()
	current.Delete()
	value, panicked := s.takePanic(c)
	s.forget(c)
	if panicked {
		panic(value)
	}
	if rc != C.CNI_OK {
		return "", c.failure(ctx, readError(rc, text))
	}
	return text, nil
}

// begin makes the context for callbacks, until the returned function is called.
func (c *call) begin(ctx context.Context) (end func()) {
	base, endBase := context.WithoutCancel(ctx), func() {}
	if deadline, ok := ctx.Deadline(); ok {
		base, endBase = context.WithDeadline(base, deadline)
	}
	c.ctx, c.cancel = context.WithCancelCause(base)
	return func() {
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
	switch {
	case err.Class == ErrTimeout && errors.Is(ctx.Err(), context.DeadlineExceeded),
		err.Class == ErrCancelled && errors.Is(ctx.Err(), context.Canceled):
		err.context = contextErrors(ctx)
	case err.Class == ErrTimeout && c.limited:
		// The library's clock was a little faster than the context's.
		err.context = []error{context.DeadlineExceeded}
	}
	return err
}

// watch cancels the call when its context is cancelled, until the returned function is called. A deadline needs
// nobody: it went into the request.
func (s *session) watch(ctx context.Context, c *call) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	done, finished := make(chan struct{}), make(chan struct{})
	stopAfter := context.AfterFunc(ctx, func() {
		defer close(finished)
		defer c.cancel(context.Cause(ctx))
		if c.callID == "" || c.limited && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return
		}
		retry(done, func() {
			// The id was in a request already: it has no NUL.
			_ = s.cancelInC(c.callID)
			c.cancel(context.Cause(ctx))
		}, func() bool { return true })
	})
	return func() {
		close(done)
		if !stopAfter() {
			<-finished
		}
	}
}

// retry does something again and again until done, or until it may not.
func retry(done <-chan struct{}, do func(), may func() bool) {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		do()
		select {
		case <-done:
			return
		case <-time.After(pause):
		}
		if !may() {
			return
		}
	}
}

// enter makes the caller a user of the handle, with a call or without one. Leave it by forget or leave.
func (s *session) enter(c *call) (*C.cni_plugin, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.users++
	if c != nil {
		s.calls[c] = struct{}{}
	}
	return s.handle, nil
}

func (s *session) forget(c *call) {
	s.mu.Lock()
	delete(s.calls, c)
	s.mu.Unlock()
	s.leave()
}

func (s *session) leave() {
	s.mu.Lock()
	s.users--
	last := s.closed && s.users == 0
	s.mu.Unlock()
	if last {
		C.cni_plugin_free(s.handle)
		close(s.freed)
	}
}

func (s *session) cancel(id string) error {
	if _, err := s.enter(nil); err != nil {
		return err
	}
	defer s.leave()
	err := s.cancelInC(id)
	s.cancelContexts(id)
	return err
}

// close refuses new calls, cancels the running ones, and waits for the handle's end. From one of its own callbacks it
// cannot wait.
func (s *session) close() {
	s.mu.Lock()
	first := !s.closed
	if first {
		s.closed = true
		s.users++
	}
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

// stop cancels all calls until nobody uses the handle; the caller is a user, and leaves.
func (s *session) stop() {
	retry(s.freed, func() {
		// Without an id nothing can be wrong with it.
		_ = s.cancelInC("")
		s.cancelContexts("")
		s.leave()
	}, s.stay)
}

// stay makes the caller a user of a closed session, unless nobody else is one any more.
func (s *session) stay() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		return false
	}
	s.users++
	return true
}

// cancelInC cancels calls in the library; for users of the handle.
func (s *session) cancelInC(id string) error {
	var cID *C.char
	if id != "" {
		var err error
		if cID, err = cText("id", id); err != nil {
			return err
		}
		defer freeC(cID)
	}
	if rc := C.cni_plugin_cancel(s.handle, cID); rc != C.CNI_OK {
		return readError(rc, "")
	}
	return nil
}

// cancelContexts ends the contexts that callbacks of the calls with this id have.
func (s *session) cancelContexts(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.calls {
		if id == "" || id == c.callID || id == c.podID {
			c.cancel(nil)
		}
	}
}

// currentCall is the call that this goroutine is in a callback of.
func currentCall() *call {
	if current := C.cnirt_go_current(); current != 0 {
		return cgo.Handle(current).Value().(*call)
	}
	return nil
}

// running finds the call that a callback belongs to: the thread's, or on a thread of the library's own the one that
// the question names.
func (s *session) running(current C.uintptr_t, question string) *call {
	if current != 0 {
		if c := cgo.Handle(current).Value().(*call); c.session == s {
			return c
		}
	}
	var named struct {
		CallID string `json:"callId"`
	}
	if json.Unmarshal([]byte(question), &named) != nil || named.CallID == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.calls {
		if c.callID == named.CallID {
			return c
		}
	}
	return nil
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

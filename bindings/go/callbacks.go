package cnirt

// #include "shim.h"
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime/cgo"
	"runtime/debug"
	"time"
	"unsafe"
)

// Callbacks are what the program does itself; a nil one is the library's own way.
//
// They run on the library's threads, at most Options.OpThreads at a time, and in NewPlugin on its own. Their context is
// the method's that needs them, found by the CallID; it also ends with [Plugin.Cancel], [Plugin.Close] and, for
// ExecPlugin, with the call's limit. A callback that undoes what a call began that is over has a context of its own, and
// so have the callbacks of several methods without a request that run at the same time.
//
// An error that is an [*Error] or a [Cause] reaches the caller with all that it has, and a [Class] with its message. A
// panic is an error for the library, which undoes a set-up; then it goes on in the goroutine of the method. A callback
// must not end its goroutine by runtime.Goexit (testing.T.FailNow does), and of its own network plugin it may use only
// Close, which then does not wait.
type Callbacks struct {
	// GetNetNS returns the path of a pod's network namespace; it is asked only where a request has none. Empty: the
	// pod has no namespace any more.
	GetNetNS func(ctx context.Context, pod PodQuestion) (string, error)
	// GetPodPortMappings returns a pod's port mappings; it is asked only where a request's are nil.
	GetPodPortMappings func(ctx context.Context, pod PodQuestion) ([]PortMapping, error)
	// FindPlugin returns the path of a plugin.
	FindPlugin func(ctx context.Context, call FindCall) (string, error)
	// ExecPlugin runs a plugin and returns what it printed on standard output. The error of a plugin that failed is
	// a *Cause with what it said.
	ExecPlugin func(ctx context.Context, call ExecCall) ([]byte, error)
	// Log takes a log line. What it causes itself is not logged.
	Log func(entry LogEntry)
}

// PodQuestion says which pod a callback is asked about.
type PodQuestion struct {
	PodIdentity
	// UID is the pod's.
	UID string `json:"uid"`
	// CallID is that of the request.
	CallID string `json:"callId"`
}

// FindCall asks for a plugin.
type FindCall struct {
	// CallID is that of the request; empty where there is none.
	CallID string `json:"callId"`
	// Type of the plugin.
	Type string `json:"type"`
	// Dirs are the options' BinDirs.
	Dirs []string `json:"dirs"`
}

// ExecCall says how to run a plugin.
type ExecCall struct {
	// CallID is that of the request; empty where there is none.
	CallID string `json:"callId"`
	// Path of the plugin, as FindPlugin returned it.
	Path string `json:"path"`
	// Env is the exact environment, KEY=VALUE.
	Env []string `json:"env"`
	// Stdin is the plugin's configuration.
	Stdin string `json:"stdin"`
	// Timeout is what is left of the call's time; 0 where it has no limit.
	Timeout time.Duration `json:"-"`
}

// LogEntry is one log line.
type LogEntry struct {
	// Level of the line; tracing is below slog.LevelDebug.
	Level slog.Level
	// Target is the part of the library.
	Target string
	// Message may be empty.
	Message string
	// Fields are a JSON object with what belongs to the message.
	Fields json.RawMessage
}

// LogTo makes a Callbacks.Log that writes to logger.
func LogTo(logger *slog.Logger) func(LogEntry) {
	return func(entry LogEntry) {
		attrs := []slog.Attr{slog.String("target", entry.Target)}
		var fields map[string]any
		if json.Unmarshal(entry.Fields, &fields) == nil {
			for key, value := range fields {
				attrs = append(attrs, slog.Any(key, value))
			}
		}
		logger.LogAttrs(context.Background(), entry.Level, entry.Message, attrs...)
	}
}

// given are the bits of the callbacks that there are.
func (s *session) given() (bits C.int32_t) {
	if s.exec != nil {
		return C.CNIRT_GO_FIND_PLUGIN | C.CNIRT_GO_EXEC_PLUGIN
	}
	c := &s.callbacks
	if c.GetNetNS != nil {
		bits |= C.CNIRT_GO_GET_NETNS
	}
	if c.GetPodPortMappings != nil {
		bits |= C.CNIRT_GO_GET_POD_PORT_MAPPINGS
	}
	if c.FindPlugin != nil {
		bits |= C.CNIRT_GO_FIND_PLUGIN
	}
	if c.ExecPlugin != nil {
		bits |= C.CNIRT_GO_EXEC_PLUGIN
	}
	if c.Log != nil {
		bits |= C.CNIRT_GO_LOG
	}
	return bits
}

//export cnirtGoDataFree
func cnirtGoDataFree(data C.uintptr_t) { cgo.Handle(data).Delete() }

//export cnirtGoGetNetNS
func cnirtGoGetNetNS(data, current C.uintptr_t, pod *C.char, reply *C.cni_reply) C.int32_t {
	return answer(data, current, pod, reply, func(ctx context.Context, c *Callbacks, pod PodQuestion) ([]byte, error) {
		path, err := c.GetNetNS(ctx, pod)
		return []byte(path), err
	})
}

//export cnirtGoGetPodPortMappings
func cnirtGoGetPodPortMappings(data, current C.uintptr_t, pod *C.char, reply *C.cni_reply) C.int32_t {
	return answer(data, current, pod, reply, func(ctx context.Context, c *Callbacks, pod PodQuestion) ([]byte, error) {
		mappings, err := c.GetPodPortMappings(ctx, pod)
		if err != nil || mappings == nil {
			return []byte("[]"), err
		}
		return json.Marshal(mappings)
	})
}

//export cnirtGoFindPlugin
func cnirtGoFindPlugin(data, current C.uintptr_t, call *C.char, reply *C.cni_reply) C.int32_t {
	find := func(ctx context.Context, c *Callbacks, call FindCall) ([]byte, error) {
		path, err := c.FindPlugin(ctx, call)
		if errors.Is(err, fs.ErrNotExist) {
			err = newError(ErrPluginNotFound, err.Error())
		}
		return []byte(path), err
	}
	if s := cgo.Handle(data).Value().(*session); s.exec != nil {
		find = s.findByExec
	}
	return answer(data, current, call, reply, find)
}

//export cnirtGoExecPlugin
func cnirtGoExecPlugin(data, current C.uintptr_t, call *C.char, reply *C.cni_reply) C.int32_t {
	type execCall struct {
		ExecCall
		TimeoutMs int64 `json:"timeoutMs"`
	}
	return answer(data, current, call, reply, func(ctx context.Context, c *Callbacks, call execCall) ([]byte, error) {
		if call.TimeoutMs > 0 {
			setDuration(&call.Timeout, &call.TimeoutMs)
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, call.Timeout)
			defer cancel()
		}
		if s := cgo.Handle(data).Value().(*session); s.exec != nil {
			return s.runByExec(ctx, call.ExecCall)
		}
		return c.ExecPlugin(ctx, call.ExecCall)
	})
}

//export cnirtGoLog
func cnirtGoLog(data, current C.uintptr_t, level C.int32_t, target, message, fields *C.char) {
	s := cgo.Handle(data).Value().(*session)
	defer func() {
		if value := recover(); value != nil {
			s.panicked(s.running(current, ""), value)
		}
	}()
	if current == 0 {
		defer s.inCallback(nil)()
	}
	s.callbacks.Log(LogEntry{
		Level:   slogLevel(int32(level)),
		Target:  C.GoString(target),
		Message: C.GoString(message),
		Fields:  json.RawMessage(C.GoString(fields)),
	})
}

// slogLevel turns the library's levels, 1 for errors to 5 for tracing, into slog's.
func slogLevel(level int32) slog.Level { return slog.LevelError - 4*slog.Level(level-1) }

// answer asks a callback and puts what it says into reply. Nothing that it does gets past this function as a panic.
func answer[Q any](
	data, current C.uintptr_t, text *C.char, reply *C.cni_reply,
	ask func(context.Context, *Callbacks, Q) ([]byte, error),
) (rc C.int32_t) {
	s := cgo.Handle(data).Value().(*session)
	words := C.GoString(text)
	call := s.running(current, words)
	defer func() {
		if value := recover(); value != nil {
			s.panicked(call, value)
			rc = refuse(reply, newError(ErrPanic, fmt.Sprintf("a callback panicked: %v", value)))
		}
	}()
	defer s.inCallback(call)()
	var question Q
	if err := json.Unmarshal([]byte(words), &question); err != nil {
		return refuse(reply, err)
	}
	ctx := context.Background()
	if call != nil {
		ctx = context.WithValue(call.callbackContext(), callKey{}, call)
	}
	bytes, err := ask(ctx, &s.callbacks, question)
	if err != nil {
		return refuse(reply, err)
	}
	if !setReply(reply, bytes) {
		return refuse(reply, fmt.Errorf("an answer of %d bytes is too long", len(bytes)))
	}
	return C.CNI_OK
}

// refuse puts an error into reply and returns its number.
func refuse(reply *C.cni_reply, err error) C.int32_t {
	var (
		ours   *Error
		cause  *Cause
		class  Class
		object any
	)
	switch {
	case errors.As(err, &ours):
		class, object = ours.Class, ours
	case errors.As(err, &cause):
		// The library reads the class from the plugin's code.
		object = cause
	case errors.As(err, &class):
	case errors.Is(err, context.DeadlineExceeded):
		class = ErrTimeout
	case errors.Is(err, context.Canceled):
		class = ErrCancelled
	}
	text := []byte(err.Error())
	if object != nil {
		if encoded, failed := json.Marshal(object); failed == nil {
			text = encoded
		}
	}
	setReply(reply, text)
	if number, known := classNumbers()[class]; known {
		return number
	}
	// No cni_rc: the library takes what fits the callback.
	return -1
}

func setReply(reply *C.cni_reply, bytes []byte) bool {
	text := (*C.char)(unsafe.Pointer(unsafe.SliceData(bytes)))
	return C.cni_reply_set(reply, text, C.size_t(len(bytes))) == C.CNI_OK
}

// panicked keeps a callback's panic for the goroutine of its call. The stack would be lost there: it goes to the log.
func (s *session) panicked(call *call, value any) {
	s.mu.Lock()
	if call != nil {
		call.panics = append(call.panics, value)
	} else {
		s.panics = append(s.panics, value)
	}
	s.mu.Unlock()
	if s.callbacks.Log == nil {
		return
	}
	fields, _ := json.Marshal(map[string]string{"stack": string(debug.Stack())})
	defer func() { _ = recover() }()
	s.callbacks.Log(LogEntry{
		Level:   slog.LevelError,
		Target:  "cnirt::go",
		Message: fmt.Sprintf("a callback panicked: %v", value),
		Fields:  fields,
	})
}

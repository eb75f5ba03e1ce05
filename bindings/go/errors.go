package cnirt

// #include <cnirt.h>
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
)

// ErrClosed is the error of a method that was called after Plugin.Close.
var ErrClosed = errors.New("cnirt: the network plugin is closed")

// Class is the kind of a failure: the name of its cni_rc. It is an error, for errors.Is.
type Class string

// The classes. A later library may have more.
const (
	// ErrInvalidArgument: the program passed something that cannot be used.
	ErrInvalidArgument Class = "CNI_E_INVALID_ARGUMENT"
	// ErrConfig: a network configuration cannot be read or used.
	ErrConfig Class = "CNI_E_CONFIG"
	// ErrNotReady: there is no usable default network yet, or a plugin says that it is not ready.
	ErrNotReady Class = "CNI_E_NOT_READY"
	// ErrPlugin: a plugin ran and failed, or what it printed makes no sense.
	ErrPlugin Class = "CNI_E_PLUGIN"
	// ErrPluginNotFound: the plugin directories have no file for a plugin type.
	ErrPluginNotFound Class = "CNI_E_PLUGIN_NOT_FOUND"
	// ErrTimeout: the time limit passed.
	ErrTimeout Class = "CNI_E_TIMEOUT"
	// ErrCancelled: somebody cancelled the call.
	ErrCancelled Class = "CNI_E_CANCELLED"
	// ErrExists: the pod is attached already.
	ErrExists Class = "CNI_E_EXISTS"
	// ErrNotFound: nothing is known of that pod, network or value.
	ErrNotFound Class = "CNI_E_NOT_FOUND"
	// ErrIO: the system refused something.
	ErrIO Class = "CNI_E_IO"
	// ErrNetNS: a network namespace is missing, or is not one.
	ErrNetNS Class = "CNI_E_NETNS"
	// ErrCache: the cache directory or an entry of it cannot be read or written.
	ErrCache Class = "CNI_E_CACHE"
	// ErrUnsupported: not supported by the library, by the configuration's version, or by the plugin.
	ErrUnsupported Class = "CNI_E_UNSUPPORTED"
	// ErrRetry: the plugin asks to try again later.
	ErrRetry Class = "CNI_E_RETRY"
	// ErrForked: the plugin was used in a process forked from the one that made it.
	ErrForked Class = "CNI_E_FORKED"
	// ErrPanic: a defect of the library, stopped at its border.
	ErrPanic Class = "CNI_E_PANIC"
)

// Error is the class's name.
func (c Class) Error() string { return string(c) }

// What CNI's error code is where there is no better one.
const internalCode = 999

// Error is an error of the library: the CNI specification's error object, and more.
type Error struct {
	// CNIVersion of the configuration that it is about.
	CNIVersion string `json:"cniVersion"`
	// Code is CNI's error code, 999 where there is none.
	Code uint64 `json:"code"`
	// Msg has libcni's words where libcni has that error.
	Msg string `json:"msg"`
	// Class is the kind of failure.
	Class Class `json:"class"`
	// Details is a longer text.
	Details string `json:"details,omitempty"`
	// Hint says what to do.
	Hint string `json:"hint,omitempty"`
	// Plugin is the type of the plugin that failed.
	Plugin string `json:"plugin,omitempty"`
	// Command is the CNI command that failed (ADD, DEL, …).
	Command string `json:"command,omitempty"`
	// Network is the network's name.
	Network string `json:"network,omitempty"`
	// IfName is the interface in the pod.
	IfName string `json:"ifName,omitempty"`
	// Cause is the plugin's own error object.
	Cause *Cause `json:"cause,omitempty"`
	// Errors were joined into this one.
	Errors []*Error `json:"errors,omitempty"`
	// Rollback tells how a failed set-up was undone.
	Rollback *Rollback `json:"rollback,omitempty"`

	// The context's errors, where its end ended the call.
	context []error
}

// Cause is the error object of a plugin.
type Cause struct {
	// Code is the plugin's error code.
	Code uint64 `json:"code"`
	// Msg is its short message.
	Msg string `json:"msg"`
	// Details is its longer message.
	Details string `json:"details,omitempty"`
}

// Rollback tells how undoing went.
type Rollback struct {
	// Done says that everything that was started is undone.
	Done bool `json:"done"`
	// Errors while undoing.
	Errors []*Error `json:"errors"`
}

// Error is the message; the hint is not in it.
func (e *Error) Error() string { return e.Msg }

// Is reports whether target is the error's class.
func (e *Error) Is(target error) bool {
	class, ok := target.(Class)
	return ok && class == e.Class
}

// Unwrap returns the joined errors, the plugin's own error, and the context's error where its end ended the call.
func (e *Error) Unwrap() []error {
	var inner []error
	for _, joined := range e.Errors {
		inner = append(inner, joined)
	}
	if e.Cause != nil {
		inner = append(inner, e.Cause)
	}
	return append(inner, e.context...)
}

// Error is the message and the details, as libcni joins them.
func (c *Cause) Error() string {
	if c.Details == "" {
		return c.Msg
	}
	return c.Msg + "; " + c.Details
}

func newError(class Class, msg string) *Error {
	return &Error{Code: internalCode, Class: class, Msg: msg}
}

// readError makes the error of a C function from what it returned and wrote.
func readError(rc C.cni_rc, out string) *Error {
	class := Class(C.GoString(C.cni_rc_name(C.int32_t(rc))))
	err := newError(class, string(class))
	if out != "" && json.Unmarshal([]byte(out), err) != nil {
		err = newError(class, out)
	}
	return err
}

// contextError is the error of a call that did not begin, or ended, because of its context.
func contextError(ctx context.Context) *Error {
	class := ErrCancelled
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		class = ErrTimeout
	}
	err := newError(class, context.Cause(ctx).Error())
	err.context = contextErrors(ctx)
	return err
}

func contextErrors(ctx context.Context) []error {
	errs := []error{ctx.Err()}
	if cause := context.Cause(ctx); cause != ctx.Err() {
		errs = append(errs, cause)
	}
	return errs
}

// The number of each class, as the library has it.
var classNumbers = sync.OnceValue(func() map[Class]C.int32_t {
	numbers := make(map[Class]C.int32_t)
	unknown := Class(C.GoString(C.cni_rc_name(-1)))
	for number := C.int32_t(1); ; number++ {
		class := Class(C.GoString(C.cni_rc_name(number)))
		if class == unknown {
			return numbers
		}
		numbers[class] = number
	}
})

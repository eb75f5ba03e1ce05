package cnirt

// #include "shim.h"
import "C"

import (
	"os"
	"syscall"
)

// handle is one of the library: a network plugin or a runtime.
type handle struct {
	plugin  *C.cni_plugin
	runtime *C.cni_runtime
}

// argument is a text for C with its name for messages; an empty one is NULL.
type argument struct{ name, text string }

func (a argument) copy() (*C.char, error) {
	// An empty name is a name for libcni, which says what is wrong with it; no text of this kind is left out.
	if a.text == "" && a.name != "conf" {
		return nil, nil
	}
	return cText(a.name, a.text)
}

// A thread for each of those that are in C, or in the kernel, for a moment would stay with the program when many come
// at once: even for a copied text, when the machine has other things to do.
var moments = make(chan struct{}, 8)

// briefly waits for a turn for what does not wait, until the returned function is called. A callback takes no turn: it
// may run in somebody else's.
func briefly() (end func()) {
	if currentCall() != nil {
		return func() {}
	}
	moments <- struct{}{}
	return func() { <-moments }
}

// start begins a call in the background. End it by finish.
func (h handle) start(operation string, first, second argument) (*C.cni_op, error) {
	defer briefly()()
	cFirst, err := first.copy()
	if err != nil {
		return nil, err
	}
	defer freeC(cFirst)
	cSecond, err := second.copy()
	if err != nil {
		return nil, err
	}
	defer freeC(cSecond)
	cOperation, err := cText("operation", operation)
	if err != nil {
		return nil, err
	}
	defer freeC(cOperation)
	var (
		op  *C.cni_op
		out *C.char
		rc  C.cni_rc
	)
	if h.runtime != nil {
		rc = C.cni_runtime_start(h.runtime, cOperation, cFirst, cSecond, &op, &out)
	} else {
		rc = C.cni_plugin_start(h.plugin, cOperation, cFirst, &op, &out)
	}
	if text := takeText(out); rc != C.CNI_OK {
		return nil, readError(rc, text)
	}
	return op, nil
}

func (h handle) free() {
	if h.runtime != nil {
		C.cni_runtime_free(h.runtime)
	} else {
		C.cni_plugin_free(h.plugin)
	}
}

// wait returns when a call is done. Until then it takes a goroutine and no thread: Go's poller has the descriptor.
func wait(op *C.cni_op) {
	// A call whose deadline passes in the queue is ended by being asked.
	done := func(uintptr) bool {
		defer briefly()()
		return C.cni_op_wait(op, 0) != C.CNI_E_TIMEOUT
	}
	if done(0) {
		return
	}
	if file := fileOf(op); file != nil {
		defer func() {
			defer briefly()()
			_ = file.Close()
		}()
		if raw, err := file.SyscallConn(); err == nil && raw.Read(done) == nil {
			return
		}
	}
	// Without a descriptor to spare it costs a thread.
	_ = C.cni_op_wait(op, -1)
}

// fileOf is what Go's poller waits for, nil where there is none.
func fileOf(op *C.cni_op) *os.File {
	defer briefly()()
	return pollable(C.cni_op_fd(op), "cnirt call")
}

// pollable makes a file of a descriptor of the library's: of a copy, as the library closes its own, and a file closes its
// own, too. Nil where there is none.
func pollable(fd C.int, name string) *os.File {
	if fd < 0 {
		return nil
	}
	own, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
	if errno != 0 {
		return nil
	}
	// The library's descriptor does not block, nor does its copy: so it goes to the poller.
	return os.NewFile(own, name)
}

// finish ends a call that is done.
func finish(op *C.cni_op) (string, error) {
	defer briefly()()
	var out *C.char
	rc := C.cni_op_finish(op, &out)
	text := takeText(out)
	if rc != C.CNI_OK {
		return "", readError(rc, text)
	}
	return text, nil
}

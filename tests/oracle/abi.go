// Package oracle runs the same rows through Go's libcni and through cnirt and compares what they did.
//
// This file is the part of the C ABI that has no libcni.CNI above it: configurations and results as texts. It does not
// compare anything; below it lies libcnirt.so.
package oracle

// #cgo pkg-config: cnirt
// #include <stdlib.h>
// #include <cnirt.h>
import "C"

import (
	"encoding/json"
	"unsafe"
)

// answer is what a function of the C ABI said: JSON, or the words of its error.
type answer struct {
	json string
	err  string
}

func ask(texts []string, call func(in []*C.char, out **C.char) C.cni_rc) answer {
	in := make([]*C.char, len(texts))
	for i, text := range texts {
		in[i] = C.CString(text)
		defer C.free(unsafe.Pointer(in[i]))
	}
	var out *C.char
	rc := call(in, &out)
	defer C.cni_string_free(out)
	if rc == C.CNI_OK {
		return answer{json: C.GoString(out)}
	}
	var failure struct{ Msg, Details string }
	if err := json.Unmarshal([]byte(C.GoString(out)), &failure); err != nil {
		return answer{err: "no error object: " + C.GoString(out)}
	}
	if failure.Details != "" {
		failure.Msg += "; " + failure.Details
	}
	return answer{err: failure.Msg}
}

func confFiles(dir string, extensions []string) answer {
	list, err := json.Marshal(extensions)
	if err != nil {
		return answer{err: err.Error()}
	}
	return ask([]string{dir, string(list)}, func(in []*C.char, out **C.char) C.cni_rc {
		return C.cni_confdir_files(in[0], in[1], out)
	})
}

func confLoad(dir, name string) answer {
	return ask([]string{dir, name}, func(in []*C.char, out **C.char) C.cni_rc {
		return C.cni_confdir_load(in[0], in[1], out)
	})
}

// confParse has no plugins from files where dir is empty.
func confParse(text, dir string) answer {
	return ask([]string{text, dir}, func(in []*C.char, out **C.char) C.cni_rc {
		if dir == "" {
			in[1] = nil
		}
		return C.cni_conf_parse(in[0], in[1], out)
	})
}

func resultConvert(result, version string) answer {
	return ask([]string{result, version}, func(in []*C.char, out **C.char) C.cni_rc {
		return C.cni_result_convert(in[0], in[1], out)
	})
}

package cnirt

// #include <cnirt.h>
// #include <stdlib.h>
import "C"

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// cText copies text for C; free it with freeC. A C string cannot have a NUL inside.
func cText(what, text string) (*C.char, error) {
	if strings.IndexByte(text, 0) >= 0 {
		return nil, newError(ErrInvalidArgument, what+": there is a NUL inside")
	}
	return C.CString(text), nil
}

func freeC(text *C.char) { C.free(unsafe.Pointer(text)) }

// takeText copies what the library handed out, and frees it.
func takeText(out *C.char) string {
	text := C.GoString(out)
	C.cni_string_free(out)
	return text
}

// encode makes the JSON of what the program passed.
func encode(what string, value any) (string, error) {
	if problem := textProblem(reflect.ValueOf(value)); problem != "" {
		return "", newError(ErrInvalidArgument, what+problem)
	}
	text, err := json.Marshal(value)
	if err != nil {
		return "", newError(ErrInvalidArgument, fmt.Sprintf("%s: %v", what, err))
	}
	return string(text), nil
}

// textProblem finds a string that encoding/json would change silently, or that C would cut.
func textProblem(value reflect.Value) string {
	switch value.Kind() {
	case reflect.String:
		if text := value.String(); !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
			return fmt.Sprintf(": %q has a NUL or is not UTF-8", text)
		}
	case reflect.Pointer, reflect.Interface:
		return textProblem(value.Elem())
	case reflect.Slice, reflect.Array:
		if value.Type().Elem().Kind() == reflect.Uint8 {
			return ""
		}
		for i := range value.Len() {
			if problem := textProblem(value.Index(i)); problem != "" {
				return fmt.Sprintf("[%d]%s", i, problem)
			}
		}
	case reflect.Map:
		for entries := value.MapRange(); entries.Next(); {
			if problem := textProblem(entries.Key()); problem != "" {
				return problem
			}
			if problem := textProblem(entries.Value()); problem != "" {
				return fmt.Sprintf("[%q]%s", entries.Key(), problem)
			}
		}
	case reflect.Struct:
		for i := range value.NumField() {
			if problem := textProblem(value.Field(i)); problem != "" {
				return "." + value.Type().Field(i).Name + problem
			}
		}
	}
	return ""
}

// JSONGet returns the value at a place in a JSON text; pointer is an RFC 6901 pointer. A string comes without quotes
// and escapes. The error is ErrNotFound where there is no value.
func JSONGet(text, pointer string) (string, error) {
	return onTexts(func(c []*C.char, out **C.char) C.cni_rc {
		return C.cni_json_get(c[0], c[1], out)
	}, "json", text, "pointer", pointer)
}

// JSONSet puts a JSON value at a place in a JSON text and returns the new text. An empty text is an empty object, and
// objects that are missing on the way are made.
func JSONSet(text, pointer, value string) (string, error) {
	return onTexts(func(c []*C.char, out **C.char) C.cni_rc {
		return C.cni_json_set(orObject(text, c[0]), c[1], c[2], out)
	}, "json", text, "pointer", pointer, "value", value)
}

// JSONSetString is JSONSet with a plain string as the value.
func JSONSetString(text, pointer, value string) (string, error) {
	return onTexts(func(c []*C.char, out **C.char) C.cni_rc {
		return C.cni_json_set_string(orObject(text, c[0]), c[1], c[2], out)
	}, "json", text, "pointer", pointer, "value", value)
}

func orObject(text string, c *C.char) *C.char {
	if text == "" {
		return nil
	}
	return c
}

// CreateNetNS creates a network namespace that is held by a bind mount on path, as "ip netns add" does. The calling
// thread stays in its own.
func CreateNetNS(path string) error {
	_, err := onTexts(func(c []*C.char, out **C.char) C.cni_rc {
		return C.cni_netns_create(c[0], out)
	}, "path", path)
	return err
}

// RemoveNetNS unmounts and removes what CreateNetNS made. One that is gone already is no error.
func RemoveNetNS(path string) error {
	_, err := onTexts(func(c []*C.char, out **C.char) C.cni_rc {
		return C.cni_netns_remove(c[0], out)
	}, "path", path)
	return err
}

// Version returns the version of the library that the program runs with.
func Version() string { return C.GoString(C.cni_version()) }

// ABIVersion returns the number of the library's ABI, the one in its file name.
func ABIVersion() uint32 { return uint32(C.cni_abi_version()) }

// onTexts calls a C function that needs no network plugin with texts, each preceded by its name for messages.
func onTexts(call func(texts []*C.char, out **C.char) C.cni_rc, namesAndTexts ...string) (string, error) {
	var texts []*C.char
	for i := 0; i < len(namesAndTexts); i += 2 {
		text, err := cText(namesAndTexts[i], namesAndTexts[i+1])
		if err != nil {
			return "", err
		}
		defer freeC(text)
		texts = append(texts, text)
	}
	var out *C.char
	rc := call(texts, &out)
	text := takeText(out)
	if rc != C.CNI_OK {
		return "", readError(rc, text)
	}
	return text, nil
}

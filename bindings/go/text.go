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

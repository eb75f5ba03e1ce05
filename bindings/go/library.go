package cnirt

// #include <cnirt.h>
import "C"

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

// Package cenviron is for tests: Go has a copy of the environment from its start, and sees nothing of what C changes.
package cenviron

// extern char **environ;
import "C"

import "unsafe"

// Lines are the variables as C has them. Nobody may change any meanwhile.
func Lines() (lines []string) {
	for at := C.environ; at != nil && *at != nil; at = (**C.char)(unsafe.Add(unsafe.Pointer(at), unsafe.Sizeof(*at))) {
		lines = append(lines, C.GoString(*at))
	}
	return lines
}

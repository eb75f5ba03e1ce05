package cnirt

import (
	"errors"
	"regexp"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// What libcni wraps errors in, each time with one level of wrapping.
var layer = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`failed to delete stale attachment \S* \S*`,
	`failed to GC plugin [^:\s]*`,
	`failed to generate configuration to (?:GC plugin|get plugin STATUS) [^:\s]*`,
	`plugin type="(?:[^"\\]|\\.)*"(?: name="(?:[^"\\]|\\.)*")? failed \((?:add|delete)\)`,
	`failed to (?:get|set) network "(?:[^"\\]|\\.)*" cached result`,
	`failed to convert cached result to config version "(?:[^"\\]|\\.)*"`,
	`failed to unmarshal cached network "(?:[^"\\]|\\.)*" config`,
}, "|") + `): `)

// What the library puts before the error of an Exec that finds no plugin, and libcni does not.
const findPrefix = "callback find_plugin: "

// libcniError is an error of the library as libcni would have made it: the same words, the same levels of wrapping, and
// at the bottom a *types.Error, the Exec's own error, libcni.ErrorCheckNotSupp or a plain error. What has a level of
// wrapping is for errors.As also an *Error. A nil call has no Exec.
func libcniError(err *Error, call *call) error {
	if len(err.Errors) > 0 && !strings.HasPrefix(err.Msg, "[") {
		var errs []error
		for _, one := range err.Errors {
			one.context = err.context
			errs = append(errs, libcniError(one, call))
		}
		return errors.Join(errs...)
	}
	return unwrapped{err, call}.of(err.Msg)
}

// joined makes what GCNetworkList returns: a list of errors, also where it is only one.
func joined(err error) error {
	if _, list := err.(interface{ Unwrap() []error }); list {
		if _, ours := err.(*Error); !ours {
			return err
		}
	}
	return errors.Join(err)
}

type unwrapped struct {
	details *Error
	call    *call
}

func (u unwrapped) of(words string) error {
	if err := u.bottom(words); err != nil {
		return err
	}
	if prefix := layer.FindString(words); prefix != "" {
		return &wrapped{prefix, u.of(words[len(prefix):]), u.details}
	}
	if before, ok := strings.CutSuffix(words, libcni.ErrorCheckNotSupp.Error()); ok && u.details.Class == ErrUnsupported {
		return &wrapped{before, libcni.ErrorCheckNotSupp, u.details}
	}
	plain := *u.details
	plain.Msg = strings.ReplaceAll(words, findPrefix, "")
	return &plain
}

// bottom is what libcni has at the bottom of an error with these words, if the words are no more than that.
func (u unwrapped) bottom(words string) error {
	if u.call != nil {
		own := strings.TrimPrefix(words, findPrefix)
		for _, err := range u.call.execErrors {
			if err.Error() == own {
				return err
			}
		}
	}
	cause := u.details.Cause
	switch {
	case cause != nil && cause.Error() == words:
		return &types.Error{Code: uint(cause.Code), Msg: cause.Msg, Details: cause.Details}
	case len(u.details.context) > 0 && layer.FindString(words) == "":
		// libcni knows only that the plugin was killed.
		return &ended{words, append([]error{&types.Error{Msg: words}}, u.details.context...), u.details}
	}
	return nil
}

// wrapped is what fmt.Errorf makes of "prefix%w".
type wrapped struct {
	prefix  string
	inner   error
	details *Error
}

func (w *wrapped) Error() string { return w.prefix + w.inner.Error() }

func (w *wrapped) Unwrap() error { return w.inner }

func (w *wrapped) Is(target error) bool { return w.details.Is(target) }

func (w *wrapped) As(target any) bool { return asDetails(w.details, target) }

// ended is the error of a call that its context ended.
type ended struct {
	words   string
	inner   []error
	details *Error
}

func (e *ended) Error() string { return e.words }

func (e *ended) Unwrap() []error { return e.inner }

func (e *ended) Is(target error) bool { return e.details.Is(target) }

func (e *ended) As(target any) bool { return asDetails(e.details, target) }

func asDetails(details *Error, target any) bool {
	place, ok := target.(**Error)
	if ok {
		*place = details
	}
	return ok
}

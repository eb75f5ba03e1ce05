package cnirt

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// read returns a file of the repository; a module on its own has none.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("not in the repository: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// found returns what the pattern's only group matches, sorted and without repetition.
func found(pattern, text string) (words []string) {
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		words = append(words, match[1])
	}
	slices.Sort(words)
	return slices.Compact(words)
}

func TestClassesAreThoseOfTheHeader(t *testing.T) {
	header := found(`(?m)^\s*(CNI_E_\w+) = \d+,`, read(t, "../../include/cnirt.h"))
	ours := found(`Class = "(CNI_E_\w+)"`, read(t, "errors.go"))
	if len(header) == 0 || !slices.Equal(header, ours) {
		t.Errorf("the header has\n%v\nthe package has\n%v", header, ours)
	}
	for _, name := range ours {
		if classNumbers()[Class(name)] == 0 {
			t.Errorf("the library does not know %s", name)
		}
	}
}

// example has every key.
const example = `{"cniVersion":"1.0.0","code":11,"msg":"m","class":"CNI_E_PLUGIN","details":"d","hint":"h","plugin":"bridge",` +
	`"command":"ADD","network":"n","ifName":"eth0","cause":{"code":11,"msg":"busy","details":"later"},` +
	`"errors":[{"cniVersion":"1.0.0","code":999,"msg":"inner","class":"CNI_E_CACHE"}],` +
	`"rollback":{"done":false,"errors":[{"cniVersion":"1.0.0","code":999,"msg":"left","class":"CNI_E_IO"}]}}`

func TestErrorKeepsEveryKey(t *testing.T) {
	err := readError(4, example)
	text, _ := json.Marshal(err)
	if string(text) != example {
		t.Errorf("got  %s\nwant %s", text, example)
	}
	keys := found(`insert\("(\w+)"\.into|\("(\w+)", &inner`, read(t, "../../src/error.rs"))
	for _, key := range keys {
		if key != "" && !strings.Contains(string(text), `"`+key+`":`) {
			t.Errorf("the library's key %q is not read", key)
		}
	}
}

func TestErrorsIsAndAs(t *testing.T) {
	err := error(readError(4, example))
	for class, want := range map[Class]bool{
		ErrPlugin:  true,
		ErrCache:   true,  // joined
		ErrIO:      false, // of the rollback
		ErrTimeout: false,
	} {
		if errors.Is(err, class) != want {
			t.Errorf("errors.Is(err, %v) is not %v", class, want)
		}
	}
	var ours *Error
	if !errors.As(err, &ours) || ours.Plugin != "bridge" {
		t.Error("it is no *Error")
	}
	var cause *Cause
	if !errors.As(err, &cause) || cause.Error() != "busy; later" {
		t.Error("it has no *Cause")
	}
	if err.Error() != "m" {
		t.Errorf("its message is %q", err)
	}
}

func TestErrorsWithoutAnObject(t *testing.T) {
	for out, msg := range map[string]string{"": "CNI_E_CACHE", "plain words": "plain words"} {
		if err := readError(12, out); err.Class != ErrCache || err.Msg != msg {
			t.Errorf("%q gives %+v", out, err)
		}
	}
}

func TestContextErrorIsBothErrors(t *testing.T) {
	why := errors.New("why")
	cancelled, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	err := contextError(cancelled)
	if !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) || !errors.Is(err, why) || err.Msg != "why" {
		t.Errorf("got %+v", err)
	}
	late, cancelLate := context.WithTimeout(context.Background(), 0)
	defer cancelLate()
	if err := contextError(late); !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %+v", err)
	}
}

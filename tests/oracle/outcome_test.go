package oracle

// What a row did, as texts by name, and how two of them are compared.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
)

// outcome has everything that can be seen of a row.
type outcome map[string]string

func (o outcome) add(key, value string) {
	if value != "" {
		o[key] = value
	}
}

func (o outcome) error(at string, err error) {
	if err == nil {
		return
	}
	o.add(at+": error", err.Error())
	if errors.Is(err, libcni.ErrorCheckNotSupp) {
		o.add(at+": no CHECK", "true")
	}
	var known *types.Error
	if errors.As(err, &known) {
		o.add(at+": code", strconv.FormatUint(uint64(known.Code), 10))
		o.add(at+": depth", strconv.Itoa(depth(err, known)))
		o.add(at+": msg", known.Msg)
		o.add(at+": details", known.Details)
	}
}

// depth counts the errors around one.
func depth(err, wanted error) int {
	count := 0
	for err != nil && err != wanted {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range joined.Unwrap() {
				if errors.Is(one, wanted) {
					err = one
					break
				}
			}
		} else {
			err = errors.Unwrap(err)
		}
		count++
	}
	return count
}

func (o outcome) runs(at string, runs []run, asBytes bool) {
	for i, one := range runs {
		command := "?"
		for _, variable := range one.env {
			if value, ok := strings.CutPrefix(variable, "CNI_COMMAND="); ok {
				command = value
			}
		}
		run := fmt.Sprintf("%s: run %d", at, i+1)
		o.add(run, one.kind+" "+command)
		o.add(run+" env", strings.Join(sorted(one.env), "\n"))
		if asBytes {
			o.add(run+" stdin", one.stdin)
		} else {
			o.add(run+" stdin", canonical(one.stdin))
		}
	}
}

// cache adds every file of a cache directory; an entry's configuration is shown as it is. Directories count where they
// are asked for.
func (o outcome) cache(dir string, directories bool) error {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name := "cache" + strings.TrimPrefix(path, dir)
		if !info.IsDir() || directories {
			o.add(name+" mode", info.Mode().String())
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var stored struct{ Config []byte }
		if json.Unmarshal(text, &stored) == nil {
			o.add(name+" config", string(stored.Config))
		}
		o.add(name, canonical(string(text)))
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// hide puts a name in the place of a row's directory.
func (o outcome) hide(dir string) {
	for key, value := range o {
		o[key] = strings.ReplaceAll(value, dir, "/DIR")
	}
}

// floats makes numbers float64, as libcni's are that went through a map.
func (o outcome) floats() outcome {
	floats := outcome{}
	for key, value := range o {
		var parsed any
		if json.Unmarshal([]byte(value), &parsed) == nil {
			text, err := json.Marshal(parsed)
			if err == nil {
				value = string(text)
			}
		}
		floats[key] = value
	}
	return floats
}

// without leaves out keys that end so.
func (o outcome) without(ends ...string) outcome {
	rest := maps.Clone(o)
	maps.DeleteFunc(rest, func(key, _ string) bool {
		return slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(key, end) })
	})
	return rest
}

// differing are the keys whose values are not the same; of a run, a file or an error that only one has, its own key.
func differing(a, b outcome) []string {
	keys := map[string]bool{}
	for _, one := range []outcome{a, b} {
		for key := range one {
			if a[key] != b[key] {
				keys[key] = true
			}
		}
	}
	maps.DeleteFunc(keys, func(key string, _ bool) bool {
		for _, part := range []string{" env", " stdin", " mode", " config"} {
			if whole, ok := strings.CutSuffix(key, part); ok && keys[whole] && (a[whole] == "" || b[whole] == "") {
				return true
			}
		}
		return false
	})
	return slices.Sorted(maps.Keys(keys))
}

// explain shows differences, one library after the other.
func explain(keys []string, theirs, ours outcome) string {
	var text strings.Builder
	for _, key := range keys {
		fmt.Fprintf(&text, "%s\n  libcni: %s\n  cnirt:  %s\n", strconv.Quote(key), orNothing(theirs[key]), orNothing(ours[key]))
	}
	return text.String()
}

func orNothing(text string) string {
	if text == "" {
		return "(nothing)"
	}
	return text
}

// canonical sorts the keys of a JSON text and keeps numbers as written; other texts stay.
func canonical(text string) string {
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil || decoder.More() {
		return text
	}
	printed, err := json.Marshal(value)
	if err != nil {
		return text
	}
	return string(printed)
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

package oracle

// Plugins that are processes: the recording plugin (testdata/plugin.c) under every type's name.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/invoke"
)

// kinds are the plugin types that rows use.
var kinds = []string{"alpha", "beta", "gamma"}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// recorder builds the recording plugin, once.
func recorder(t testing.TB) string {
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "oracle"); built.err != nil {
			return
		}
		output, err := exec.Command("cc", "-O1", "-o", filepath.Join(built.dir, "plugin"), "testdata/plugin.c").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w: %s", err, output)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "plugin")
}

func TestMain(m *testing.M) {
	// Plugins inherit it, and rows show it.
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if !slices.Contains([]string{"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH"}, name) &&
			!strings.HasPrefix(name, "ORACLE_") && !strings.HasPrefix(name, "GO") && !strings.HasPrefix(name, "CGO_") {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("ORACLE_INHERITED", "yes")
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	if err := stopRust(); err != nil {
		fmt.Fprintln(os.Stderr, "the Rust API: ", err)
		code = 1
	}
	os.Exit(code)
}

// processes are plugins in a row's directory.
type processes struct {
	dir     string
	version string
	read    int
}

func newProcesses(t testing.TB, dir string, row row, version string) *processes {
	plugin := recorder(t)
	for _, sub := range []string{"bin", "answers"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range kinds {
		if slices.Contains(row.missing, kind) {
			continue
		}
		if err := os.Link(plugin, filepath.Join(dir, "bin", kind)); err != nil {
			t.Fatal(err)
		}
	}
	p := &processes{dir: dir, version: version}
	p.answer(usual(version))
	return p
}

// exec is nil: the library's own way.
func (p *processes) exec() invoke.Exec { return nil }

func (p *processes) answer(replies replies) {
	for what, reply := range replies {
		kind, command, _ := strings.Cut(what, " ")
		of := []string{kind}
		if kind == "*" {
			of = kinds
		}
		for _, kind := range of {
			base := filepath.Join(p.dir, "answers", kind+"."+command)
			for end, text := range map[string]string{".out": reply.out, ".err": reply.err, ".code": reply.code} {
				if err := os.WriteFile(base+end, []byte(text), 0o600); err != nil {
					panic(err)
				}
			}
		}
	}
}

func (p *processes) runs() ([]run, error) {
	log, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rest := log[p.read:]
	p.read = len(log)
	var runs []run
	for len(rest) > 0 {
		head, body, _ := bytes.Cut(rest, []byte("\n"))
		var kind string
		var env, input int
		if _, err := fmt.Sscanf(string(head), "%s %d %d", &kind, &env, &input); err != nil {
			return nil, err
		}
		variables := strings.Split(strings.TrimSuffix(string(body[:env]), "\x00"), "\x00")
		runs = append(runs, run{kind: kind, env: variables, stdin: string(body[env : env+input])})
		rest = body[env+input:]
	}
	return runs, nil
}

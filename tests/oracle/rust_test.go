package oracle

// What only the Rust API offers, asked of a program (rust/main.rs) that answers lines with lines.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"testing"
)

// rust is that program, started by the first question and shared by the tests.
var rust struct {
	sync.Mutex
	start     sync.Once
	failed    error
	questions io.WriteCloser
	answers   *bufio.Reader
	process   *exec.Cmd
}

func startRust() error {
	build := exec.Command("cargo", "build", "--quiet", "--locked", "--example", "oracle")
	build.Dir = "../.."
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	rust.process = exec.Command("../../target/debug/examples/oracle")
	var err error
	if rust.questions, err = rust.process.StdinPipe(); err != nil {
		return err
	}
	answers, err := rust.process.StdoutPipe()
	if err != nil {
		return err
	}
	rust.answers = bufio.NewReader(answers)
	return rust.process.Start()
}

// stopRust lets it end, at the end of all tests.
func stopRust() error {
	if rust.process == nil {
		return nil
	}
	_ = rust.questions.Close()
	return rust.process.Wait()
}

// askRust calls a function of the Rust API.
func askRust(t testing.TB, call string, with map[string]any) answer {
	t.Helper()
	rust.start.Do(func() { rust.failed = startRust() })
	if rust.failed != nil {
		t.Fatal("the Rust API: ", rust.failed)
	}
	question, err := json.Marshal(map[string]any{"call": call, "with": with})
	if err != nil {
		t.Fatal(err)
	}
	rust.Lock()
	defer rust.Unlock()
	if _, err := rust.questions.Write(append(question, '\n')); err != nil {
		t.Fatal("the Rust API: ", err)
	}
	line, err := rust.answers.ReadBytes('\n')
	if err != nil {
		t.Fatal("the Rust API: ", err)
	}
	var said struct{ JSON, Err string }
	if err := json.Unmarshal(line, &said); err != nil {
		t.Fatal(err)
	}
	return answer{json: said.JSON, err: said.Err}
}

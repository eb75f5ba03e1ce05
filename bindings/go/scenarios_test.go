package cnirt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The variable that makes the test binary do one scenario, named by it, in place of the tests; where it is empty, the
// one on the standard input.
const scenarioVariable = "CNIRT_TEST_SCENARIO"

func TestMain(m *testing.M) {
	if name, ok := os.LookupEnv(hostVariable); ok {
		runHost(name)
		os.Exit(0)
	}
	if name, ok := os.LookupEnv(scenarioVariable); ok {
		run := func() error { return runScenario(name) }
		if name == "" {
			run = runGivenScenario
		}
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// onANode makes a command that runs in network and mount namespaces of its own, and ends with the test at the latest.
func onANode(t *testing.T, program string, args ...string) *exec.Cmd {
	t.Helper()
	unshare := []string{"--net", "--mount"}
	if os.Getuid() != 0 {
		unshare = append(unshare, "--user", "--map-root-user")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, "unshare", append(append(unshare, program), args...)...)
}

type scenario struct {
	Name    string
	Options json.RawMessage
	Steps   []step
}

type step struct {
	Sh      string
	Write   string
	Content json.RawMessage
	Remove  string
	Beside  []json.RawMessage
	Call    string
	Request json.RawMessage
	Event   string
	RC      string
	Expect  map[string]*string
	Save    string
}

const scenariosFile = "../../tests/scenarios/scenarios.json"

func TestScenarios(t *testing.T) {
	var scenarios []scenario
	if err := json.Unmarshal([]byte(read(t, scenariosFile)), &scenarios); err != nil {
		t.Fatal(err)
	}
	for _, scenario := range scenarios {
		t.Run(scenario.Name, func(t *testing.T) {
			t.Parallel()
			command := onANode(t, os.Args[0])
			command.Env = append(os.Environ(), scenarioVariable+"="+scenario.Name)
			if out, err := command.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// runScenario does the scenario of this name, and says which step went wrong.
func runScenario(name string) error {
	dir, err := os.MkdirTemp("", "cnirt-scenario-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	text, err := os.ReadFile(scenariosFile)
	if err != nil {
		return err
	}
	quoted, _ := json.Marshal(dir)
	text = []byte(strings.ReplaceAll(string(text), "${dir}", strings.Trim(string(quoted), `"`)))
	var scenarios []scenario
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&scenarios); err != nil {
		return err
	}
	for _, scenario := range scenarios {
		if scenario.Name == name {
			return scenario.do()
		}
	}
	return fmt.Errorf("there is no scenario %q", name)
}

// runGivenScenario does the scenario on the standard input.
func runGivenScenario() error {
	var scenario scenario
	if err := json.NewDecoder(os.Stdin).Decode(&scenario); err != nil {
		return err
	}
	return scenario.do()
}

func (s scenario) do() (err error) {
	var options Options
	if err := decodeAll(s.Options, &options); err != nil {
		return fmt.Errorf("options: %w", err)
	}
	plugin, err := NewPlugin(options)
	if err != nil {
		return err
	}
	defer plugin.Close()
	for number, step := range s.Steps {
		if step.Beside != nil {
			end, beginErr := s.begin(step.Beside)
			if beginErr != nil {
				return beginErr
			}
			defer func() { err = errors.Join(err, end()) }()
			continue
		}
		if err := step.do(plugin); err != nil {
			return fmt.Errorf("step %d: %w", number+1, err)
		}
	}
	return nil
}

// begin does the steps in another process; end kills it, and says whether it had failed.
func (s scenario) begin(steps []json.RawMessage) (end func() error, err error) {
	text, err := json.Marshal(struct {
		Options json.RawMessage
		Steps   []json.RawMessage
	}{s.Options, steps})
	if err != nil {
		return nil, err
	}
	var stderr strings.Builder
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), scenarioVariable+"=")
	command.Stdin, command.Stderr = bytes.NewReader(text), &stderr
	// What it leaves may hold the pipe.
	command.WaitDelay = time.Second
	if err := command.Start(); err != nil {
		return nil, err
	}
	return func() error {
		_ = command.Process.Kill()
		_ = command.Wait()
		if status := command.ProcessState.ExitCode(); status > 0 {
			return fmt.Errorf("the process beside this one ended with %d\n%s", status, stderr.String())
		}
		return nil
	}, nil
}

func (s step) do(plugin *Plugin) error {
	switch {
	case s.Sh != "":
		if out, err := exec.Command("/bin/sh", "-ec", s.Sh).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", s.Sh, err, out)
		}
		return nil
	case s.Write != "":
		if err := os.MkdirAll(filepath.Dir(s.Write), 0o755); err != nil {
			return err
		}
		return os.WriteFile(s.Write, s.Content, 0o644)
	case s.Remove != "":
		return os.Remove(s.Remove)
	}
	answer, err := s.call(plugin)
	rc := "CNI_OK"
	if err != nil {
		ours, ok := err.(*Error)
		if !ok {
			return fmt.Errorf("%s: %w", s.Call, err)
		}
		rc, answer = string(ours.Class), ours
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	want := s.RC
	if want == "" {
		want = "CNI_OK"
	}
	if rc != want {
		return fmt.Errorf("%s: %s in place of %s: %s", s.Call, rc, want, text)
	}
	for pointer, want := range s.Expect {
		got, err := JSONGet(string(text), pointer)
		switch {
		case want == nil && err == nil && got != "null":
			return fmt.Errorf("%s: %s is %s, and should not be there", s.Call, pointer, got)
		case want != nil && (err != nil || got != *want):
			return fmt.Errorf("%s: %s is %q (%v), not %q, in %s", s.Call, pointer, got, err, *want, text)
		}
	}
	if s.Save != "" {
		return os.WriteFile(s.Save, text, 0o644)
	}
	return nil
}

// call makes the step's call, by the package's types, and returns the answer.
func (s step) call(plugin *Plugin) (any, error) {
	ctx := context.Background()
	var path string
	switch s.Call {
	case "list_pods":
		return plugin.ListPods(ctx)
	case "plugin_status":
		return plugin.Status(ctx)
	case "plugin_reload":
		return plugin.Reload(ctx)
	case "plugin_capabilities":
		return plugin.Capabilities(ctx)
	case "plugin_event":
		return struct{}{}, plugin.Event(ctx, s.Event, s.Request)
	case "plugin_gc":
		var request GCRequest
		if err := decodeAll(s.Request, &request); err != nil {
			return nil, err
		}
		return plugin.GC(ctx, request)
	case "netns_create":
		if err := json.Unmarshal(s.Request, &path); err != nil {
			return nil, err
		}
		return struct{}{}, CreateNetNS(path)
	case "netns_remove":
		if err := json.Unmarshal(s.Request, &path); err != nil {
			return nil, err
		}
		return struct{}{}, RemoveNetNS(path)
	}
	var request PodRequest
	if err := decodeAll(s.Request, &request); err != nil {
		if s.RC == "" {
			return nil, err
		}
		// Not what a Go program can say by the types: the library refuses it.
		text, err := plugin.on(ctx, s.Call, &call{}, string(s.Request))
		return json.RawMessage(text), err
	}
	switch s.Call {
	case "setup_pod":
		return plugin.SetUpPod(ctx, request)
	case "teardown_pod":
		return plugin.TearDownPod(ctx, request)
	case "check_pod":
		return plugin.CheckPod(ctx, request)
	case "pod_status":
		return plugin.PodStatus(ctx, request)
	}
	return nil, fmt.Errorf("there is no call %q", s.Call)
}

// decodeAll reads JSON, and fails where the type cannot hold all of it.
func decodeAll(text json.RawMessage, into any) error {
	if len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return err
	}
	again, err := json.Marshal(into)
	if err != nil {
		return err
	}
	var said, held any
	if err := json.Unmarshal(text, &said); err != nil {
		return err
	}
	if err := json.Unmarshal(again, &held); err != nil {
		return err
	}
	if !reflect.DeepEqual(said, held) {
		return fmt.Errorf("%s becomes %s", text, again)
	}
	return nil
}

func TestThePodExample(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "pod")
	if out, err := exec.Command("go", "build", "-o", binary, "./examples/pod").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dir := t.TempDir()
	write(t, dir+"/net.d/10-bridge.conflist", `{"cniVersion":"1.0.0","name":"example","plugins":[{"type":"bridge",
		"bridge":"cni0","isGateway":true,"ipam":{"type":"host-local","dataDir":"`+dir+`/ipam","subnet":"10.5.0.0/24"}}]}`)
	out, err := onANode(t, binary, "-conf", dir+"/net.d", "-cache", dir+"/cache", "-netns", dir+"/pod").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "10.5.0.2") {
		t.Errorf("%v\n%s", err, out)
	}
	left, err := os.ReadDir(dir + "/cache/results")
	if err != nil || len(left) != 0 {
		t.Error(left, err)
	}
}

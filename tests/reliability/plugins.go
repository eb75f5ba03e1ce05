package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The directory that a case has for itself, for its plugins.
const dirVariable = "RELIABILITY_DIR"

// childLife is how long the child of a plugin that hangs lives.
const childLife = 10 * time.Second

// plugin is this program as a CNI plugin: what it does on ADD its name says, and DEL does nothing.
func plugin() error {
	name, command := filepath.Base(os.Args[0]), os.Getenv("CNI_COMMAND")
	if name == "slow" {
		// The real bridge, after a while.
		if command == "ADD" {
			if err := waitHere(); err != nil {
				return err
			}
		}
		return syscall.Exec(filepath.Join(plugins, "bridge"), []string{"bridge"}, os.Environ())
	}
	if command == "VERSION" {
		fmt.Println(`{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}`)
		return nil
	}
	if command != "ADD" {
		return nil
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	switch name {
	case "pass":
		var conf struct {
			PrevResult json.RawMessage `json:"prevResult"`
		}
		if err := json.Unmarshal(input, &conf); err != nil {
			return err
		}
		fmt.Println(string(conf.PrevResult))
	case "fail":
		return fmt.Errorf("nothing works")
	case "hang":
		if err := touch("reached"); err != nil {
			return err
		}
		script := fmt.Sprintf("sleep %d & wait", int(childLife.Seconds()))
		return syscall.Exec("/bin/sh", []string{"sh", "-c", script}, os.Environ())
	}
	return nil
}

// waitHere says that it is reached, and waits until it may go on.
func waitHere() error {
	if err := touch("reached"); err != nil {
		return err
	}
	return waitFor(filepath.Join(os.Getenv(dirVariable), "go"))
}

func touch(name string) error {
	return os.WriteFile(filepath.Join(os.Getenv(dirVariable), name), nil, 0o600)
}

// waitFor waits until there is a file.
func waitFor(path string) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s did not appear", path)
}

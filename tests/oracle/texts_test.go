package oracle

// Texts: configurations and results that are read, found and converted without running anything.

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"
)

// textRow is one question to both libraries about files and texts.
type textRow struct {
	name string
	// files are put into a directory first.
	files map[string]string
	// do is parse, file, load, files or convert, which C has too, or the name of a function that the Rust API has.
	do string
	// text is the configuration, the network's name, the extensions by commas, or the result.
	text string
	// version is what a result is converted to or read as.
	version string
	// values are injected.
	values map[string]any
	// path below the directory is what is read.
	path string
}

func TestTexts(t *testing.T) {
	for _, row := range textRows() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			dir := row.directory(t)
			theirs, ours := askBoth(t, row, dir)
			theirs.hide(dir)
			ours.hide(dir)
			checkDifferences(t, row.name, differing(theirs, ours), theirs, ours)
		})
	}
}

// directory has the row's files.
func (r textRow) directory(t testing.TB) string {
	dir := t.TempDir()
	for name, text := range r.files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// askBoth answers a text row.
func askBoth(t testing.TB, row textRow, dir string) (outcome, outcome) {
	theirs, ours := outcome{}, outcome{}
	said, err := safely(func() (string, error) { return askTheirs(row, dir) })
	theirs.add("result", canonical(said))
	if err != nil {
		theirs.add("error", err.Error())
	}
	var answer answer
	switch row.do {
	case "parse":
		answer = confParse(row.text, "")
	case "file":
		answer = confParse(row.text, dir)
	case "load":
		answer = confLoad(dir, row.text)
	case "files":
		answer = confFiles(dir, strings.Split(row.text, ","))
	case "convert":
		answer = resultConvert(row.text, row.version)
	default:
		answer = row.askRust(t, dir)
	}
	ours.add("error", answer.err)
	ours.add("result", canonical(withoutFile(answer.json)))
	return theirs, ours
}

// askRust answers a row whose function only the Rust API has.
func (r textRow) askRust(t testing.TB, dir string) answer {
	if r.do == "loadConf" {
		return askRust(t, r.do, map[string]any{"dir": filepath.Join(dir, r.path), "name": r.text})
	}
	with := map[string]any{"text": r.text}
	switch r.do {
	case "confFromFile", "networkConfFromFile":
		with = map[string]any{"file": filepath.Join(dir, r.path)}
	case "injectConf":
		with["values"] = r.values
	case "create":
		with["version"] = r.version
	}
	return askRust(t, r.do, with)
}

// askLibcni answers the same by libcni.
func (r textRow) askLibcni(dir string) (string, error) {
	path, text := filepath.Join(dir, r.path), []byte(r.text)
	switch r.do {
	case "loadConf":
		return showPlugin(libcni.LoadConf(path, r.text))
	case "confFromFile":
		return showPlugin(libcni.ConfFromFile(path))
	case "networkConfFromFile":
		return showList(libcni.NetworkConfFromFile(path))
	case "confFromBytes":
		return showPlugin(libcni.ConfFromBytes(text))
	case "networkConfFromBytes":
		return showList(libcni.NetworkConfFromBytes(text))
	case "create":
		return showResult(create.Create(r.version, text))
	}
	one, err := libcni.NetworkPluginConfFromBytes(text)
	if err != nil {
		return "", err
	}
	switch r.do {
	case "injectConf":
		return showPlugin(libcni.InjectConf(one, r.values))
	case "confListFromConf":
		return showList(libcni.ConfListFromConf(one))
	}
	return "", fmt.Errorf("no such call: %q", r.do)
}

// withoutFile leaves out which file a list came from, which libcni does not say.
func withoutFile(text string) string {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &object) != nil {
		return text
	}
	if _, ok := object["plugins"]; !ok {
		return text
	}
	delete(object, "file")
	printed, err := json.Marshal(object)
	if err != nil {
		return text
	}
	return string(printed)
}

func safely(call func() (string, error)) (said string, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("panic: %v", problem)
		}
	}()
	return call()
}

func askTheirs(row textRow, dir string) (string, error) {
	switch row.do {
	case "parse":
		var object map[string]json.RawMessage
		_ = json.Unmarshal([]byte(row.text), &object)
		if _, ok := object["plugins"]; !ok && hasType(object) {
			one, err := libcni.NetworkPluginConfFromBytes([]byte(row.text))
			if err != nil {
				return "", err
			}
			return showList(libcni.ConfListFromConf(one))
		}
		return showList(libcni.NetworkConfFromBytes([]byte(row.text)))
	case "file":
		path := filepath.Join(dir, "net.conflist")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			return "", err
		}
		return showList(libcni.NetworkConfFromFile(path))
	case "load":
		return showList(libcni.LoadNetworkConf(dir, row.text))
	case "files":
		files, err := libcni.ConfFiles(dir, strings.Split(row.text, ","))
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(append([]string{}, files...))
		return string(text), err
	case "convert":
		result, err := create.CreateFromBytes([]byte(row.text))
		if err != nil {
			return "", err
		}
		return showResult(result.GetAsVersion(row.version))
	}
	return row.askLibcni(dir)
}

// hasType says that a plugin's type is there, in any case as for encoding/json.
func hasType(object map[string]json.RawMessage) bool {
	for key := range object {
		if strings.EqualFold(key, "type") {
			return true
		}
	}
	return false
}

func showResult(result types.Result, err error) (string, error) {
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(result)
	return string(text), err
}

// showPlugin prints a plugin's configuration as rust/main.rs does.
func showPlugin(plugin *libcni.PluginConfig, err error) (string, error) {
	if err != nil {
		return "", err
	}
	capabilities := plugin.Network.Capabilities
	if capabilities == nil {
		capabilities = map[string]bool{}
	}
	text, err := json.Marshal(map[string]any{"type": plugin.Network.Type, "name": plugin.Network.Name,
		"cniVersion": plugin.Network.CNIVersion, "capabilities": capabilities, "bytes": string(plugin.Bytes)})
	return string(text), err
}

// showList prints a list as the C ABI does.
func showList(list *libcni.NetworkConfigList, err error) (string, error) {
	if err != nil {
		return "", err
	}
	plugins := []any{}
	for _, plugin := range list.Plugins {
		object := map[string]any{"type": plugin.Network.Type, "capabilities": plugin.Network.Capabilities, "bytes": string(plugin.Bytes)}
		if plugin.Network.Capabilities == nil {
			object["capabilities"] = map[string]bool{}
		}
		if plugin.Network.Name != "" {
			object["name"] = plugin.Network.Name
		}
		plugins = append(plugins, object)
	}
	text, err := json.Marshal(map[string]any{"name": list.Name, "cniVersion": list.CNIVersion, "disableCheck": list.DisableCheck,
		"disableGC": list.DisableGC, "loadOnlyInlinedPlugins": list.LoadOnlyInlinedPlugins, "plugins": plugins, "bytes": string(list.Bytes)})
	return string(text), err
}

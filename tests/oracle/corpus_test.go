package oracle

// The fuzz targets' corpus: what the rows hold are seeds of it, and every text of it is asked of both libraries.

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
)

const corpus = "../../fuzz/corpus"

// largestSeed is in bytes; what is larger teaches a fuzzer little.
const largestSeed = 1024

// seeds are the texts of the rows, by the target that reads such texts.
func seeds(t *testing.T) map[string][]string {
	texts := map[string][]string{}
	add := func(target string, more ...string) { texts[target] = append(texts[target], more...) }
	request := func(conf string, rt *libcni.RuntimeConf) {
		pod := map[string]any{"id": rt.ContainerID, "netns": rt.NetNS, "ifName": rt.IfName}
		if len(rt.Args) > 0 {
			pod["cniArgs"] = rt.Args
		}
		if len(rt.CapabilityArgs) > 0 {
			pod["capabilityArgs"] = rt.CapabilityArgs
		}
		add("pod_request", asText(t, pod))
		if strings.HasPrefix(conf, "{") {
			add("pod_request", `{"id":"pod1","networks":[{"ifName":"eth0","config":`+conf+`}]}`)
		}
	}
	for _, row := range allRows() {
		add("configuration", row.conf)
		for _, text := range row.cache {
			add("cache_entry", text)
		}
		for i, step := range append([]step{{replies: row.replies}}, row.steps...) {
			if step.conf != "" {
				add("configuration", step.conf)
			}
			if step.rt != nil {
				request("", step.rt)
			} else if i == 1 {
				request(row.conf, pod())
			}
			for what, reply := range step.replies {
				add("plugin_output", reply.out)
				if strings.HasSuffix(what, " ADD") && reply.code == "" {
					add("result_conversion", reply.out)
				}
			}
		}
	}
	for _, row := range textRows() {
		switch row.do {
		case "convert", "create":
			add("result_conversion", row.text)
			add("plugin_output", row.text)
		case "load", "files", "loadConf":
		default:
			add("configuration", row.text)
		}
		for _, text := range row.files {
			add("configuration", text)
		}
	}
	for target := range texts {
		slices.Sort(texts[target])
		texts[target] = slices.DeleteFunc(slices.Compact(texts[target]), func(text string) bool { return len(text) > largestSeed })
	}
	return texts
}

func TestTheRowsAreSeeds(t *testing.T) {
	for target, texts := range seeds(t) {
		wanted := map[string]string{}
		for _, text := range texts {
			sum := sha256.Sum256([]byte(text))
			wanted[filepath.Join(corpus, target, "row-"+hex.EncodeToString(sum[:4]))] = text
		}
		there, err := filepath.Glob(filepath.Join(corpus, target, "row-*"))
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			for _, path := range there {
				err = errors.Join(err, os.Remove(path))
			}
			for path, text := range wanted {
				err = errors.Join(err, os.WriteFile(path, []byte(text), 0o644))
			}
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		for _, path := range there {
			if _, ok := wanted[path]; !ok {
				t.Errorf("%s is of no row any more; make the seeds again: go test -run Seeds -update .", path)
			}
		}
		for path, text := range wanted {
			if is, err := os.ReadFile(path); err != nil || !bytes.Equal(is, []byte(text)) {
				t.Errorf("%s is not there; make the seeds again: go test -run Seeds -update .", path)
			}
		}
	}
}

// TestCorpus asks both libraries about every text that the fuzz targets begin with, and about those below ORACLE_FUZZED,
// which a fuzzer found.
func TestCorpus(t *testing.T) {
	ask := asking{t}
	for target, compare := range map[string]func(string) string{
		"configuration": ask.conf, "result_conversion": ask.result, "plugin_output": ask.result,
	} {
		files, err := filepath.Glob(filepath.Join(corpus, target, "*"))
		if err != nil || len(files) == 0 {
			t.Fatal("no corpus: ", err)
		}
		if found := os.Getenv("ORACLE_FUZZED"); found != "" {
			more, err := filepath.Glob(filepath.Join(found, target, "*"))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, more...)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if said := compare(string(text)); said != "" {
				t.Errorf("%s: %q\n%s", file, text, said)
			}
		}
		t.Logf("%s: %d texts", target, len(files))
	}
}

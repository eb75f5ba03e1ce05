package oracle

// Runs the named rows with both libraries. The rows are in rows_*_test.go.

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// allRows are the named rows about calls that run plugins or read the cache.
func allRows() []row {
	return slices.Concat(versionRows(), addRows(), delRows(), checkRows(), cacheRows(), gcRows(), otherRows())
}

func TestRows(t *testing.T) {
	for _, row := range allRows() {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			theirs, ours := runBoth(t, row)
			different := differing(theirs, ours)
			checkDifferences(t, row.name, different, theirs, ours)
		})
	}
}

// checkDifferences fails where they are not the wanted ones.
func checkDifferences(t *testing.T, name string, different []string, theirs, ours outcome) {
	t.Helper()
	record(name, different, theirs, ours)
	if !slices.Equal(different, sorted(wanted[name].at)) {
		t.Errorf("differences are %#v, wanted are %#v\n%s", different, wanted[name].at, explain(different, theirs, ours))
	}
}

func TestThereAreManyRowsWithNamesOfTheirOwn(t *testing.T) {
	var names []string
	for _, row := range allRows() {
		names = append(names, row.name)
	}
	for _, text := range textRows() {
		names = append(names, text.name)
	}
	if len(names) < 150 {
		t.Errorf("%d rows", len(names))
	}
	for name := range wanted {
		if !slices.Contains(names, name) {
			t.Errorf("a difference is wanted of no row: %q", name)
		}
	}
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			t.Errorf("two rows are %q", names[i])
		}
	}
}

// runBoth does a row with both libraries, each with a directory and plugins of its own.
func runBoth(t testing.TB, row row) (outcome, outcome) {
	var version struct{ CniVersion string }
	_ = json.Unmarshal([]byte(row.conf), &version)
	var outcomes [2]outcome
	for i, library := range []network{theirs, ours} {
		dir, err := os.MkdirTemp("", "oracle-row")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		outcomes[i], err = perform(t, row, library, dir, newProcesses(t, dir, row, version.CniVersion))
		if err != nil {
			t.Fatal(err)
		}
	}
	return outcomes[0], outcomes[1]
}

// conf is a list of plugins, each given as "type" or as the text of its object.
func conf(version string, plugins ...string) string {
	for i, plugin := range plugins {
		if !strings.HasPrefix(plugin, "{") {
			plugins[i] = `{"type":"` + plugin + `"}`
		}
	}
	return `{"cniVersion":"` + version + `","name":"net","plugins":[` + strings.Join(plugins, ",") + `]}`
}

// one is the configuration of a single network.
func one(version, more string) string {
	return `{"cniVersion":"` + version + `","name":"net","type":"alpha"` + more + `}`
}

// steps are calls without anything special.
func steps(calls ...string) []step {
	list := make([]step, len(calls))
	for i, do := range calls {
		list[i].do = do
	}
	return list
}

package oracle

// Generated files of the cache directory, right ones, odd ones and torn ones: what libcni takes for an entry cnirt takes
// for the same entry, and the reverse. What is no entry is read in two ways on purpose, see wanted_test.go; so are names
// that no attachment has, keys in another case, arguments that are no pairs, and base64 in lines: they are not drawn.

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/containernetworking/cni/pkg/types/create"
	"pgregory.net/rapid"
)

// entry compares what the text is as an attachment's file.
func (a asking) entry(r *rapid.T, dir, text string) string {
	// Bytes as a list of numbers are a wrong type here, and JSON has no bytes that are not UTF-8: both are listed.
	var stored struct{ Config []byte }
	_ = json.Unmarshal([]byte(text), &stored)
	if listed(text) != nil || strings.Contains(text, `"config":[`) || !utf8.Valid(stored.Config) {
		return ""
	}
	row := row{conf: conf("1.0.0", "alpha"), cache: map[string]string{"results/net-pod1-eth0": text},
		steps: steps("cached config", "attachments", "cached result")}
	var seen [2]outcome
	for i, library := range []network{theirs, ours} {
		of := filepath.Join(dir, fmt.Sprint(i))
		one, err := perform(closing{a.t, r}, row, library, of, &fake{replies: replies{}})
		if err != nil {
			a.t.Fatal(err)
		}
		if err := os.RemoveAll(of); err != nil {
			a.t.Fatal(err)
		}
		one = withoutWords(one.floats())
		// Nobody can use the difference, and nobody writes what is empty.
		for key, value := range one {
			one[key] = strings.NewReplacer(`Args":[]`, `Args":null`, `Args":{}`, `Args":null`, `"Config":""`, `"Config":null`).Replace(value)
		}
		if one["1 cached config: error"] != "" {
			// A bare result, or nothing that makes sense.
			one = one.without("3 cached result: result", "3 cached result: error")
		}
		seen[i] = one.without("results/net-pod1-eth0", "eth0 config")
	}
	if different := differing(seen[0], seen[1]); len(different) > 0 {
		return explain(different, seen[0], seen[1])
	}
	return ""
}

// manyDigits has an integer that a float64 does not hold.
var manyDigits = regexp.MustCompile(`\d{16}`)

func drawEntryText(r *rapid.T) string {
	words := func(right ...string) func() string { return func() string { return oneOf(r, "word", right...) } }
	var pairs []pair
	sometimes := func(r *rapid.T, pairs []pair, key string, of int, text func() string) []pair {
		if rapid.IntRange(0, 11).Draw(r, "has "+key) >= of {
			return pairs
		}
		return append(pairs, pair{key, text()})
	}
	pairs = append(pairs, pair{"kind", mostly(r, "kind", func() string { return `"cniCacheV1"` })})
	pairs = sometimes(r, pairs, "containerId", 12, words(`"pod1"`, `"pod2"`))
	pairs = sometimes(r, pairs, "networkName", 12, words(`"net"`, `"other"`))
	pairs = sometimes(r, pairs, "ifName", 12, words(`"eth0"`, `"eth1"`))
	pairs = sometimes(r, pairs, "netns", 6, words(`"/run/netns/x"`, `""`, "null"))
	pairs = sometimes(r, pairs, "config", 11, func() string {
		return mostly(r, "config", func() string {
			text := base64.StdEncoding.EncodeToString([]byte(drawConfText(r)))
			return jsonText(oneOf(r, "base64", text, text, text, "", "e30", "e3 0=", "!"))
		})
	})
	pairs = sometimes(r, pairs, "cniArgs", 6, func() string {
		return mostly(r, "cniArgs", func() string {
			return listText(rapid.SliceOfN(rapid.Custom(func(r *rapid.T) string {
				return oneOf(r, "pair", `["K","V"]`, `["K","V"]`, `["",""]`, `["K",1]`, `{}`)
			}), 0, 3).Draw(r, "pairs"))
		})
	})
	pairs = sometimes(r, pairs, "capabilityArgs", 6, func() string {
		return mostly(r, "capabilityArgs", func() string {
			return objectText(r, sometimes(r, nil, "mac", 8, func() string { return jsonText(value(2).Draw(r, "mac")) }))
		})
	})
	pairs = sometimes(r, pairs, "result", 9, func() string {
		// As a library writes it.
		result, err := create.CreateFromBytes([]byte(drawResultText(r)))
		if err != nil {
			return oneOf(r, "no result", "{}", "null", "[]", `"x"`, `{"cniVersion":"7.0.0"}`, `{"cniVersion":1}`, `{"ip4":{"ip":"10.0.0.1/8"}}`)
		}
		if text := jsonText(result); !manyDigits.MatchString(text) {
			return text
		}
		return `{"cniVersion":"1.0.0"}`
	})
	pairs = sometimes(r, pairs, "more", 2, func() string { return jsonText(value(2).Draw(r, "more")) })
	return objectText(r, pairs)
}

// torn is what a crash may leave of a text: all, a part, or a part and zeros.
func torn(r *rapid.T, text string) string {
	switch rapid.IntRange(0, 3).Draw(r, "torn") {
	case 2:
		return text[:rapid.IntRange(0, len(text)).Draw(r, "at")]
	case 3:
		at := rapid.IntRange(0, len(text)).Draw(r, "at")
		return text[:at] + strings.Repeat("\x00", len(text)-at)
	}
	return text
}

func TestGeneratedEntries(t *testing.T) {
	ask, dir := asking{t}, t.TempDir()
	read := 0
	repeat(t, cases(t, 2000)/10, func(r *rapid.T) {
		text := torn(r, drawEntryText(r))
		read += strings.Count(text, `"kind":"cniCacheV1"`)
		if said := ask.entry(r, dir, text); said != "" {
			r.Fatalf("%s\n%s", text, said)
		}
	})
	t.Logf("%d of them have the kind of an entry", read)
}

package oracle

// Generated texts: configurations that are parsed and results that are converted, right ones and odd ones. What libcni
// accepts cnirt accepts, as the same, and the reverse; texts that a listed difference is about are told apart first.

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/containernetworking/cni/libcni"
	"pgregory.net/rapid"
)

// asking compares texts.
type asking struct {
	t testing.TB
}

// conf compares what the text is as a list, as a plugin's configuration and as what a caller of C gives. It answers how
// they differ.
func (a asking) conf(text string) string {
	if about := listed(text); about != nil {
		return ""
	}
	var said []string
	for _, do := range []string{"networkConfFromBytes", "confFromBytes", "confListFromConf", "parse"} {
		// Nothing may follow a NUL in C; a text of the form that cnirt itself prints is cnirt's own matter.
		if do == "parse" && (strings.Contains(text, "\x00") || isParsed(text)) {
			continue
		}
		theirs, ours := askBoth(a.t, textRow{do: do, text: text}, "")
		if different := differing(parsedBytes(theirs), parsedBytes(ours)); len(different) > 0 {
			said = append(said, do+": "+explain(different, theirs, ours))
		}
	}
	return strings.Join(said, "\n")
}

// result compares the text as a result in every version.
func (a asking) result(text string) string {
	if about := listed(text); about != nil || strings.Contains(text, "\x00") {
		return ""
	}
	var said []string
	for _, version := range append([]string{"7.0.0"}, versions...) {
		theirs, ours := askBoth(a.t, textRow{do: "convert", text: text, version: version}, "")
		if strings.HasPrefix(theirs["error"], "panic: ") {
			// Listed: null in lists.
			continue
		}
		if different := differing(parsedBytes(theirs), parsedBytes(ours)); len(different) > 0 {
			said = append(said, "to "+named(version)+": "+explain(different, theirs, ours))
		}
	}
	return strings.Join(said, "\n")
}

// parsedBytes has an outcome's texts within JSON as JSON, with numbers as float64; of an error only that there is one.
func parsedBytes(seen outcome) outcome {
	if _, ok := seen["error"]; ok {
		return outcome{"error": "an error"}
	}
	var value any
	if json.Unmarshal([]byte(seen["result"]), &value) != nil {
		return seen
	}
	inside := func(object map[string]any) {
		if text, ok := object["bytes"].(string); ok {
			var parsed any
			if json.Unmarshal([]byte(text), &parsed) == nil {
				object["bytes"] = parsed
			}
		}
	}
	if object, ok := value.(map[string]any); ok {
		inside(object)
		plugins, _ := object["plugins"].([]any)
		for _, plugin := range plugins {
			if plugin, ok := plugin.(map[string]any); ok {
				inside(plugin)
			}
		}
	}
	text, err := json.Marshal(value)
	if err != nil {
		return seen
	}
	return outcome{"result": string(text)}
}

// listed is the listed difference that a text is about, whether or not it shows.
func listed(text string) *why {
	if !utf8.ValidString(text) || strings.Contains(strings.ToLower(text), `\ud`) {
		return &surrogates
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	depth, deepest := 0, 0
	type object struct {
		keys map[string]bool
		key  bool
	}
	var open []object
	for {
		token, err := decoder.Token()
		if err != nil {
			break
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
			if len(open) > 0 {
				open[len(open)-1].key = true
			}
			open = append(open, object{keys: map[string]bool{}, key: token == json.Delim('{')})
			if token == json.Delim('[') {
				open[len(open)-1].keys = nil
			}
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
			open = open[:len(open)-1]
			continue
		}
		if number, ok := token.(json.Number); ok {
			if _, err := number.Float64(); err != nil {
				return &numbers
			}
		}
		if len(open) == 0 || open[len(open)-1].keys == nil {
			continue
		}
		in := &open[len(open)-1]
		if !in.key {
			in.key = true
			continue
		}
		name := strings.ToLower(strings.NewReplacer("\u017f", "s", "\u212a", "k").Replace(token.(string)))
		if in.keys[name] {
			return &repeatedKeys
		}
		in.keys[name], in.key = true, false
	}
	if deepest > 120 {
		return &nesting
	}
	return nil
}

// isParsed says that the text has what only parsed configurations have.
func isParsed(text string) bool {
	var object map[string]any
	_ = json.Unmarshal([]byte(text), &object)
	_, ok := object["bytes"].(string)
	return ok
}

// drawn is JSON text with keys in the drawn order.
type pair struct{ key, text string }

func objectText(r *rapid.T, pairs []pair) string {
	if len(pairs) > 1 {
		pairs = rapid.Permutation(pairs).Draw(r, "order")
	}
	var members []string
	for _, pair := range pairs {
		members = append(members, jsonText(pair.key)+":"+pair.text)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func listText(texts []string) string { return "[" + strings.Join(texts, ",") + "]" }

func jsonText(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// mostly draws a text of the right kind, or sometimes anything.
func mostly(r *rapid.T, label string, right func() string) string {
	if rapid.IntRange(0, 19).Draw(r, "odd "+label) == 19 {
		return jsonText(value(2).Draw(r, label))
	}
	return right()
}

// sometimes adds a key, seldom in another case.
func sometimes(r *rapid.T, pairs []pair, key string, of int, text func() string) []pair {
	if rapid.IntRange(0, 11).Draw(r, "has "+key) >= of {
		return pairs
	}
	spelled := key
	if rapid.IntRange(0, 15).Draw(r, "case of "+key) == 15 {
		spelled = rapid.SampledFrom([]string{strings.ToUpper(key), strings.ToLower(key), strings.ToUpper(key[:1]) + key[1:]}).Draw(r, "spelling of "+key)
	}
	return append(pairs, pair{spelled, text()})
}

func oneOf(r *rapid.T, label string, texts ...string) string {
	return rapid.SampledFrom(texts).Draw(r, label)
}

var versionTexts = []string{`""`, `"0.1.0"`, `"0.2.0"`, `"0.3.0"`, `"0.3.1"`, `"0.4.0"`, `"1.0.0"`, `"1.1.0"`}

func drawVersion(r *rapid.T) string {
	return mostly(r, "version", func() string {
		if rapid.IntRange(0, 9).Draw(r, "odd version") < 9 {
			return oneOf(r, "a version", versionTexts...)
		}
		return oneOf(r, "another version", `"1.1"`, `"1"`, `"1.2.0"`, `"9.9.9"`, `"x"`, `"1.0.0.0"`, `" 1.0.0"`, `"+1.0.0"`, `"01.0.0"`, `"-1.0.0"`, `"1..0"`, `"99999999999999999999.0.0"`)
	})
}

func drawTextPlugin(r *rapid.T) string {
	return mostly(r, "plugin", func() string {
		words := func() string {
			return mostly(r, "words", func() string { return jsonText(rapid.StringN(0, 6, -1).Draw(r, "word")) })
		}
		list := func() string {
			return mostly(r, "list", func() string {
				return listText(rapid.SliceOfN(rapid.Custom(func(r *rapid.T) string { return oneOf(r, "element", `"a"`, `""`, `null`, `"b"`) }), 0, 3).Draw(r, "elements"))
			})
		}
		var pairs []pair
		pairs = sometimes(r, pairs, "type", 11, func() string {
			return mostly(r, "type", func() string { return oneOf(r, "a type", `"a"`, `"b"`, `"c"`, `"d"`, `"e"`, `""`) })
		})
		pairs = sometimes(r, pairs, "name", 4, words)
		pairs = sometimes(r, pairs, "cniVersion", 3, words)
		pairs = sometimes(r, pairs, "capabilities", 5, func() string {
			return mostly(r, "capabilities", func() string {
				var inside []pair
				for _, capability := range capabilities {
					inside = sometimes(r, inside, capability, 5, func() string {
						return mostly(r, "capability", func() string { return oneOf(r, "declared", "true", "false", "null") })
					})
				}
				return objectText(r, inside)
			})
		})
		pairs = sometimes(r, pairs, "ipam", 4, func() string {
			return mostly(r, "ipam", func() string {
				return objectText(r, sometimes(r, []pair{{"x", "1"}}, "type", 8, words))
			})
		})
		pairs = sometimes(r, pairs, "dns", 4, func() string {
			return mostly(r, "dns", func() string {
				var inside []pair
				inside = sometimes(r, inside, "domain", 6, words)
				for _, key := range []string{"nameservers", "search", "options"} {
					inside = sometimes(r, inside, key, 5, list)
				}
				return objectText(r, inside)
			})
		})
		pairs = sometimes(r, pairs, "prevResult", 2, func() string { return mostly(r, "prevResult", func() string { return `{"ips":[]}` }) })
		pairs = sometimes(r, pairs, "cni.dev/valid-attachments", 2, func() string {
			return mostly(r, "attachments", func() string { return `[{"containerID":"a","ifname":"b"},null]` })
		})
		pairs = sometimes(r, pairs, "x", 4, func() string { return jsonText(value(3).Draw(r, "x")) })
		return objectText(r, pairs)
	})
}

// drawConfText draws a list or a single network.
func drawConfText(r *rapid.T) string {
	if rapid.IntRange(0, 4).Draw(r, "single") == 4 {
		return drawTextPlugin(r)
	}
	var pairs []pair
	pairs = sometimes(r, pairs, "name", 11, func() string {
		return mostly(r, "name", func() string { return oneOf(r, "a name", `"n"`, `""`, `"a/b"`) })
	})
	pairs = sometimes(r, pairs, "cniVersion", 10, func() string { return drawVersion(r) })
	pairs = sometimes(r, pairs, "cniVersions", 4, func() string {
		return mostly(r, "versions", func() string {
			return listText(rapid.SliceOfN(rapid.Custom(drawVersion), 0, 4).Draw(r, "some versions"))
		})
	})
	for _, key := range []string{"disableCheck", "disableGC", "loadOnlyInlinedPlugins"} {
		pairs = sometimes(r, pairs, key, 4, func() string {
			return mostly(r, key, func() string {
				return oneOf(r, "a boolean", "true", "false", `"true"`, `"False"`, `"TRUE"`, `""`, `"yes"`, `"\u0130"`)
			})
		})
	}
	pairs = sometimes(r, pairs, "plugins", 11, func() string {
		return mostly(r, "plugins", func() string {
			return listText(rapid.SliceOfN(rapid.Custom(drawTextPlugin), 0, 3).Draw(r, "some plugins"))
		})
	})
	pairs = sometimes(r, pairs, "type", 2, func() string { return `"a"` })
	return objectText(r, pairs)
}

// drawResultText draws a result of any version.
func drawResultText(r *rapid.T) string {
	address := func() string {
		return mostly(r, "address", func() string {
			return oneOf(r, "an address", `"10.1.0.5/16"`, `"fd00::5/64"`, `"0.0.0.0/0"`, `"::/0"`, `"10.1.0.5/33"`, `"10.1.0.5"`, `"::ffff:10.0.0.1/112"`,
				`"::ffff:10.0.0.1/20"`, `"fe80::1%eth0/64"`, `"010.0.0.1/8"`, `"10.0.0.1/08"`, `"10.0.0.1/+8"`, `"1.2.3/8"`, `""`, `"FD00::A/128"`, `"1:2:3:4:5:6:7.8.9.10/96"`)
		})
	}
	ip := func() string {
		return mostly(r, "ip", func() string {
			return oneOf(r, "an ip", `"10.1.0.1"`, `"fd00::1"`, `""`, `"::ffff:10.0.0.1"`, `"x"`, `"10.1.0.01"`, `"::"`, `"fe80::1%1"`)
		})
	}
	number := func() string {
		return mostly(r, "number", func() string {
			return oneOf(r, "a number", "0", "1", "-1", "1500", "9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1.0", "1e3", "-0", "null")
		})
	}
	words := func() string {
		return mostly(r, "words", func() string { return jsonText(rapid.StringN(0, 5, -1).Draw(r, "word")) })
	}
	list := func(r *rapid.T, label string, element func(r *rapid.T) string) string {
		return mostly(r, label, func() string { return listText(rapid.SliceOfN(rapid.Custom(element), 0, 3).Draw(r, label)) })
	}
	object := func(r *rapid.T, label string, inside func(pairs []pair) []pair) string {
		return mostly(r, label, func() string { return objectText(r, inside(nil)) })
	}
	route := func(r *rapid.T) string {
		return object(r, "route", func(pairs []pair) []pair {
			pairs = sometimes(r, pairs, "dst", 11, address)
			pairs = sometimes(r, pairs, "gw", 6, ip)
			for _, key := range []string{"mtu", "advmss", "priority", "table", "scope"} {
				pairs = sometimes(r, pairs, key, 3, number)
			}
			return pairs
		})
	}
	config := func(r *rapid.T) string {
		return object(r, "config", func(pairs []pair) []pair {
			pairs = sometimes(r, pairs, "version", 9, func() string { return oneOf(r, "a family", `"4"`, `"6"`, `""`, `"5"`) })
			pairs = sometimes(r, pairs, "address", 11, address)
			pairs = sometimes(r, pairs, "gateway", 6, ip)
			return sometimes(r, pairs, "interface", 5, number)
		})
	}
	link := func(r *rapid.T) string {
		return object(r, "interface", func(pairs []pair) []pair {
			for _, key := range []string{"name", "mac", "sandbox", "socketPath", "pciID"} {
				pairs = sometimes(r, pairs, key, 6, words)
			}
			return sometimes(r, pairs, "mtu", 4, number)
		})
	}
	var pairs []pair
	pairs = sometimes(r, pairs, "cniVersion", 11, func() string { return oneOf(r, "cniVersion", append(versionTexts, `"7.0.0"`, "null", "1")...) })
	for _, key := range []string{"ip4", "ip6"} {
		pairs = sometimes(r, pairs, key, 5, func() string {
			return object(r, key, func(inside []pair) []pair {
				inside = sometimes(r, inside, "ip", 11, address)
				inside = sometimes(r, inside, "gateway", 6, ip)
				return sometimes(r, inside, "routes", 5, func() string { return list(r, "routes", route) })
			})
		})
	}
	pairs = sometimes(r, pairs, "interfaces", 7, func() string { return list(r, "interfaces", link) })
	pairs = sometimes(r, pairs, "ips", 9, func() string { return list(r, "ips", config) })
	pairs = sometimes(r, pairs, "routes", 7, func() string { return list(r, "routes", route) })
	pairs = sometimes(r, pairs, "dns", 6, func() string {
		return object(r, "dns", func(inside []pair) []pair {
			inside = sometimes(r, inside, "domain", 6, words)
			for _, key := range []string{"nameservers", "search", "options"} {
				inside = sometimes(r, inside, key, 5, func() string {
					return list(r, key, func(r *rapid.T) string { return oneOf(r, "element", `"a"`, `""`, "null") })
				})
			}
			return inside
		})
	})
	pairs = sometimes(r, pairs, "more", 2, func() string { return jsonText(value(2).Draw(r, "more")) })
	return objectText(r, pairs)
}

// damaged has some bytes of a text changed, left out or put in.
func damaged(r *rapid.T, text string) string {
	for range max(0, rapid.IntRange(-5, 3).Draw(r, "damages")) {
		at := rapid.IntRange(0, len(text)).Draw(r, "at")
		to := min(len(text), at+rapid.IntRange(0, 3).Draw(r, "long"))
		text = text[:at] + oneOf(r, "in its place", "", "", `"`, ",", ":", "{", "}", "[", "]", "null", "0", "-", "1e5", `\`, `\u0041`, " ", "\n", "\t", "\x00", "\x7f", "é", "\u2028", "\ufeff", "//", "tru") + text[to:]
	}
	return text
}

func TestGeneratedConfigurations(t *testing.T) {
	ask := asking{t}
	accepted := 0
	repeat(t, cases(t, 2000), func(r *rapid.T) {
		text := damaged(r, drawConfText(r))
		if _, err := libcni.NetworkConfFromBytes([]byte(text)); err == nil {
			accepted++
		}
		if said := ask.conf(text); said != "" {
			r.Fatalf("%s\n%s", text, said)
		}
	})
	t.Logf("%d of them are lists", accepted)
}

func TestGeneratedResults(t *testing.T) {
	ask := asking{t}
	accepted := 0
	repeat(t, cases(t, 2000), func(r *rapid.T) {
		text := damaged(r, drawResultText(r))
		if _, err := safely(func() (string, error) { return askTheirs(textRow{do: "convert", text: text, version: "1.0.0"}, "") }); err == nil {
			accepted++
		}
		if said := ask.result(text); said != "" {
			r.Fatalf("%s\n%s", text, said)
		}
	})
	t.Logf("%d of them are results that 1.0.0 can hold", accepted)
}

package oracle

import "strings"

func textRows() []textRow {
	var rows []textRow
	for name, text := range map[string]string{
		"a list of one":                         `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"a"}]}`,
		"all keys":                              `{"cniVersion":"1.1.0","name":"n","disableCheck":true,"disableGC":true,"loadOnlyInlinedPlugins":true,"plugins":[{"type":"a","name":"x","capabilities":{"b":true,"a":false},"z":1,"y":{"b":[null]}}],"more":1}`,
		"switches as text":                      `{"name":"n","disableCheck":"TRUE","disableGC":"False","plugins":[{"type":"a"}]}`,
		"disableCheck that is other text":       `{"name":"n","disableCheck":"Yes","plugins":[{"type":"a"}]}`,
		"disableCheck that is a number":         `{"name":"n","disableCheck":1,"plugins":[{"type":"a"}]}`,
		"disableGC that is null":                `{"name":"n","disableGC":null,"plugins":[{"type":"a"}]}`,
		"no name":                               `{"plugins":[{"type":"a"}]}`,
		"a name that is a number":               `{"name":1,"plugins":[{"type":"a"}]}`,
		"a name that is null":                   `{"name":null,"plugins":[{"type":"a"}]}`,
		"a version that is a list":              `{"name":"n","cniVersion":[],"plugins":[{"type":"a"}]}`,
		"no plugins key":                        `{"name":"n"}`,
		"no plugins key, loadOnlyInlined":       `{"name":"n","loadOnlyInlinedPlugins":true}`,
		"empty plugins":                         `{"name":"n","plugins":[]}`,
		"plugins that are an object":            `{"name":"n","plugins":{}}`,
		"plugins that are null":                 `{"name":"n","plugins":null}`,
		"a plugin without type":                 `{"name":"n","plugins":[{"type":"a"},{}]}`,
		"a plugin that is text":                 `{"name":"n","plugins":["a"]}`,
		"a plugin that is null":                 `{"name":"n","plugins":[null]}`,
		"a type that is a number":               `{"name":"n","plugins":[{"type":1}]}`,
		"a type that is empty":                  `{"name":"n","plugins":[{"type":""}]}`,
		"capabilities that are a list":          `{"name":"n","plugins":[{"type":"a","capabilities":[]}]}`,
		"a capability that is text":             `{"name":"n","plugins":[{"type":"a","capabilities":{"x":"true"}}]}`,
		"capabilities that are null":            `{"name":"n","plugins":[{"type":"a","capabilities":null}]}`,
		"a known key of a wrong type":           `{"name":"n","plugins":[{"type":"a","dns":"x"}]}`,
		"ipam of a wrong type":                  `{"name":"n","plugins":[{"type":"a","ipam":[]}]}`,
		"cniVersions":                           `{"name":"n","cniVersion":"0.3.1","cniVersions":["0.4.0","1.0.0","0.1.0"],"plugins":[{"type":"a"}]}`,
		"cniVersions, all newer":                `{"name":"n","cniVersions":["9.0.0"],"plugins":[{"type":"a"}]}`,
		"cniVersions, some newer":               `{"name":"n","cniVersion":"0.3.1","cniVersions":["9.0.0","1.0.0"],"plugins":[{"type":"a"}]}`,
		"cniVersions, empty":                    `{"name":"n","cniVersion":"0.3.1","cniVersions":[],"plugins":[{"type":"a"}]}`,
		"cniVersions that are text":             `{"name":"n","cniVersions":"1.0.0","plugins":[{"type":"a"}]}`,
		"cniVersions that are null":             `{"name":"n","cniVersions":null,"plugins":[{"type":"a"}]}`,
		"cniVersions with a number":             `{"name":"n","cniVersions":["1.0.0",1],"plugins":[{"type":"a"}]}`,
		"cniVersions with what is none":         `{"name":"n","cniVersions":["x"],"plugins":[{"type":"a"}]}`,
		"cniVersions beside a version of words": `{"name":"n","cniVersion":"x","cniVersions":["1.0.0"],"plugins":[{"type":"a"}]}`,
		"a version of four parts":               `{"name":"n","cniVersions":["1.0.0.0"],"plugins":[{"type":"a"}]}`,
		"cniVersions, two of them the same":     `{"name":"n","cniVersion":"1.0.0","cniVersions":["1","0.4.0"],"plugins":[{"type":"a"}]}`,
		"what serde_json calls a number":        `{"name":"n","plugins":[{"type":"a","x":{"$serde_json::private::Number":"1"},"y":{"$serde_json::private::Number":"y"}}]}`,
		"a single network":                      `{"cniVersion":"0.3.1","name":"n","type":"a","x":{"b":1,"a":2}}`,
		"a single network, keys in other case":  `{"name":"n","type":"a","Type":"b"}`,
		"a single network without name":         `{"type":"a"}`,
		"a single network, type empty":          `{"name":"n","type":""}`,
		"type and plugins":                      `{"name":"n","type":"a","plugins":[{"type":"b"}]}`,
		"an empty text":                         ``,
		"white space":                           `  `,
		"null":                                  `null`,
		"a list as text":                        `[]`,
		"half an object":                        `{"name":"n"`,
		"text after the object":                 `{"name":"n","plugins":[{"type":"a"}]} x`,
		"a comment":                             "{\"name\":\"n\", // x\n\"plugins\":[{\"type\":\"a\"}]}",
		"a byte order mark":                     "\uFEFF" + `{"name":"n","plugins":[{"type":"a"}]}`,
		"a key twice":                           `{"name":"n","name":"m","plugins":[{"type":"a","type":"b"}]}`,
		"keys in other case":                    `{"Name":"m","name":"n","plugins":[{"TYPE":"a"}]}`,
		"a lone surrogate":                      `{"name":"n","plugins":[{"type":"a","x":"\ud800"}]}`,
		"a surrogate pair":                      `{"name":"n","plugins":[{"type":"a","x":"\ud83d\ude00"}]}`,
		"invalid UTF-8 in a value":              "{\"name\":\"n\",\"plugins\":[{\"type\":\"a\",\"x\":\"\xff\"}]}",
		"a raw control character":               "{\"name\":\"n\",\"plugins\":[{\"type\":\"a\",\"x\":\"\x01\"}]}",
		"an integer above 2^53":                 `{"name":"n","plugins":[{"type":"a","x":9007199254740993}]}`,
		"a number of 20 digits":                 `{"name":"n","plugins":[{"type":"a","x":12345678901234567890}]}`,
		"a number 1e400":                        `{"name":"n","plugins":[{"type":"a","x":1e400}]}`,
		"a number with an exponent":             `{"name":"n","plugins":[{"type":"a","x":1e5}]}`,
		"a number 1.0":                          `{"name":"n","plugins":[{"type":"a","x":1.0}]}`,
		"a number -0":                           `{"name":"n","plugins":[{"type":"a","x":-0}]}`,
		"100 levels deep":                       `{"name":"n","plugins":[{"type":"a","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}]}`,
		"200 levels deep":                       `{"name":"n","plugins":[{"type":"a","x":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}]}`,
		"HTML in a value":                       `{"name":"n","plugins":[{"type":"a","x":"<b>&"}]}`,
	} {
		rows = append(rows, textRow{name: "parse: " + name, do: "parse", text: text})
	}
	plugin := `{"type":"p"}`
	list := func(name string) string {
		return `{"cniVersion":"1.0.0","name":"` + name + `","plugins":[{"type":"a"}]}`
	}
	rows = append(rows,
		textRow{name: "with files: none", do: "file", text: list("n")},
		textRow{name: "with files: two more plugins", do: "file", text: list("n"), files: map[string]string{"n/2.conf": plugin, "n/1.conf": `{"type":"o"}`, "n/3.json": plugin, "m/1.conf": plugin}},
		textRow{name: "with files: only those", do: "file", text: `{"name":"n"}`, files: map[string]string{"n/1.conf": plugin}},
		textRow{name: "with files: no plugin at all", do: "file", text: `{"name":"n"}`},
		textRow{name: "with files: only inlined plugins are loaded", do: "file", text: `{"name":"n","loadOnlyInlinedPlugins":true,"plugins":[{"type":"a"}]}`, files: map[string]string{"n/1.conf": plugin}},
		textRow{name: "with files: one is broken", do: "file", text: list("n"), files: map[string]string{"n/1.conf": "{}"}},
		textRow{name: "with files: the directory is none", do: "file", text: list("n"), files: map[string]string{"n": ""}},
		textRow{name: "with files: a network's name that leads out", do: "file", text: list("../n")},
	)
	dir := map[string]string{"20.conflist": list("b"), "10.conflist": list("a"), "30.conflist": list("a2"), "05.conf": `{"name":"one","type":"x"}`, "06.json": `{"name":"two","type":"y"}`, "x.txt": "no", "a/1.conf": plugin}
	for _, name := range []string{"a", "b", "one", "two", "three", ""} {
		rows = append(rows, textRow{name: "load " + strings.TrimSpace(name+" from a directory"), do: "load", text: name, files: dir})
	}
	rows = append(rows,
		textRow{name: "load from an empty directory", do: "load", text: "a"},
		textRow{name: "load where there are only single networks", do: "load", text: "a", files: map[string]string{"1.conf": `{"name":"b","type":"x"}`}},
		textRow{name: "load where there are only lists", do: "load", text: "a", files: map[string]string{"1.conflist": list("b")}},
		textRow{name: "load past a broken file", do: "load", text: "b", files: map[string]string{"1.conflist": "{", "2.conflist": list("b")}},
		textRow{name: "load before a broken file", do: "load", text: "b", files: map[string]string{"9.conflist": "{", "2.conflist": list("b")}},
		textRow{name: "load past a broken single file", do: "load", text: "b", files: map[string]string{"1.conf": "{}", "2.conf": `{"name":"b","type":"x"}`}},
		textRow{name: "load where two lists have the name", do: "load", text: "a", files: map[string]string{"1.conflist": `{"name":"a","plugins":[{"type":"first"}]}`, "2.conflist": list("a")}},
		textRow{name: "load where a single network has it too", do: "load", text: "a", files: map[string]string{"1.conf": `{"name":"a","type":"x"}`, "2.conflist": list("a")}},
		textRow{name: "files of one extension", do: "files", text: ".conflist", files: dir},
		textRow{name: "files of two extensions", do: "files", text: ".conf,.json", files: dir},
		textRow{name: "files of an extension given again", do: "files", text: ".conf,.conf", files: dir},
		textRow{name: "files of no extension", do: "files", text: "", files: map[string]string{"a": "", "b.c": ""}},
		textRow{name: "files where there are none", do: "files", text: ".conf"},
	)
	rows = append(rows, rustRows(dir, list)...)
	for _, from := range versions {
		for _, to := range append(versions, "7.0.0") {
			rows = append(rows, textRow{name: "convert " + named(from) + " to " + named(to), do: "convert", text: result(from), version: to})
		}
	}
	for name, text := range map[string]string{
		"a dns twice":             `{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/8"}],"dns":{"domain":"d"},"dns":{"search":["s"]}}`,
		"no addresses":            `{"cniVersion":"1.0.0"}`,
		"two of each family":      `{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/8"},{"address":"10.0.0.2/8"},{"address":"fd00::1/64"},{"address":"fd00::2/64"}],"routes":[{"dst":"::/0"},{"dst":"0.0.0.0/0"}]}`,
		"null in ips":             `{"cniVersion":"1.0.0","ips":[null]}`,
		"null in interfaces":      `{"cniVersion":"1.0.0","interfaces":[null]}`,
		"null in routes":          `{"cniVersion":"1.0.0","routes":[null]}`,
		"null everywhere":         `{"cniVersion":"1.0.0","ips":null,"interfaces":null,"routes":null,"dns":null}`,
		"a mapped address":        `{"cniVersion":"1.0.0","ips":[{"address":"::ffff:10.0.0.1/120"}]}`,
		"ips in other case":       `{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/8"}],"IPs":[{"address":"10.0.0.2/8"}]}`,
		"a gateway only":          `{"cniVersion":"1.0.0","ips":[{"gateway":"10.0.0.1"}]}`,
		"an interface -1":         `{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/8","interface":-1}]}`,
		"a route of all keys":     `{"cniVersion":"1.1.0","routes":[{"dst":"10.0.0.0/8","gw":"10.0.0.1","mtu":1,"advmss":2,"priority":3,"table":4,"scope":5}]}`,
		"an address with zeros":   `{"cniVersion":"1.0.0","ips":[{"address":"010.0.0.1/8"}]}`,
		"an address with a zone":  `{"cniVersion":"1.0.0","ips":[{"address":"fe80::1%eth0/64"}]}`,
		"a mask that is too long": `{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/33"}]}`,
	} {
		for _, to := range []string{"0.2.0", "0.4.0", "1.1.0"} {
			rows = append(rows, textRow{name: "convert " + name + " to " + to, do: "convert", text: text, version: to})
		}
	}
	return rows
}

// rustRows are about functions that C does not have. dir is a directory with all kinds of files, list the text of a list.
func rustRows(dir map[string]string, list func(name string) string) []textRow {
	var rows []textRow
	for _, name := range []string{"a", "one", "two", "three", ""} {
		rows = append(rows, textRow{name: "LoadConf " + strings.TrimSpace(name+" from a directory"), do: "loadConf", text: name, files: dir})
	}
	single := `{"cniVersion":"0.4.0","name":"b","type":"x","capabilities":{"mac":true,"ips":false}}`
	rows = append(rows,
		textRow{name: "LoadConf from an empty directory", do: "loadConf", text: "a"},
		textRow{name: "LoadConf from a directory that is missing", do: "loadConf", text: "a", path: "missing"},
		textRow{name: "LoadConf from a file", do: "loadConf", text: "a", path: "file", files: map[string]string{"file": ""}},
		textRow{name: "LoadConf past a broken file", do: "loadConf", text: "b", files: map[string]string{"1.conf": "{}", "2.conf": single}},
		textRow{name: "LoadConf before a broken file", do: "loadConf", text: "b", files: map[string]string{"1.conf": single, "2.conf": "{"}},
		textRow{name: "LoadConf where two have the name", do: "loadConf", text: "b", files: map[string]string{"2.conf": `{"name":"b","type":"y"}`, "1.json": single}},
		textRow{name: "LoadConf where a list has the name", do: "loadConf", text: "b", files: map[string]string{"1.conflist": list("b"), "2.conf": `{"name":"c","type":"y"}`}},
		textRow{name: "LoadConf where a .conf is a list", do: "loadConf", text: "b", files: map[string]string{"1.conf": list("b"), "2.conf": single}},
	)
	files := map[string]string{"x.conf": single, "empty.conf": "", "broken.conf": `{"name"`, "no-type.conf": `{"name":"b"}`, "dir/1.conf": single,
		"x.conflist": list("b"), "b/1.conf": `{"type":"p"}`, "none.conflist": `{"name":"c"}`, "half.conflist": `{"name":"d","plugins":[{"type":"a"}`}
	for _, path := range []string{"x.conf", "empty.conf", "broken.conf", "no-type.conf", "missing.conf", "dir"} {
		rows = append(rows, textRow{name: "ConfFromFile " + path, do: "confFromFile", path: path, files: files})
	}
	for _, path := range []string{"x.conflist", "x.conf", "none.conflist", "half.conflist", "empty.conf", "missing.conflist", "dir"} {
		rows = append(rows, textRow{name: "NetworkConfFromFile " + path, do: "networkConfFromFile", path: path, files: files})
	}
	for name, text := range map[string]string{"a plugin": single, "a list": list("b"), "an object without type": `{"name":"b"}`, "null": "null", "text": `"x"`,
		"a key twice": `{"type":"a","type":"b"}`, "an object twice": `{"type":"a","capabilities":{"x":true},"capabilities":{"y":true}}`, "a key in two cases": `{"type":"a","Type":"b"}`, "keys in other case": `{"TYPE":"a","Name":"n","CNIVersion":"1"}`} {
		rows = append(rows,
			textRow{name: "ConfFromBytes " + name, do: "confFromBytes", text: text},
			textRow{name: "NetworkConfFromBytes " + name, do: "networkConfFromBytes", text: text},
			textRow{name: "ConfListFromConf " + name, do: "confListFromConf", text: text},
		)
	}
	for name, values := range map[string]map[string]any{
		"nothing":                         {},
		"a key":                           {"new": "value"},
		"keys in the place of others":     {"name": "c", "type": "y"},
		"an object in place of another":   {"capabilities": map[string]any{"mac": false}},
		"lists and objects":               {"runtimeConfig": map[string]any{"ips": []any{"10.0.0.1", nil, 1.5, true}}},
		"a key in other case":             {"Type": "z"},
		"an empty key":                    {"": 1},
		"nil":                             {"a": nil},
		"a type that is a number":         {"type": 1},
		"an empty type":                   {"type": ""},
		"capabilities of a wrong type":    {"capabilities": []any{}},
		"dns of a wrong type":             {"dns": "x"},
		"an integer that a float64 holds": {"n": 9007199254740992},
		"text with HTML":                  {"x": "<b>&"},
		"text beyond ASCII":               {"x": "é\u2028"},
	} {
		rows = append(rows, textRow{name: "InjectConf " + name, do: "injectConf", text: single, values: values})
	}
	rows = append(rows,
		textRow{name: "InjectConf beside an integer above 2^53", do: "injectConf", text: `{"type":"a","n":9007199254740993}`, values: map[string]any{"b": 1}},
		textRow{name: "InjectConf beside other spaces", do: "injectConf", text: "{ \"z\" : 1,\n\"type\":\"a\" }", values: map[string]any{"b": 1}},
	)
	for _, version := range append(versions, "7.0.0", "x") {
		for name, text := range map[string]string{"its own": result(version), "1.0.0": result("1.0.0"), "0.2.0": result("0.2.0"), "none": `{"dns":{"domain":"d"}}`} {
			rows = append(rows, textRow{name: "Create " + named(version) + " from a result of " + name, do: "create", text: text, version: version})
		}
	}
	return rows
}

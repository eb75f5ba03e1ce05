package oracle

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// line is an exported identifier of libcni and what stands for it.
type line struct{ name, ours, same string }

const (
	rowsSay = "same, save the differences above"
	goType  = "libcni's own type is used"
)

// api is every exported identifier of package libcni.
var api = []line{
	{"AddNetwork (CNI, CNIConfig)", "`CNI.AddNetwork`; C: `cni_runtime_add`", rowsSay},
	{"AddNetworkList (CNI, CNIConfig)", "`CNI.AddNetworkList`; C: `cni_runtime_add`", rowsSay},
	{"CheckNetwork (CNI, CNIConfig)", "`CNI.CheckNetwork`; C: `cni_runtime_check`", rowsSay},
	{"CheckNetworkList (CNI, CNIConfig)", "`CNI.CheckNetworkList`; C: `cni_runtime_check`", rowsSay},
	{"DelNetwork (CNI, CNIConfig)", "`CNI.DelNetwork`; C: `cni_runtime_del`", rowsSay},
	{"DelNetworkList (CNI, CNIConfig)", "`CNI.DelNetworkList`; C: `cni_runtime_del`", rowsSay},
	{"GCNetworkList (CNI, CNIConfig)", "`CNI.GCNetworkList`; C: `cni_runtime_gc`", rowsSay},
	{"GetCachedAttachments (CNI, CNIConfig)", "`CNI.GetCachedAttachments`; C: `cni_runtime_attachments`", "same; libcni's list is nil, ours may be empty, where there is no directory"},
	{"GetNetworkCachedConfig (CNI, CNIConfig)", "`CNI.GetNetworkCachedConfig`; C: `cni_runtime_cached`", rowsSay},
	{"GetNetworkCachedResult (CNI, CNIConfig)", "`CNI.GetNetworkCachedResult`; C: `cni_runtime_cached`", rowsSay},
	{"GetNetworkListCachedConfig (CNI, CNIConfig)", "`CNI.GetNetworkListCachedConfig`; C: `cni_runtime_cached`", rowsSay},
	{"GetNetworkListCachedResult (CNI, CNIConfig)", "`CNI.GetNetworkListCachedResult`; C: `cni_runtime_cached`", rowsSay},
	{"GetStatusNetworkList (CNI, CNIConfig)", "`CNI.GetStatusNetworkList`; C: `cni_runtime_status`", rowsSay},
	{"GetVersionInfo (CNI, CNIConfig)", "`CNI.GetVersionInfo`; C: `cni_runtime_plugin_version`", rowsSay},
	{"ValidateNetwork (CNI, CNIConfig)", "`CNI.ValidateNetwork`; C: `cni_runtime_validate`", rowsSay},
	{"ValidateNetworkList (CNI, CNIConfig)", "`CNI.ValidateNetworkList`; C: `cni_runtime_validate`", rowsSay},
	{"CNI", "Go: satisfied by `*cnirt.CNI`", "same"},
	{"CNICacheV1", "the `kind` of a cache entry", "same"},
	{"CNIConfig", "`cnirt.CNI`; C: `cni_runtime`", "different: made once, ended by a call, its plugin directories cannot be changed"},
	{"CacheDir", "`/var/lib/cni`, option `cacheDir`", "different: a constant; set the option"},
	{"ConfFiles", "Rust: `conf::conf_files`; C: `cni_confdir_files`", rowsSay},
	{"ConfFromBytes", "Rust: `PluginConfig::from_bytes`; C: `cni_conf_parse`, as a list of one", rowsSay},
	{"ConfFromFile", "Rust: `PluginConfig::from_file`; C: `cni_conf_parse` with the file's text", rowsSay},
	{"ConfListFromBytes", "Rust: `NetworkConfigList::from_bytes`; C: `cni_conf_parse`", rowsSay},
	{"ConfListFromConf", "Rust: `NetworkConfigList::from_plugin`; C: `cni_conf_parse`", rowsSay},
	{"ConfListFromFile", "Rust: `NetworkConfigList::from_file`; C: `cni_conf_parse` with the file's text and `dir`", rowsSay},
	{"ErrorCheckNotSupp", "Go: libcni's own value; C: `CNI_E_UNSUPPORTED`", "same"},
	{"GCArgs", "Go: libcni's own type; C: `args` of `cni_runtime_gc`", goType},
	{"InjectConf", "Rust: `conf::inject`; in C `cni_json_set` does it", rowsSay},
	{"LoadConf", "Rust: `conf::load_conf`; C: `cni_confdir_load`, which looks at lists first", rowsSay},
	{"LoadConfList", "Rust: `conf::load_network_conf`; C: `cni_confdir_load`", rowsSay},
	{"LoadNetworkConf", "Rust: `conf::load_network_conf`; C: `cni_confdir_load`", rowsSay},
	{"NetworkAttachment", "Go: libcni's own type; C: an element of `cni_runtime_attachments`", goType},
	{"NetworkConfFromBytes", "Rust: `NetworkConfigList::from_bytes`; C: `cni_conf_parse`", rowsSay},
	{"NetworkConfFromFile", "Rust: `NetworkConfigList::from_file`; C: `cni_conf_parse` with the file's text and `dir`", rowsSay},
	{"NetworkConfig", "Go: libcni's own type; C: `conf`", goType},
	{"NetworkConfigList", "Go: libcni's own type; C: `conf`", goType},
	{"NetworkPluginConfFromBytes", "Rust: `PluginConfig::from_bytes`; C: `cni_conf_parse`, as a list of one", rowsSay},
	{"NetworkPluginConfsFromFiles", "C: `cni_conf_parse` with `dir`", "different: only together with the list that they belong to"},
	{"NewCNIConfig", "`cnirt.NewCNI`; C: `cni_runtime_new`", "different: the cache directory is a parameter, exec an option"},
	{"NewCNIConfigWithCacheDir", "`cnirt.NewCNI`; C: `cni_runtime_new`", "different: exec is an option"},
	{"NoConfigsFoundError", "C: `CNI_E_NOT_FOUND`", "the words are the same"},
	{"Error (NoConfigsFoundError)", "C: `msg`", "same"},
	{"NotFoundError", "C: `CNI_E_NOT_FOUND`", "the words are the same"},
	{"Error (NotFoundError)", "C: `msg`", "same"},
	{"PluginConfig", "Go: libcni's own type; C: `conf`", goType},
	{"RuntimeConf", "Go: libcni's own type; C: `rt`", goType},
}

func TestTheTableHasAllOfLibcni(t *testing.T) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/containernetworking/cni/libcni").Output()
	if err != nil {
		t.Fatal(err)
	}
	exported := exportedOf(t, strings.TrimSpace(string(dir)))
	var listed []string
	for _, line := range api {
		listed = append(listed, line.name)
	}
	slices.Sort(listed)
	for _, name := range exported {
		if !slices.Contains(listed, name) {
			t.Errorf("the table lacks %q", name)
		}
	}
	for _, name := range listed {
		if !slices.Contains(exported, name) {
			t.Errorf("libcni has no %q", name)
		}
	}
}

// exportedOf lists constants, variables, types, functions, and methods with their types in parentheses.
func exportedOf(t *testing.T, dir string) []string {
	files := token.NewFileSet()
	packages, err := parser.ParseDir(files, dir, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	pkg := doc.New(packages["libcni"], "libcni", 0)
	var names []string
	methods := map[string][]string{}
	values := func(values []*doc.Value) {
		for _, value := range values {
			names = append(names, value.Names...)
		}
	}
	values(pkg.Consts)
	values(pkg.Vars)
	functions := pkg.Funcs
	for _, kind := range pkg.Types {
		names = append(names, kind.Name)
		values(kind.Consts)
		values(kind.Vars)
		functions = append(functions, kind.Funcs...)
		for _, method := range kind.Methods {
			methods[method.Name] = append(methods[method.Name], kind.Name)
		}
		for _, spec := range kind.Decl.Specs {
			spec, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			if face, ok := spec.Type.(*ast.InterfaceType); ok {
				for _, method := range face.Methods.List {
					methods[method.Names[0].Name] = append(methods[method.Names[0].Name], kind.Name)
				}
			}
		}
	}
	for _, function := range functions {
		names = append(names, function.Name)
	}
	for name, kinds := range methods {
		slices.Sort(kinds)
		if name == "Error" {
			for _, kind := range kinds {
				names = append(names, name+" ("+kind+")")
			}
			continue
		}
		names = append(names, name+" ("+strings.Join(kinds, ", ")+")")
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !ast.IsExported(name) })
	slices.Sort(names)
	return names
}

//! One plugin's configuration (libcni's `PluginConfig`).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::conf::file;
use crate::conf::text::{self, refused};
use crate::error::Result;

/// How deep lists and objects may be nested in a plugin's configuration: two levels less than in any text, as every
/// plugin can become part of a list.
const MAX_NESTING: usize = 125;

/// One plugin's configuration: what the library itself looks at, and the whole text.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// The file name of the plugin binary; never empty.
    pub plugin_type: String,
    /// The network's name in a single configuration; usually empty inside a list.
    pub name: String,
    /// The version in a single configuration; usually empty inside a list.
    pub cni_version: String,
    /// The declared capabilities.
    pub capabilities: BTreeMap<String, bool>,
    /// The text: as it was given, or printed anew with sorted keys where it was part of a list.
    pub bytes: Vec<u8>,
    /// The text, parsed.
    pub(super) object: Map<String, Value>,
}

impl PluginConfig {
    /// libcni's `NetworkPluginConfFromBytes`. Refuses (`CNI_E_CONFIG`) what is not a JSON object, has no `type`, is nested
    /// deeper than 125 levels, or has one of the keys of Go's `types.PluginConf` with another type than there.
    ///
    /// As for Go, `null` is absent, and those keys are found in any case where the exact one is missing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let object = text::parse(bytes).map_err(|error| error.context("error parsing configuration"))?;
        Self::new(object, bytes.to_vec())
    }

    /// libcni's `ConfFromFile`. Errors (`CNI_E_CONFIG`) name the file.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_bytes(&file::read(path)?).map_err(|error| error.context(path.display()))
    }

    /// Like [`from_bytes`](Self::from_bytes), from a parsed text.
    pub(super) fn from_object(object: Map<String, Value>) -> Result<Self> {
        let bytes = text::print(object.clone());
        Self::new(object, bytes)
    }

    fn new(object: Map<String, Value>, bytes: Vec<u8>) -> Result<Self> {
        let fields = Fields { prefix: "", object: &object };
        let checked = fields.checked().map_err(|error| error.context("error parsing configuration"))?;
        let Checked { plugin_type, name, cni_version, capabilities } = checked;
        Ok(Self { plugin_type, name, cni_version, capabilities, bytes, object })
    }

    /// The capabilities that the text declares; `capabilities` may have been changed since.
    pub(super) fn written_capabilities(&self) -> BTreeMap<String, bool> {
        let fields = Fields { prefix: "", object: &self.object };
        fields.get("capabilities", "", booleans).ok().flatten().unwrap_or_default()
    }

    /// The parsed text.
    pub fn object(&self) -> &Map<String, Value> {
        &self.object
    }

    /// libcni's `pluginDescription`: `type="bridge" name="net"`.
    pub fn description(&self) -> String {
        let named = if self.name.is_empty() { String::new() } else { format!(" name={:?}", self.name) };
        format!("type={:?}{named}", self.plugin_type)
    }
}

/// What is kept of the keys of Go's `types.PluginConf`.
struct Checked {
    plugin_type: String,
    name: String,
    cni_version: String,
    capabilities: BTreeMap<String, bool>,
}

/// The keys of a Go struct in an object.
struct Fields<'a> {
    /// "ipam.", for messages.
    prefix: &'static str,
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Everything that Go would refuse in a `types.PluginConf`, then what libcni does.
    fn checked(&self) -> Result<Checked> {
        let checked = Checked {
            plugin_type: self.string("type")?,
            name: self.string("name")?,
            cni_version: self.string("cniVersion")?,
            capabilities: self.get("capabilities", "an object of booleans", booleans)?.unwrap_or_default(),
        };
        if let Some(ipam) = self.object("ipam", "ipam.")? {
            ipam.string("type")?;
        }
        if let Some(dns) = self.object("dns", "dns.")? {
            dns.string("domain")?;
            for key in ["nameservers", "search", "options"] {
                dns.get(key, "a list of strings", |value| list(value, |one| one.is_null() || one.is_string()))?;
            }
        }
        self.object("prevResult", "")?;
        self.get("cni.dev/valid-attachments", "a list of attachments", |value| list(value, is_attachment))?;
        if checked.plugin_type.is_empty() {
            return Err(refused("missing 'type'"));
        }
        if !self.object.values().all(|value| text::nested_within(value, MAX_NESTING - 1)) {
            return Err(refused(format!("nested deeper than {MAX_NESTING} levels")));
        }
        Ok(checked)
    }

    /// The value of a field: the exact key's, else that of one in another case. Each must be readable; null is absent.
    fn get<T>(&self, key: &str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let folded = self.object.iter().filter(|(other, _)| *other != key && other.eq_ignore_ascii_case(key));
        let mut found = None;
        for (key, value) in folded.chain(self.object.get_key_value(key)).filter(|(_, value)| !value.is_null()) {
            let wrong = || refused(format!("key \"{}{key}\" must be {expected}", self.prefix));
            found = Some(read(value).ok_or_else(wrong)?);
        }
        Ok(found)
    }

    fn string(&self, key: &str) -> Result<String> {
        Ok(self.get(key, "a string", Value::as_str)?.unwrap_or_default().to_owned())
    }

    fn object(&self, key: &str, prefix: &'static str) -> Result<Option<Self>> {
        let object = self.get(key, "an object", Value::as_object)?;
        Ok(object.map(|object| Self { prefix, object }))
    }
}

fn booleans(value: &Value) -> Option<BTreeMap<String, bool>> {
    let boolean = |value: &Value| if value.is_null() { Some(false) } else { value.as_bool() };
    value.as_object()?.iter().map(|(key, value)| Some((key.clone(), boolean(value)?))).collect()
}

/// `Some` where `value` is a list of which each one passes.
fn list(value: &Value, passes: impl Fn(&Value) -> bool) -> Option<()> {
    value.as_array()?.iter().all(passes).then_some(())
}

/// Go's `types.GCAttachment`.
fn is_attachment(value: &Value) -> bool {
    let Some(object) = value.as_object() else { return value.is_null() };
    let fields = Fields { prefix: "", object };
    ["containerID", "ifname"].into_iter().all(|key| fields.string(key).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    #[test]
    fn a_plugin_is_read_as_go_reads_it() {
        for (text, plugin_type, name, cni_version, capabilities) in [
            (r#"{"type":"a","name":"n","cniVersion":"1.0.0"}"#, "a", "n", "1.0.0", &[][..]),
            (
                r#"{"type":"a","name":null,"dns":null,"ipam":null,"prevResult":null,"capabilities":null}"#,
                "a",
                "",
                "",
                &[],
            ),
            (
                r#"{"type":"a","capabilities":{"x":true,"y":false,"z":null}}"#,
                "a",
                "",
                "",
                &[("x", true), ("y", false), ("z", false)],
            ),
            (r#"{"Type":"a","NAME":"n","cniversion":"1","Capabilities":{"x":true}}"#, "a", "n", "1", &[("x", true)]),
            (r#"{"type":"a","Type":"b","TYPE":"c"}"#, "a", "", "", &[]),
            (r#"{"type":null,"Type":"b"}"#, "b", "", "", &[]),
            (
                r#"{"type":"a","ipam":{"type":null},"dns":{"domain":"d","search":["x",null],"options":[]}}"#,
                "a",
                "",
                "",
                &[],
            ),
            (
                r#"{"type":"a","prevResult":{"ips":1},"cni.dev/valid-attachments":[null,{"containerID":"c"}]}"#,
                "a",
                "",
                "",
                &[],
            ),
            (r#"{"type":"a","ips":5,"runtimeConfig":5,"args":5}"#, "a", "", "", &[]),
        ] {
            let plugin = PluginConfig::from_bytes(text.as_bytes()).unwrap();
            let capabilities = capabilities.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
            assert_eq!((plugin.plugin_type.as_str(), plugin.name.as_str()), (plugin_type, name), "{text}");
            assert_eq!((plugin.cni_version.as_str(), plugin.capabilities), (cni_version, capabilities), "{text}");
            assert_eq!(plugin.bytes, text.as_bytes());
        }
    }

    #[test]
    fn what_go_refuses_is_refused_naming_the_key() {
        for (text, words) in [
            ("{}", "missing 'type'"),
            ("null", "missing 'type'"),
            (r#"{"type":""}"#, "missing 'type'"),
            (r#"{"type":null}"#, "missing 'type'"),
            ("[]", "expected an object, found []interface {}"),
            ("x", "not JSON: expected value at line 1 column 1"),
            (r#"{"type":1}"#, "key \"type\" must be a string"),
            (r#"{"type":"a","Type":1}"#, "key \"Type\" must be a string"),
            (r#"{"type":"a","name":true}"#, "key \"name\" must be a string"),
            (r#"{"type":"a","cniVersion":1.0}"#, "key \"cniVersion\" must be a string"),
            (r#"{"type":"a","capabilities":[]}"#, "key \"capabilities\" must be an object of booleans"),
            (r#"{"type":"a","capabilities":{"x":"true"}}"#, "key \"capabilities\" must be an object of booleans"),
            (r#"{"type":"a","ipam":"x"}"#, "key \"ipam\" must be an object"),
            (r#"{"type":"a","ipam":{"type":1}}"#, "key \"ipam.type\" must be a string"),
            (r#"{"type":"a","dns":[]}"#, "key \"dns\" must be an object"),
            (r#"{"type":"a","dns":{"domain":1}}"#, "key \"dns.domain\" must be a string"),
            (r#"{"type":"a","dns":{"nameservers":"x"}}"#, "key \"dns.nameservers\" must be a list of strings"),
            (r#"{"type":"a","dns":{"search":[1]}}"#, "key \"dns.search\" must be a list of strings"),
            (r#"{"type":"a","dns":{"options":{}}}"#, "key \"dns.options\" must be a list of strings"),
            (r#"{"type":"a","prevResult":[]}"#, "key \"prevResult\" must be an object"),
            (
                r#"{"type":"a","cni.dev/valid-attachments":[{"ifname":1}]}"#,
                "key \"cni.dev/valid-attachments\" must be a list of attachments",
            ),
        ] {
            let error = PluginConfig::from_bytes(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), format!("error parsing configuration: {words}"), "{text}");
            assert_eq!(error.class(), ErrorClass::Config);
        }
    }

    #[test]
    fn a_plugin_leaves_room_for_the_list_around_it() {
        let nested =
            |levels: usize| format!(r#"{{"type":"a","x":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
        let plugin = PluginConfig::from_bytes(nested(125).as_bytes()).unwrap();
        crate::conf::NetworkConfigList::from_plugin(&plugin).unwrap();
        let error = PluginConfig::from_bytes(nested(126).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "error parsing configuration: nested deeper than 125 levels");
    }

    #[test]
    fn errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.conf");
        std::fs::write(&path, r#"{"name":"n"}"#).unwrap();
        let error = PluginConfig::from_file(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}: error parsing configuration: missing 'type'", path.display()));
        std::fs::write(&path, r#"{"name":"n","type":"t"}"#).unwrap();
        assert_eq!(PluginConfig::from_file(&path).unwrap().name, "n");
    }

    #[test]
    fn the_description_is_libcnis() {
        for (text, words) in
            [(r#"{"type":"a"}"#, r#"type="a""#), (r#"{"type":"a","name":"x\"y"}"#, r#"type="a" name="x\"y""#)]
        {
            assert_eq!(PluginConfig::from_bytes(text.as_bytes()).unwrap().description(), words);
        }
    }
}

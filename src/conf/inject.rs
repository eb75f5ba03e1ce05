//! Keys put into a plugin's configuration: the text that the plugin gets on its standard input.

use serde_json::{Map, Value};

use crate::conf::{PluginConfig, text};
use crate::error::{Error, Result};

/// libcni's `buildOneConfig`: the plugin's own keys with `name`, `cniVersion`, `prevResult` (if there is one) and
/// `runtimeConfig` (if a declared capability got arguments) put in. Keys come out sorted.
pub fn build_one_config(
    name: &str,
    cni_version: &str,
    plugin: &PluginConfig,
    prev_result: Option<&Value>,
    capability_args: &Map<String, Value>,
) -> Vec<u8> {
    let mut object = plugin.object.clone();
    object.insert("name".to_owned(), name.into());
    object.insert("cniVersion".to_owned(), cni_version.into());
    if let Some(result) = prev_result {
        object.insert("prevResult".to_owned(), result.clone());
    }
    // The text's, as libcni reads it anew here: a caller's changed `capabilities` do not count.
    let capabilities = plugin.written_capabilities();
    let declared = |key: &String| capabilities.get(key).copied().unwrap_or_default();
    let arguments = capability_args.iter().filter(|(key, _)| declared(key));
    let arguments: Map<_, _> = arguments.map(|(key, value)| (key.clone(), value.clone())).collect();
    if !arguments.is_empty() {
        object.insert("runtimeConfig".to_owned(), arguments.into());
    }
    text::print(object)
}

/// libcni's `InjectConf`: the plugin with these keys put in, each in place of its own, and read again.
///
/// An empty key and a null value are `CNI_E_INVALID_ARGUMENT`, a result that is no plugin configuration `CNI_E_CONFIG`.
pub fn inject(plugin: &PluginConfig, values: &Map<String, Value>) -> Result<PluginConfig> {
    for (key, value) in values {
        if key.is_empty() {
            return Err(Error::invalid("keys cannot be empty"));
        }
        if value.is_null() {
            return Err(Error::invalid(format!("key '{key}' value must not be nil")));
        }
    }
    inject_any(plugin, values)
}

/// [`inject`] that takes any key and value: a Go slice that is nil is no nil interface, and `null` in JSON.
pub(crate) fn inject_any(plugin: &PluginConfig, values: &Map<String, Value>) -> Result<PluginConfig> {
    let mut object = plugin.object.clone();
    object.extend(values.clone());
    PluginConfig::from_object(object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorClass;

    fn plugin(text: &str) -> PluginConfig {
        PluginConfig::from_bytes(text.as_bytes()).unwrap()
    }

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_plugin_gets_its_keys_and_what_the_runtime_puts_in() {
        let declared = r#"{"type":"t","capabilities":{"a":true,"b":false},"runtimeConfig":{"own":1}}"#;
        for (row, text, prev_result, arguments, expected) in [
            (
                "name and version only",
                r#"{"type":"t"}"#,
                None,
                json!({}),
                r#"{"cniVersion":"1.0.0","name":"n","type":"t"}"#,
            ),
            (
                "its own name and version are replaced, numbers are not touched",
                r#"{"type":"t","name":"x","cniVersion":"0.1.0","z":[12345678901234567890,1.50]}"#,
                None,
                json!({}),
                r#"{"cniVersion":"1.0.0","name":"n","type":"t","z":[12345678901234567890,1.50]}"#,
            ),
            (
                "the previous result in place of its own",
                r#"{"type":"t","prevResult":{"x":1}}"#,
                Some(json!({"ips": []})),
                json!({}),
                r#"{"cniVersion":"1.0.0","name":"n","prevResult":{"ips":[]},"type":"t"}"#,
            ),
            (
                "its own previous result without another",
                r#"{"type":"t","prevResult":{"x":1}}"#,
                None,
                json!({}),
                r#"{"cniVersion":"1.0.0","name":"n","prevResult":{"x":1},"type":"t"}"#,
            ),
            (
                "arguments of declared capabilities replace runtimeConfig",
                declared,
                None,
                json!({"a": null, "b": 2, "c": 3}),
                r#"{"capabilities":{"a":true,"b":false},"cniVersion":"1.0.0","name":"n","runtimeConfig":{"a":null},"type":"t"}"#,
            ),
            (
                "arguments of others leave runtimeConfig alone",
                declared,
                None,
                json!({"b": 2, "c": 3}),
                r#"{"capabilities":{"a":true,"b":false},"cniVersion":"1.0.0","name":"n","runtimeConfig":{"own":1},"type":"t"}"#,
            ),
        ] {
            let bytes = build_one_config("n", "1.0.0", &plugin(text), prev_result.as_ref(), &object(&arguments));
            assert_eq!(String::from_utf8(bytes).unwrap(), expected, "{row}");
        }
    }

    #[test]
    fn injected_keys_replace_the_plugins_own() {
        let injected = inject(&plugin(r#"{"type":"t","a":1,"b":{"c":1}}"#), &object(&json!({"b": {}, "type": "u"})));
        let injected = injected.unwrap();
        assert_eq!(injected.plugin_type, "u");
        assert_eq!(String::from_utf8(injected.bytes).unwrap(), r#"{"a":1,"b":{},"type":"u"}"#);
    }

    #[test]
    fn what_cannot_be_injected_is_refused() {
        for (values, words, class) in [
            (json!({"": 1}), "keys cannot be empty", ErrorClass::InvalidArgument),
            (json!({"a": null}), "key 'a' value must not be nil", ErrorClass::InvalidArgument),
            (json!({"type": 1}), "error parsing configuration: key \"type\" must be a string", ErrorClass::Config),
        ] {
            let error = inject(&plugin(r#"{"type":"t"}"#), &object(&values)).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.class()), (words, class));
        }
    }
}

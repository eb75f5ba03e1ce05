//! VALIDATE (are all plugins there, and new enough?) and VERSION.

use std::collections::BTreeSet;

use crate::call::Call;
use crate::conf::NetworkConfigList;
use crate::error::{Error, ErrorClass, Result};
use crate::invoke::Args;
use crate::network::CniConfig;
use crate::version::{self, PluginInfo};

impl CniConfig {
    /// libcni's `ValidateNetworkList`.
    pub(super) fn validate(&self, call: &Call, list: &NetworkConfigList) -> Result<Vec<String>> {
        let plugins = list.plugins.iter();
        let errors =
            plugins.filter_map(|plugin| self.validate_plugin(call, &plugin.plugin_type, &list.cni_version).err());
        let errors: Vec<Error> = errors.collect();
        if !errors.is_empty() {
            return Err(in_brackets(errors).with_network(&list.name, "", &list.cni_version));
        }
        Ok(capabilities(list))
    }

    fn validate_plugin(&self, call: &Call, plugin_type: &str, expected: &str) -> Result<()> {
        let expected = if expected.is_empty() { version::OLDEST } else { expected };
        let info = self.version_info(call, plugin_type)?;
        if info.supported_versions.iter().any(|supported| supported == expected) {
            return Ok(());
        }
        let words = format!("plugin {plugin_type} does not support config version {expected:?}");
        let hint = format!("it supports {}", info.supported_versions.join(", "));
        Err(Error::new(ErrorClass::Unsupported, words).with_plugin(plugin_type, "VERSION").with_hint(hint))
    }

    /// libcni's `GetVersionInfo`: a plugin older than the command VERSION counts as 0.1.0.
    pub(super) fn version_info(&self, call: &Call, plugin_type: &str) -> Result<PluginInfo> {
        let ask = || {
            let path = self.exec.find_in_path(call, plugin_type, &self.path)?;
            // Plugins built against an older skeleton insist on these.
            let args = Args {
                command: "VERSION".to_owned(),
                netns: "dummy".to_owned(),
                if_name: "dummy".to_owned(),
                path: vec!["dummy".into()],
                ..Args::default()
            };
            let env = self.environ.for_plugin(call, &args)?;
            call.check()?;
            let stdin = format!("{{\"cniVersion\":\"{}\"}}", version::CURRENT);
            match self.exec.exec_plugin(call, &path, stdin.as_bytes(), &env) {
                Ok(stdout) => PluginInfo::decode(&stdout),
                Err(error) if error.to_string() == "unknown CNI_COMMAND: VERSION" => {
                    Ok(PluginInfo::supports(&[version::OLDEST]))
                }
                Err(error) => Err(error),
            }
        };
        ask().map_err(|error: Error| error.with_plugin(plugin_type, "VERSION"))
    }
}

/// The capabilities that the list's plugins declare, sorted.
pub(crate) fn capabilities(list: &NetworkConfigList) -> Vec<String> {
    let declared = list.plugins.iter().flat_map(|plugin| &plugin.capabilities);
    let enabled: BTreeSet<&String> = declared.filter(|(_, enabled)| **enabled).map(|(name, _)| name).collect();
    enabled.into_iter().cloned().collect()
}

/// Go prints a list of errors in brackets, with blanks between.
fn in_brackets(errors: Vec<Error>) -> Error {
    let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let words = format!("[{}]", words.join(" "));
    match Error::joined(errors) {
        Some(error) => error.with_msg(words),
        None => Error::new(ErrorClass::Config, words),
    }
}

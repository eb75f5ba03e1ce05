//! VALIDATE (are all plugins there, and new enough?) and VERSION.

use std::collections::BTreeSet;

use crate::call::Call;
use crate::conf::{NetworkConfigList, PluginConfig};
use crate::error::{Error, ErrorClass, Result};
use crate::invoke::{Args, Nursery};
use crate::network::{CniConfig, Network};
use crate::version::{self, PluginInfo};

impl CniConfig {
    /// libcni's `ValidateNetworkList` and `ValidateNetwork`.
    pub(super) fn validate(&self, call: &Call, network: Network<'_>) -> Result<Vec<String>> {
        let mut nursery = Nursery::default();
        let mut validate =
            |plugin: &PluginConfig| self.validate_plugin(call, &mut nursery, &plugin.plugin_type, network.cni_version);
        let errors: Vec<Error> = network.plugins.iter().filter_map(|plugin| validate(plugin).err()).collect();
        let error = if network.is_list() { in_brackets(errors) } else { Error::joined(errors) };
        match error {
            Some(error) => Err(error.with_network(network.name, "", network.cni_version)),
            None => Ok(declared(network.plugins)),
        }
    }

    fn validate_plugin(&self, call: &Call, nursery: &mut Nursery, plugin_type: &str, expected: &str) -> Result<()> {
        let expected = if expected.is_empty() { version::OLDEST } else { expected };
        let info = self.version_info(call, nursery, plugin_type)?;
        if info.supported_versions.iter().any(|supported| supported == expected) {
            return Ok(());
        }
        let words = format!("plugin {plugin_type} does not support config version {expected:?}");
        let hint = format!("it supports {}", info.supported_versions.join(", "));
        Err(Error::new(ErrorClass::Unsupported, words).with_plugin(plugin_type, "VERSION").with_hint(hint))
    }

    /// libcni's `GetVersionInfo`: a plugin older than the command VERSION counts as 0.1.0.
    pub(super) fn version_info(&self, call: &Call, nursery: &mut Nursery, plugin_type: &str) -> Result<PluginInfo> {
        let mut ask = || {
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
            match self.exec.exec_plugin(call, nursery, &path, stdin.as_bytes(), &env) {
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
    declared(&list.plugins)
}

fn declared(plugins: &[PluginConfig]) -> Vec<String> {
    let declared = plugins.iter().flat_map(|plugin| &plugin.capabilities);
    let enabled: BTreeSet<&String> = declared.filter(|(_, enabled)| **enabled).map(|(name, _)| name).collect();
    enabled.into_iter().cloned().collect()
}

/// Go prints a list of errors in brackets, with blanks between; no plugin's error object is left in it.
fn in_brackets(errors: Vec<Error>) -> Option<Error> {
    let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Error::joined(errors).map(|error| error.with_msg(format!("[{}]", words.join(" "))).without_cause())
}

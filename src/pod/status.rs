//! Whether pods can be set up, and what is configured.

use crate::call::Call;
use crate::conf::NetworkConfigList;
use crate::error::{Result, code};
use crate::network::{Cni, capabilities};
use crate::pod::cni::{CniNetworkPlugin, Loaded, NetworkFile, PROBE_LIMIT};
use crate::pod::{NetworkStatus, PluginStatus, Status};

impl CniNetworkPlugin {
    /// Never fails because something is not ready: that is an answer.
    pub(super) fn status_of(&self, call: &Call, loaded: &Loaded) -> Result<Status> {
        let networks = if let Some(networks) = loaded.networks.get() {
            networks.clone()
        } else {
            let networks = loaded.files.iter().map(|file| self.inspect_file(call, file)).collect::<Result<Vec<_>>>()?;
            // What is not valid may be so a moment later.
            if networks.iter().all(|network| network.valid) {
                let _ = loaded.networks.set(networks.clone());
            }
            networks
        };
        let ready = self.ready_network(loaded);
        let asked = ready
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|network| self.cni.get_status_network_list(&call.limited(PROBE_LIMIT), &network.list));
        let mut status = Status {
            ready: asked.is_ok(),
            reason: None,
            code: None,
            limited_connectivity: false,
            default_network: loaded.default.as_ref().map(|network| network.list.name.clone()),
            pod_cidr: self.pod_cidr(),
            last_load: loaded.last_load(),
            networks,
        };
        if let Err(error) = asked {
            call.check()?;
            status.reason = Some(error.to_string());
            status.code = error.cause().map(|cause| cause.code);
            if status.code == Some(code::LIMITED_CONNECTIVITY) {
                // Existing pods are affected, new ones can be set up.
                status.ready = true;
                status.limited_connectivity = true;
            }
        }
        Ok(status)
    }

    fn inspect_file(&self, call: &Call, file: &NetworkFile) -> Result<NetworkStatus> {
        let mut status = NetworkStatus {
            name: String::new(),
            file: file.path.display().to_string(),
            cni_version: String::new(),
            valid: false,
            reason: None,
            capabilities: Vec::new(),
            plugins: Vec::new(),
        };
        let list = match &file.list {
            Ok(list) => list,
            Err(error) => {
                status.reason = Some(error.to_string());
                return Ok(status);
            }
        };
        status.plugins = self.inspect_plugins(call, file, list);
        status.capabilities = capabilities(list);
        let validated = self.validate(call, list);
        if validated.as_ref().is_err_and(|error| error.class().is_end_of_call()) {
            call.check()?;
        }
        status.valid = validated.is_ok();
        status.reason = validated.err().map(|error| error.to_string());
        status.name.clone_from(&list.name);
        status.cni_version.clone_from(&list.cni_version);
        Ok(status)
    }

    fn inspect_plugins(&self, call: &Call, file: &NetworkFile, list: &NetworkConfigList) -> Vec<PluginStatus> {
        // The plugins of files come after the inlined ones, in the order of the files.
        let inlined = list.plugins.len().saturating_sub(file.plugin_files.len());
        let plugins = list.plugins.iter().enumerate();
        plugins
            .map(|(index, plugin)| {
                let own = index.checked_sub(inlined).and_then(|index| file.plugin_files.get(index));
                let path = self.cni.exec.find_in_path(call, &plugin.plugin_type, &self.cni.path).ok();
                PluginStatus {
                    plugin_type: plugin.plugin_type.clone(),
                    file: own.unwrap_or(&file.path).display().to_string(),
                    path: path.map(|path| path.display().to_string()),
                    engine: "process",
                }
            })
            .collect()
    }
}

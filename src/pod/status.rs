//! Whether pods can be set up, and what is configured.

use std::path::Path;

use crate::call::Call;
use crate::conf::{NetworkConfigList, conf_files};
use crate::error::{Result, code};
use crate::network::{Cni, capabilities};
use crate::pod::cni::{CniNetworkPlugin, Loaded, PROBE_LIMIT, read_file};
use crate::pod::{NetworkStatus, PluginStatus, Status};

impl CniNetworkPlugin {
    /// Never fails because something is not ready: that is an answer.
    pub(super) fn status_of(&self, call: &Call, loaded: &Loaded) -> Result<Status> {
        let networks = if let Some(networks) = loaded.networks.get() {
            networks.clone()
        } else {
            let networks = self.inspect_files(call)?;
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

    fn inspect_files(&self, call: &Call) -> Result<Vec<NetworkStatus>> {
        // An unreadable directory is the last load's error; here there is just nothing to list.
        let files = self.network_files().unwrap_or_default();
        files.iter().map(|file| self.inspect_file(call, file)).collect()
    }

    fn inspect_file(&self, call: &Call, file: &Path) -> Result<NetworkStatus> {
        let mut status = NetworkStatus {
            name: String::new(),
            file: file.display().to_string(),
            cni_version: String::new(),
            valid: false,
            reason: None,
            capabilities: Vec::new(),
            plugins: Vec::new(),
        };
        let list = match read_file(file) {
            Ok(list) => list,
            Err(error) => {
                status.reason = Some(error.to_string());
                return Ok(status);
            }
        };
        status.plugins = self.inspect_plugins(call, file, &list);
        status.capabilities = capabilities(&list);
        let validated = self.validate(call, &list);
        if validated.as_ref().is_err_and(|error| error.class().is_end_of_call()) {
            call.check()?;
        }
        status.valid = validated.is_ok();
        status.reason = validated.err().map(|error| error.to_string());
        status.name = list.name;
        status.cni_version = list.cni_version;
        Ok(status)
    }

    fn inspect_plugins(&self, call: &Call, file: &Path, list: &NetworkConfigList) -> Vec<PluginStatus> {
        // The plugins of files come after the inlined ones, in the order of the files.
        let dir = file.parent().unwrap_or(Path::new("")).join(&list.name);
        let separate =
            if list.load_only_inlined_plugins { Vec::new() } else { conf_files(&dir, &[".conf"]).unwrap_or_default() };
        let inlined = list.plugins.len().saturating_sub(separate.len());
        let plugins = list.plugins.iter().enumerate();
        plugins
            .map(|(index, plugin)| {
                let own = index.checked_sub(inlined).and_then(|index| separate.get(index));
                let path = self.cni.exec.find_in_path(call, &plugin.plugin_type, &self.cni.path).ok();
                PluginStatus {
                    plugin_type: plugin.plugin_type.clone(),
                    file: own.map_or(file, |own| own).display().to_string(),
                    path: path.map(|path| path.display().to_string()),
                    engine: "process",
                }
            })
            .collect()
    }
}

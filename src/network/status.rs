//! STATUS.

use crate::call::Call;
use crate::conf::inject;
use crate::error::Result;
use crate::network::run::Command;
use crate::network::{CniConfig, Network, RuntimeConf};
use crate::version;

impl CniConfig {
    /// libcni's `GetStatusNetworkList`: stops at the first plugin that is not ready, so that its code stays clean.
    pub(super) fn status(&self, call: &Call, network: Network<'_>) -> Result<()> {
        // A version that cannot be read has no STATUS either, as in libcni.
        if !version::at_least(network.cni_version, version::STATUS).unwrap_or(false) {
            return Ok(());
        }
        let keys = network.identity();
        let no_container = RuntimeConf::default();
        let mut list = self.list_run(network, Command::Status, &no_container);
        network.plugins.iter().try_for_each(|plugin| {
            let injected = inject(plugin, &keys).map_err(|error| {
                let what = format_args!("failed to generate configuration to get plugin STATUS {}", plugin.plugin_type);
                error.context(what)
            })?;
            list.run_injected(call, &injected)
        })
    }
}

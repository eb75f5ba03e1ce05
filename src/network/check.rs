//! CHECK.

use crate::call::Call;
use crate::error::{Error, ErrorClass, Result};
use crate::network::run::Command;
use crate::network::{CniConfig, Network, RuntimeConf};
use crate::version;

impl CniConfig {
    /// libcni's `CheckNetworkList` and `CheckNetwork`.
    pub(super) fn check(&self, call: &Call, network: Network<'_>, rt: &RuntimeConf) -> Result<()> {
        let named = |error: Error| error.with_network(network.name, &rt.if_name, network.cni_version);
        if !version::at_least(network.cni_version, version::CHECK).map_err(named)? {
            let words = format!("configuration version {:?} does not support the CHECK command", network.cni_version);
            return Err(named(Error::new(ErrorClass::Unsupported, words)));
        }
        if network.disable_check {
            return Ok(());
        }
        let cached = self
            .cached_result(network, rt)
            .map_err(|error| named(error.context(format!("failed to get network {:?} cached result", network.name))))?;
        let mut list = self.list_run(network, Command::Check, rt);
        network.plugins.iter().try_for_each(|plugin| list.run_plugin(call, plugin, cached.as_ref()))
    }
}

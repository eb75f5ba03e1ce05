//! CHECK.

use crate::call::Call;
use crate::conf::NetworkConfigList;
use crate::error::{Error, ErrorClass, Result};
use crate::network::run::Command;
use crate::network::{CniConfig, RuntimeConf};
use crate::version;

impl CniConfig {
    /// libcni's `CheckNetworkList`.
    pub(super) fn check(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()> {
        let named = |error: Error| error.with_network(&list.name, &rt.if_name, &list.cni_version);
        if !version::at_least(&list.cni_version, version::CHECK).map_err(named)? {
            let words = format!("configuration version {:?} does not support the CHECK command", list.cni_version);
            return Err(named(Error::new(ErrorClass::Unsupported, words)));
        }
        if list.disable_check {
            return Ok(());
        }
        let cached = self
            .cached_result(list, rt)
            .map_err(|error| named(error.context(format!("failed to get network {:?} cached result", list.name))))?;
        for plugin in &list.plugins {
            self.run_plugin(call, list, plugin, cached.as_ref(), Command::Check, rt)?;
        }
        Ok(())
    }
}

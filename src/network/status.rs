//! STATUS.

use crate::call::Call;
use crate::conf::NetworkConfigList;
use crate::error::Result;
use crate::network::run::Command;
use crate::network::{CniConfig, RuntimeConf};
use crate::version;

impl CniConfig {
    /// libcni's `GetStatusNetworkList`: stops at the first plugin that is not ready, so that its code stays clean.
    pub(super) fn status(&self, call: &Call, list: &NetworkConfigList) -> Result<()> {
        // A version that cannot be read has no STATUS either, as in libcni.
        if !version::at_least(&list.cni_version, version::STATUS).unwrap_or(false) {
            return Ok(());
        }
        let rt = RuntimeConf::default();
        list.plugins.iter().try_for_each(|plugin| self.run_plugin(call, list, plugin, None, Command::Status, &rt))
    }
}

//! What the cache says about an attachment.

use serde_json::Value;

use crate::error::{Error, ErrorClass, Result};
use crate::network::{CniConfig, Network, RuntimeConf};
use crate::result::CniResult;
use crate::store::Cached;

impl CniConfig {
    /// libcni's `getCachedResult`, in the network's version.
    pub(super) fn cached_result(&self, network: Network<'_>, rt: &RuntimeConf) -> Result<Option<CniResult>> {
        let bytes = match self.cached(network, rt)? {
            Cached::Missing => return Ok(None),
            Cached::Entry(entry) => entry.result.unwrap_or(Value::Null).to_string().into_bytes(),
            Cached::Legacy(bytes) => bytes,
            Cached::Unreadable(error) => return Err(error),
        };
        let version = network.cni_version;
        let convert = |result: CniResult| {
            result.get_as_version(version).map_err(|error: Error| {
                error.context(format!("failed to convert cached result to config version {version:?}"))
            })
        };
        CniResult::from_bytes(&bytes).and_then(convert).map(Some)
    }

    /// libcni's `getCachedConfig`: the configuration's text, and `rt` with the recorded arguments in place of its own.
    pub(super) fn cached_config(
        &self,
        network: Network<'_>,
        rt: &RuntimeConf,
    ) -> Result<Option<(Vec<u8>, RuntimeConf)>> {
        let name = network.name;
        match self.cached(network, rt)? {
            Cached::Missing => Ok(None),
            Cached::Entry(entry) => {
                let args = entry.cni_args.unwrap_or_else(|| rt.args.clone());
                let rt = RuntimeConf { args, capability_args: entry.capability_args, ..rt.clone() };
                Ok(Some((entry.config, rt)))
            }
            Cached::Legacy(_) => {
                let words = format!("read cached network {name:?} config has wrong kind: ");
                Err(Error::new(ErrorClass::Cache, words))
            }
            Cached::Unreadable(error) => {
                Err(error.context(format_args!("failed to unmarshal cached network {name:?} config")))
            }
        }
    }

    fn cached(&self, network: Network<'_>, rt: &RuntimeConf) -> Result<Cached> {
        let key = network.recorded_key(rt)?;
        Ok(key.map_or(Cached::Missing, |key| self.cache(rt).get(&key)))
    }
}

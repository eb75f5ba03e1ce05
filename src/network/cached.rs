//! What the cache says about an attachment, and the trait that puts the verbs together.

use serde_json::Value;

use crate::call::Call;
use crate::conf::NetworkConfigList;
use crate::error::{Error, Result};
use crate::names::ContainerId;
use crate::network::{Cni, CniConfig, DelPolicy, RuntimeConf, key};
use crate::result::CniResult;
use crate::store::{CacheEntry, Cached};
use crate::version::PluginInfo;

impl CniConfig {
    /// libcni's `getCachedResult`, in the list's version.
    pub(super) fn cached_result(&self, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<Option<CniResult>> {
        let bytes = match self.cache(rt).get(&key(list, rt)?) {
            Cached::Missing => return Ok(None),
            Cached::Entry(entry) => entry.result.unwrap_or(Value::Null).to_string().into_bytes(),
            Cached::Legacy(bytes) => bytes,
            Cached::Unreadable(error) => return Err(error),
        };
        let version = &list.cni_version;
        let convert = |result: CniResult| {
            result.get_as_version(version).map_err(|error: Error| {
                error.context(format!("failed to convert cached result to config version {version:?}"))
            })
        };
        CniResult::from_bytes(&bytes).and_then(convert).map(Some)
    }
}

impl Cni for CniConfig {
    fn add_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<CniResult> {
        self.add(call, list, rt)
    }

    fn del_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()> {
        self.del(call, list, rt, DelPolicy::default())
    }

    fn check_network_list(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()> {
        self.check(call, list, rt)
    }

    fn get_status_network_list(&self, call: &Call, list: &NetworkConfigList) -> Result<()> {
        self.status(call, list)
    }

    fn validate_network_list(&self, call: &Call, list: &NetworkConfigList) -> Result<Vec<String>> {
        self.validate(call, list)
    }

    fn get_version_info(&self, call: &Call, plugin_type: &str) -> Result<PluginInfo> {
        self.version_info(call, plugin_type)
    }

    fn get_network_list_cached_result(&self, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<Option<CniResult>> {
        self.cached_result(list, rt)
    }

    fn get_cached_attachments(&self, container_id: Option<&ContainerId>) -> Result<Vec<CacheEntry>> {
        self.cache(&RuntimeConf::default()).attachments(container_id)
    }
}

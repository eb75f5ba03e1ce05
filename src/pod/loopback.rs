//! The pod's `lo`: set up in this process, or by the plugin `loopback`. Never shown among a pod's networks.

use std::path::Path;

use serde_json::Map;

use crate::call::Call;
use crate::conf::NetworkConfigList;
use crate::error::{Error, ErrorClass, Result, Rollback};
use crate::names::ContainerId;
use crate::netns;
use crate::network::{DelPolicy, RuntimeConf};
use crate::pod::attached::{recorded_netns, usable_netns};
use crate::pod::cni::CniNetworkPlugin;
use crate::store::{CacheEntry, Cached, Key};

/// The list's name, as the kubelet's.
const NETWORK: &str = "cni-loopback";
/// Without CHECK and without state at DEL, so that a plugin of any age can be taken.
const LIST: &[u8] = br#"{"cniVersion":"0.3.1","name":"cni-loopback","plugins":[{"type":"loopback"}]}"#;
const IF_NAME: &str = "lo";

impl CniNetworkPlugin {
    /// Sets the pod's `lo` up; true where [`del_loopback`](Self::del_loopback) would have something to undo.
    pub(super) fn add_loopback(&self, call: &Call, rt: &RuntimeConf) -> Result<bool> {
        if !self.options.loopback {
            return Ok(false);
        }
        call.check()?;
        if self.options.builtin.loopback {
            netns::set_loopback(Path::new(&rt.netns), true)?;
            return Ok(true);
        }
        if self.has_loopback_entry(&rt.container_id)? {
            return Ok(false);
        }
        let (list, rt) = (NetworkConfigList::from_bytes(LIST)?, of_lo(rt));
        match self.cni.try_add(call, &list, &rt, &mut |_, _| Ok(())) {
            Ok(_) => Ok(true),
            Err(failure) if self.options.rollback => {
                let call = call.for_rollback(self.options.rollback_timeout);
                let errors = self.cni.undo(&call, &list, &rt, &failure.unfinished);
                Err(failure.error.with_rollback(Rollback { done: errors.is_empty(), errors }))
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// Sets the pod's `lo` down, by whom it was set up, perhaps not to the end. A failure does not matter to anybody but
    /// the log.
    pub(super) fn del_loopback(&self, call: &Call, rt: &RuntimeConf, unfinished: bool) {
        let run = || -> Result<()> {
            let by_plugin = self.has_loopback_entry(&rt.container_id)?;
            if by_plugin || unfinished && self.options.loopback && !self.options.builtin.loopback {
                let policy = DelPolicy { gone_is_done: true, keep_going: false };
                let errors = self.cni.del(call, &NetworkConfigList::from_bytes(LIST)?, &of_lo(rt), policy);
                return Error::joined(errors).map_or(Ok(()), Err);
            }
            let netns = Path::new(&rt.netns);
            // A path that has become the node's own would cut it off from itself.
            let is_pods = netns::is_netns(netns) && !netns::is_own(netns);
            if self.options.loopback && self.options.builtin.loopback && is_pods {
                netns::set_loopback(netns, false)?;
            }
            Ok(())
        };
        if let Err(error) = run() {
            tracing::error!(target: "cnirt::pod", pod = rt.container_id, %error, "CNI failed to delete loopback network");
        }
    }

    pub(super) fn has_loopback_entry(&self, container_id: &str) -> Result<bool> {
        let key = Key::parse(NETWORK, container_id, IF_NAME)?;
        match self.cni.cache(&RuntimeConf::default()).get(&key) {
            Cached::Missing => Ok(false),
            Cached::Unreadable(error) if error.class() == ErrorClass::Io => Err(error),
            _ => Ok(true),
        }
    }
}

/// Whether an attachment is a pod's loopback.
pub(super) fn is_its(key: &Key) -> bool {
    key.network.as_str() == NETWORK
}

/// What a pod's loopback is told when it goes: the names as they were recorded with an attachment, and the namespace.
pub(super) fn rt(pod: &ContainerId, given: Option<&str>, attached: Option<&CacheEntry>) -> RuntimeConf {
    let recorded = attached.map(RuntimeConf::from).unwrap_or_default();
    let recorded_path = || attached.and_then(|entry| recorded_netns(entry).ok().flatten());
    let netns = usable_netns(given).or_else(recorded_path).unwrap_or_default();
    RuntimeConf { container_id: pod.to_string(), netns, ..recorded }
}

/// The same pod, with `lo` and without capabilities.
fn of_lo(rt: &RuntimeConf) -> RuntimeConf {
    RuntimeConf { if_name: IF_NAME.to_owned(), capability_args: Map::new(), ..rt.clone() }
}

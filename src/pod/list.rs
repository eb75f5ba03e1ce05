//! What is recorded about pods: their attachments, and their addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, ErrorClass, Result};
use crate::names::{ContainerId, IfName};
use crate::netns;
use crate::network::Cni;
use crate::pod::attached::recorded_netns;
use crate::pod::cni::CniNetworkPlugin;
use crate::pod::{
    KnownNetwork, KnownPod, NetworkName, NetworkResult, PodIdentity, PodRequest, PodResult, PodStatus, Source, loopback,
};
use crate::result::CniResult;
use crate::store::{CacheEntry, Key, Recorded};

impl CniNetworkPlugin {
    /// The attachments of a pod without its loopback, in the order of their interfaces (`eth2` before `eth10`).
    pub(super) fn known_attachments(&self, id: &ContainerId) -> Result<Vec<CacheEntry>> {
        self.known(id, true).map(|(entries, _)| entries)
    }

    /// Likewise, and those whose entries cannot be read; that one cannot just now is an error, unless `lenient`.
    pub(super) fn known(&self, id: &ContainerId, lenient: bool) -> Result<(Vec<CacheEntry>, Vec<Key>)> {
        let (mut entries, mut broken) = self.cache().of_container(id, lenient)?;
        entries.retain(|entry| !loopback::is_its(&entry.key));
        entries.sort_by_cached_key(|entry| interface_order(&entry.key.if_name));
        broken.retain(|key| !loopback::is_its(key));
        Ok((entries, broken))
    }

    /// Every pod that is recorded, and every pod whose set-up is under way or did not end.
    pub(super) fn known_pods(&self) -> Result<Vec<KnownPod>> {
        let mut pods: BTreeMap<ContainerId, KnownPod> = BTreeMap::new();
        let mut add = |entry: CacheEntry, unfinished| {
            if loopback::is_its(&entry.key) {
                return;
            }
            let pod = identity(&entry);
            let known = pods.entry(entry.key.container_id.clone());
            let networks = &mut known.or_insert_with(|| KnownPod { pod, networks: Vec::new() }).networks;
            let name = name(&entry);
            networks.retain(|known| known.name != name);
            networks.push(KnownNetwork { name, netns: entry.netns, owner: entry.owner, unfinished });
        };
        let (intents, errors) = self.intents().all()?;
        for error in errors {
            tracing::warn!(target: "cnirt::pod", %error, "a list without what cannot be read just now");
        }
        for entry in self.cni.get_cached_attachments(None)? {
            add(entry, false);
        }
        let mut torn = Vec::new();
        for (pod, recorded) in intents {
            match recorded {
                Recorded::Nothing => {}
                Recorded::Intent(intent) => {
                    intent.attachments.into_iter().for_each(|attachment| add(attachment.entry, true));
                }
                Recorded::Torn(error) => {
                    tracing::warn!(target: "cnirt::pod", %pod, %error, "a set-up did not end, and nobody knows what it was");
                    torn.push(pod);
                }
            }
        }
        for id in torn {
            let pod = PodIdentity { id: id.to_string(), ..PodIdentity::default() };
            pods.entry(id).or_insert_with(|| KnownPod { pod, networks: Vec::new() });
        }
        Ok(pods.into_values().collect())
    }

    /// The pod's addresses: from its namespace where there is one, else from the cache.
    pub(super) fn addresses_of(&self, request: &PodRequest) -> Result<PodStatus> {
        let entries = self.known_attachments(&request.id)?;
        let asked = self.netns(request)?;
        let netns = match asked {
            Some(asked) => Some(asked),
            None => entries.iter().find_map(|entry| recorded_netns(entry).transpose()).transpose()?,
        };
        let wanted = request.if_name.as_ref().or(entries.first().map(|entry| &entry.key.if_name));
        let if_name = wanted.unwrap_or(&self.options.if_name);
        let cached = entries.iter().find(|entry| entry.key.if_name == *if_name).map(cached_addresses);

        let live = netns.as_deref().map(Path::new).filter(|netns| entries.is_empty() || netns::is_netns(netns));
        let (ips, source) = match (live, cached) {
            (Some(netns), cached) => {
                (in_order_of(netns::addresses(netns, if_name.as_str())?, &cached.unwrap_or_default()), Source::Netlink)
            }
            (None, Some(cached)) => (cached, Source::Cache),
            (None, None) => {
                let error = Error::new(ErrorClass::NotFound, format!("nothing is known of pod {}", request.id));
                return Err(error.with_hint("give the path of its network namespace, key \"netns\""));
            }
        };
        let pod = entries.first().map_or_else(|| request.identity(), identity);
        let networks = entries
            .into_iter()
            .map(|entry| NetworkResult { name: name(&entry), result: entry.result.unwrap_or(Value::Null) });
        let result = PodResult { pod, ips: self.in_preferred_order(ips), networks: networks.collect() };
        Ok(PodStatus { result, source })
    }
}

/// Shorter names first: `eth2` before `eth10`.
fn interface_order(if_name: &IfName) -> (usize, IfName) {
    (if_name.as_str().len(), if_name.clone())
}

/// The attachment's names.
pub(super) fn name(entry: &CacheEntry) -> NetworkName {
    NetworkName { network: entry.key.network.to_string(), if_name: entry.key.if_name.to_string() }
}

fn identity(entry: &CacheEntry) -> PodIdentity {
    let args = entry.cni_args.as_deref().unwrap_or_default();
    let value =
        |key: &str| args.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone()).unwrap_or_default();
    PodIdentity {
        namespace: value("K8S_POD_NAMESPACE"),
        name: value("K8S_POD_NAME"),
        id: entry.key.container_id.to_string(),
    }
}

/// The recorded result, where it is one.
pub(super) fn cached_result(entry: &CacheEntry) -> Option<CniResult> {
    CniResult::from_bytes(entry.result.as_ref()?.to_string().as_bytes()).ok()
}

fn cached_addresses(entry: &CacheEntry) -> Vec<IpAddr> {
    cached_result(entry).map(|result| result.addresses(entry.key.if_name.as_str())).unwrap_or_default()
}

/// What the kernel has, in the order of the result where that knows them.
fn in_order_of(mut ips: Vec<IpAddr>, result: &[IpAddr]) -> Vec<IpAddr> {
    ips.sort_by_key(|ip| result.iter().position(|known| known == ip).unwrap_or(usize::MAX));
    ips
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_ordered_by_number() {
        let mut names: Vec<IfName> = ["eth10", "eth2", "net1", "eth0"].map(|name| IfName::parse(name).unwrap()).into();
        names.sort_by_cached_key(interface_order);
        assert_eq!(names.iter().map(IfName::as_str).collect::<Vec<_>>(), ["eth0", "eth2", "net1", "eth10"]);
    }

    #[test]
    fn the_kernels_addresses_come_in_the_results_order() {
        let ips = |list: &[&str]| list.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
        let kernel = ips(&["10.0.0.9", "10.0.0.2", "fd00::2"]);
        assert_eq!(
            in_order_of(kernel, &ips(&["fd00::2", "10.0.0.2", "10.0.0.3"])),
            ips(&["fd00::2", "10.0.0.2", "10.0.0.9"])
        );
    }
}

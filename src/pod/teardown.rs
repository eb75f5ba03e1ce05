//! Teardown: from what was recorded, else from the configuration; every network is tried.

use std::path::Path;

use crate::call::Call;
use crate::conf::{NetworkConfigList, load_network_conf};
use crate::error::{Error, ErrorClass, Result};
use crate::names::{IfName, NetworkName as CheckedName};
use crate::netns;
use crate::network::{DelPolicy, RuntimeConf};
use crate::pod::cni::{CniNetworkPlugin, self_contained};
use crate::pod::list::recorded_rt;
use crate::pod::runtime_conf::PodFacts;
use crate::pod::{NetworkChoice, NetworkName, NetworkRequest, PodAttachments, PodRequest};
use crate::store::{CacheEntry, Cached, Key};

/// One attachment to remove.
struct Removal {
    list: NetworkConfigList,
    rt: RuntimeConf,
}

impl CniNetworkPlugin {
    /// The kubelet's `TearDownPod`. Needs no ready configuration and no namespace.
    pub(super) fn tear_down(&self, call: &Call, request: &PodRequest) -> Result<PodAttachments> {
        let given = self.netns(request).unwrap_or_else(|error| {
            tracing::debug!(target: "cnirt::pod", pod = %request.id, %error, "teardown goes on without a namespace");
            None
        });
        let entries = self.known_attachments(&request.id)?;
        let loopback = loopback_rt(request, given.as_deref(), &entries);
        let (removals, mut errors) = self.removals(call, request, given.as_deref(), entries);
        let mut networks = Vec::new();
        for Removal { list, rt } in removals.into_iter().rev() {
            match self.delete_from_network(call, &list, &rt) {
                Ok(()) => networks.push(NetworkName { network: list.name, if_name: rt.if_name }),
                Err(error) => errors.push(error),
            }
        }
        // A pod that keeps a network keeps its loopback.
        if errors.is_empty() && self.known_attachments(&request.id)?.is_empty() {
            self.del_loopback(call, &loopback);
        }
        match Error::joined(errors) {
            Some(error) => Err(error),
            None => Ok(PodAttachments { pod: request.identity(), networks }),
        }
    }

    /// What to remove, in the order of ADD: the request's networks, else all recorded ones, else the default network.
    fn removals(
        &self,
        call: &Call,
        request: &PodRequest,
        given: Option<&str>,
        entries: Vec<CacheEntry>,
    ) -> (Vec<Removal>, Vec<Error>) {
        let mut removals = Vec::new();
        let mut errors = Vec::new();
        let mut keep = |removal: Result<Option<Removal>>| match removal {
            Ok(removal) => removals.extend(removal),
            Err(error) => errors.push(error),
        };
        if let Some(networks) = &request.networks {
            let mut left = entries;
            for (index, network) in networks.iter().enumerate() {
                let name = match self.network_name(call, network) {
                    Ok(name) => name,
                    Err(error) => {
                        keep(Err(error.context(format!("networks[{index}]"))));
                        continue;
                    }
                };
                let meant = |entry: &CacheEntry| {
                    Some(entry.key.network.as_str()) == name.as_deref()
                        && network.if_name.as_ref().is_none_or(|if_name| *if_name == entry.key.if_name)
                };
                let (chosen, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(meant);
                left = rest;
                if chosen.is_empty() {
                    keep(self.unrecorded(call, request, Some(network), given, index));
                }
                for entry in chosen {
                    keep(self.recorded(&entry, given).map(Some));
                }
            }
        } else {
            // An entry that cannot be read is not among the recorded ones, but its file name is the default network's.
            if entries.is_empty() || self.default_is_unreadable(request) {
                keep(self.unrecorded(call, request, None, given, 0));
            }
            for entry in entries {
                keep(self.recorded(&entry, given).map(Some));
            }
        }
        (removals, errors)
    }

    /// The name behind a requested network; `None` where nothing of that kind is configured.
    fn network_name(&self, call: &Call, network: &NetworkRequest) -> Result<Option<String>> {
        Ok(match &network.choice {
            NetworkChoice::Name(name) => Some(name.clone()),
            NetworkChoice::Config(list) => Some(list.name.clone()),
            NetworkChoice::Default => {
                self.configuration(call)?.default.as_ref().map(|network| network.list.name.clone())
            }
        })
    }

    /// A recorded attachment, with the configuration that it was made with.
    fn recorded(&self, entry: &CacheEntry, given: Option<&str>) -> Result<Removal> {
        let list = match NetworkConfigList::from_any(&entry.config) {
            Ok(list) => list,
            Err(error) => {
                tracing::warn!(target: "cnirt::pod", network = %entry.key.network, %error, "the recorded configuration cannot be read");
                self_contained(load_network_conf(&self.options.conf_dir, entry.key.network.as_str())?)
            }
        };
        let mut rt = recorded_rt(entry);
        rt.netns = usable_netns(given.unwrap_or(&rt.netns));
        Ok(Removal { list, rt })
    }

    /// An attachment that nothing is recorded of, with the configuration as it is now; `None` where there is none.
    fn unrecorded(
        &self,
        call: &Call,
        request: &PodRequest,
        network: Option<&NetworkRequest>,
        given: Option<&str>,
        index: usize,
    ) -> Result<Option<Removal>> {
        let choice = network.map_or(&NetworkChoice::Default, |network| &network.choice);
        let list = match choice {
            NetworkChoice::Default => self.configuration(call)?.default.as_ref().map(|network| network.list.clone()),
            NetworkChoice::Config(list) => Some(list.as_ref().clone()),
            NetworkChoice::Name(name) => match load_network_conf(&self.options.conf_dir, name) {
                Ok(list) => Some(self_contained(list)),
                Err(error) if error.class() == ErrorClass::NotFound => None,
                Err(error) => return Err(error),
            },
        };
        let Some(mut list) = list else { return Ok(None) };
        let mut if_name = request.if_name.clone().unwrap_or_else(|| self.options.if_name.clone());
        if let Some(network) = network {
            if !network.args.is_empty() {
                list = list.with_args(&network.args)?;
            }
            // As a set-up would have counted where every network before it was there.
            if_name = match &network.if_name {
                Some(if_name) => if_name.clone(),
                None if index == 0 => if_name,
                None => IfName::parse(format!("eth{index}"))?,
            };
        }
        let facts = PodFacts {
            request,
            netns: usable_netns(given.unwrap_or_default()),
            port_mappings: request.port_mappings.clone().unwrap_or_default(),
            pod_cidr: self.pod_cidr(),
        };
        let rt = facts.build_runtime_conf(&list, network, &if_name, index == 0)?;
        Ok(Some(Removal { list, rt }))
    }

    fn default_is_unreadable(&self, request: &PodRequest) -> bool {
        let default = self.loaded_default();
        let Some(network) = default.and_then(|network| CheckedName::parse(&network.list.name).ok()) else {
            return false;
        };
        let if_name = request.if_name.clone().unwrap_or_else(|| self.options.if_name.clone());
        let key = Key { network, container_id: request.id.clone(), if_name };
        matches!(self.cni.cache(&RuntimeConf::default()).get(&key), Cached::Unreadable(_) | Cached::Legacy(_))
    }

    /// The kubelet's `deleteFromNetwork`.
    fn delete_from_network(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()> {
        self.cni.del(call, list, rt, DelPolicy { gone_is_done: true }).inspect_err(|error| {
            tracing::error!(target: "cnirt::pod", pod = rt.container_id, network = list.name, %error, "error deleting pod from network");
        })
    }
}

/// The path, or empty where there is no namespace (any more): plugins then remove what they can without it.
fn usable_netns(path: &str) -> String {
    if netns::is_netns(Path::new(path)) { path.to_owned() } else { String::new() }
}

/// What the loopback is told: the names, and the namespace.
fn loopback_rt(request: &PodRequest, given: Option<&str>, entries: &[CacheEntry]) -> RuntimeConf {
    let recorded = entries.first().map(recorded_rt).unwrap_or_default();
    let netns = usable_netns(given.unwrap_or(&recorded.netns));
    RuntimeConf { container_id: request.id.to_string(), netns, ..recorded }
}

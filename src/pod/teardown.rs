//! Teardown: from what was recorded, else from the configuration; every network is tried.

use std::path::Path;

use crate::call::Call;
use crate::conf::{NetworkConfigList, load_network_conf};
use crate::error::{Error, ErrorClass, Result};
use crate::names::IfName;
use crate::netns;
use crate::network::{DelPolicy, RuntimeConf};
use crate::pod::cni::{CniNetworkPlugin, self_contained};
use crate::pod::list::{recorded_rt, take_meant};
use crate::pod::runtime_conf::PodFacts;
use crate::pod::{NetworkChoice, NetworkName, NetworkRequest, PodAttachments, PodRequest, loopback};
use crate::store::{CacheEntry, Key};

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
                let chosen = take_meant(&mut left, network, name.as_deref());
                if chosen.is_empty() {
                    keep(self.unrecorded(call, request, Some(network), given, index));
                }
                for entry in chosen {
                    keep(self.recorded(&entry, given).map(Some));
                }
            }
            return (removals, errors);
        }
        let broken = self.cni.cache(&RuntimeConf::default()).broken(&request.id).unwrap_or_else(|error| {
            keep(Err(error));
            Vec::new()
        });
        if entries.is_empty() && broken.is_empty() {
            keep(self.unrecorded(call, request, None, given, 0));
        }
        for key in broken.iter().filter(|key| key.network.as_str() != loopback::NETWORK) {
            keep(self.broken(call, request, key, given));
        }
        for entry in entries {
            keep(self.recorded(&entry, given).map(Some));
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
        rt.netns = usable_netns([given.unwrap_or_default(), &entry.netns]);
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
            NetworkChoice::Name(name) => self.configured(name)?,
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
        let rt = self.facts(request, given).build_runtime_conf(&list, network, &if_name, index == 0)?;
        Ok(Some(Removal { list, rt }))
    }

    /// An attachment whose entry cannot be read: with the configuration as it is now. Without one there is nothing to do
    /// it with; the entry stays for the day when there is.
    fn broken(&self, call: &Call, request: &PodRequest, key: &Key, given: Option<&str>) -> Result<Option<Removal>> {
        let network = key.network.as_str();
        let default = self.configuration(call)?.default.clone().filter(|default| default.list.name == network);
        let list = match default {
            Some(default) => Some(default.list.clone()),
            None => self.configured(network)?,
        };
        let Some(list) = list else {
            tracing::warn!(target: "cnirt::pod", pod = %request.id, network, "a cache entry cannot be read, and there is no configuration of its network");
            return Ok(None);
        };
        let rt = self.facts(request, given).build_runtime_conf(&list, None, &key.if_name, false)?;
        Ok(Some(Removal { list, rt }))
    }

    /// The network of this name in the directory; `None` where there is none.
    fn configured(&self, network: &str) -> Result<Option<NetworkConfigList>> {
        match load_network_conf(&self.options.conf_dir, network) {
            Ok(list) => Ok(Some(self_contained(list))),
            Err(error) if error.class() == ErrorClass::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn facts<'a>(&self, request: &'a PodRequest, given: Option<&str>) -> PodFacts<'a> {
        PodFacts {
            request,
            netns: usable_netns([given.unwrap_or_default()]),
            port_mappings: request.port_mappings.clone().unwrap_or_default(),
            pod_cidr: self.pod_cidr(),
        }
    }

    /// The kubelet's `deleteFromNetwork`.
    fn delete_from_network(&self, call: &Call, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()> {
        self.cni.del(call, list, rt, DelPolicy { gone_is_done: true }).inspect_err(|error| {
            tracing::error!(target: "cnirt::pod", pod = rt.container_id, network = list.name, %error, "error deleting pod from network");
        })
    }
}

/// The first of these paths that is a namespace, or empty: plugins then remove what they can without it.
fn usable_netns<'a>(paths: impl IntoIterator<Item = &'a str>) -> String {
    let mut usable = paths.into_iter().filter(|path| netns::is_netns(Path::new(path)));
    usable.next().unwrap_or_default().to_owned()
}

/// What the loopback is told: the names, and the namespace.
fn loopback_rt(request: &PodRequest, given: Option<&str>, entries: &[CacheEntry]) -> RuntimeConf {
    let recorded = entries.first().map(recorded_rt).unwrap_or_default();
    let netns = usable_netns([given.unwrap_or_default(), &recorded.netns]);
    RuntimeConf { container_id: request.id.to_string(), netns, ..recorded }
}

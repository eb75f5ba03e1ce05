//! Teardown: from what was recorded, else from the configuration; every network is tried.

use crate::call::Call;
use crate::conf::{NetworkConfigList, load_network_conf};
use crate::error::{Error, ErrorClass, Result};
use crate::names::IfName;
use crate::network::Unfinished;
use crate::pod::attached::{Attached, Removal, Removals, is_meant, take_meant, usable_netns};
use crate::pod::cni::{CniNetworkPlugin, self_contained};
use crate::pod::runtime_conf::PodFacts;
use crate::pod::{NetworkChoice, NetworkRequest, PodAttachments, PodRequest, loopback};
use crate::store::{Key, Recorded};

impl CniNetworkPlugin {
    /// The kubelet's `TearDownPod`. Needs no ready configuration and no namespace.
    pub(super) fn tear_down(&self, call: &Call, request: &PodRequest) -> Result<PodAttachments> {
        let given = self.netns(request).unwrap_or_else(|error| {
            tracing::debug!(target: "cnirt::pod", pod = %request.id, %error, "teardown goes on without a namespace");
            None
        });
        let (call, _locked) = self.lock_on_full_disk(call, &request.id, "teardown_pod")?;
        let recorded = match self.intents().read(&request.id) {
            Err(error) if request.force => Recorded::Torn(error),
            recorded => recorded?,
        };
        if !matches!(recorded, Recorded::Nothing) {
            // Who did not end had the next entry's file open.
            self.cache().sweep_behind_the_dead(&call);
        }
        let (attached, broken) = self.attached(&request.id, &recorded, request.force)?;
        let loopback = loopback::rt(&request.id, given.as_deref(), attached.first().map(|attached| &attached.entry));
        let removals = self.removals(&call, request, given.as_deref(), &recorded, attached, broken);
        let removed = match (&recorded, &request.networks) {
            // It may be about other networks, too.
            (Recorded::Torn(_), Some(_)) if !request.force => self.remove_some(&call, removals, false),
            _ => self.remove_all(&call, &request.id, &recorded, removals, request.force),
        };
        let nothing_left = || -> Result<bool> {
            let (entries, broken) = self.known(&request.id, true)?;
            let intent = self.intents().read(&request.id)?;
            Ok(matches!(intent, Recorded::Nothing) && entries.is_empty() && broken.is_empty())
        };
        // A pod that keeps a network keeps its loopback.
        if (removed.errors.is_empty() || request.force) && nothing_left()? {
            let unfinished = matches!(&recorded, Recorded::Intent(intent) if intent.loopback);
            self.del_loopback(&call, &loopback, unfinished);
        }
        let mut answer = PodAttachments { pod: request.identity(), networks: removed.names, errors: Vec::new() };
        if request.force && removed.all && !call.cancel.is_cancelled() {
            let (left, _) = self.attached(&request.id, &self.intents().read(&request.id)?, true)?;
            if !left.iter().any(|attached| removed.done.contains(&attached.entry.key)) {
                answer.errors = removed.errors.iter().map(Error::to_json).collect();
                return Ok(answer);
            }
        }
        Error::joined(removed.errors).map_or(Ok(answer), Err)
    }

    /// What to remove: the request's networks, else all recorded ones, else the default network.
    fn removals(
        &self,
        call: &Call,
        request: &PodRequest,
        given: Option<&str>,
        recorded: &Recorded,
        attached: Vec<Attached>,
        mut broken: Vec<Key>,
    ) -> Removals {
        let mut to_do = Removals::default();
        // What a set-up that left a torn intent had begun.
        let torn = matches!(recorded, Recorded::Torn(_));
        let unrecorded = |network: Option<&NetworkRequest>, index| {
            let removal = self.unrecorded(call, request, network, given, index)?;
            Ok(removal.map(|removal| Removal { unfinished: torn.then(Unfinished::default), ..removal }))
        };
        if let Some(networks) = &request.networks {
            let mut left = attached;
            for (index, network) in networks.iter().enumerate() {
                let name = match self.network_name(call, network) {
                    Ok(name) => name,
                    Err(error) => {
                        to_do.errors.push(error.context(format!("networks[{index}]")));
                        continue;
                    }
                };
                let chosen = take_meant(&mut left, network, name.as_deref());
                let meant = |key: &mut Key| is_meant(key, network.if_name.as_ref(), name.as_deref());
                let in_pieces: Vec<_> = broken.extract_if(.., meant).collect();
                if chosen.is_empty() && in_pieces.is_empty() {
                    to_do.add(unrecorded(Some(network), index));
                }
                for key in in_pieces {
                    to_do.add(self.broken(call, request, &key, given));
                }
                for attached in chosen {
                    self.add_attached(&mut to_do, request, &attached, given);
                }
            }
            return to_do;
        }
        if torn || attached.is_empty() && broken.is_empty() {
            let mut removal = unrecorded(None, 0);
            if let Ok(Some(default)) = &removal
                && attached.iter().any(|attached| Some(&attached.entry.key) == default.key.as_ref())
            {
                removal = Ok(None);
            }
            to_do.add(removal);
        }
        for key in broken {
            to_do.add(self.broken(call, request, &key, given));
        }
        for attached in attached {
            self.add_attached(&mut to_do, request, &attached, given);
        }
        to_do
    }

    fn add_attached(&self, to_do: &mut Removals, request: &PodRequest, attached: &Attached, given: Option<&str>) {
        let removal = self.removal(attached, given, Some(request));
        if removal.is_err() && request.force {
            to_do.to_forget.push(attached.entry.key.clone());
        }
        to_do.add(removal.map(Some));
    }

    /// The name behind a requested network; `None` where nothing of that kind is configured.
    pub(super) fn network_name(&self, call: &Call, network: &NetworkRequest) -> Result<Option<String>> {
        Ok(match &network.choice {
            NetworkChoice::Name(name) => Some(name.clone()),
            NetworkChoice::Config(list) => Some(list.name.clone()),
            NetworkChoice::Default => {
                self.configuration(call)?.default.as_ref().map(|network| network.list.name.clone())
            }
        })
    }

    /// An attachment that nothing is recorded of, with the configuration as it is now; `None` where there is none.
    pub(super) fn unrecorded(
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
        let key = Key::parse(&list.name, request.id.as_str(), if_name.as_str()).ok();
        Ok(Some(Removal { list, rt, unfinished: None, key, now: None }))
    }

    /// An attachment whose entry cannot be read: with the configuration as it is now. Without one there is nothing to do
    /// it with; the entry stays for the day when there is, unless forced.
    fn broken(&self, call: &Call, request: &PodRequest, key: &Key, given: Option<&str>) -> Result<Option<Removal>> {
        let network = key.network.as_str();
        let default = self.configuration(call)?.default.clone().filter(|default| default.list.name == network);
        let list = match default {
            Some(default) => Some(default.list.clone()),
            None => self.configured(network)?,
        };
        let Some(list) = list else {
            if request.force {
                return self.cache().remove(key).map(|()| None);
            }
            tracing::warn!(target: "cnirt::pod", pod = %request.id, network, "a cache entry cannot be read, and there is no configuration of its network");
            return Ok(None);
        };
        let rt = self.facts(request, given).build_runtime_conf(&list, None, &key.if_name, false)?;
        Ok(Some(Removal { list, rt, unfinished: None, key: Some(key.clone()), now: None }))
    }

    /// The network of this name in the directory; `None` where there is none.
    pub(super) fn configured(&self, network: &str) -> Result<Option<NetworkConfigList>> {
        match load_network_conf(&self.options.conf_dir, network) {
            Ok(list) => Ok(Some(self_contained(list))),
            Err(error) if error.class() == ErrorClass::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn facts<'a>(&self, request: &'a PodRequest, given: Option<&str>) -> PodFacts<'a> {
        PodFacts {
            request,
            netns: usable_netns(given).unwrap_or_default(),
            netns_id: None,
            port_mappings: request.port_mappings.clone().unwrap_or_default(),
            pod_cidr: self.pod_cidr(),
        }
    }
}

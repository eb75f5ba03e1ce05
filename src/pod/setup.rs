//! Set-up: plan the attachments, make them in order, undo all of them where one fails.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::call::Call;
use crate::conf::{NetworkConfigList, load_network_conf};
use crate::error::{Error, ErrorClass, Result, Rollback};
use crate::names::{ContainerId, IfName};
use crate::network::{AddFailure, RuntimeConf, Unfinished, netns_id};
use crate::pod::attached::{Attached, Removals, cannot_be_undone, is_meant};
use crate::pod::cni::{CniNetworkPlugin, pod_for_host, self_contained};
use crate::pod::request::port_mappings_from_json;
use crate::pod::runtime_conf::PodFacts;
use crate::pod::{IpPreference, NetworkChoice, NetworkName, NetworkRequest, NetworkResult, PodRequest, PodResult};
use crate::result::CniResult;
use crate::store::{CacheEntry, Cached, Intended, Intent, Key, Progress};
use crate::version::SpecVersion;

/// One attachment that a set-up will make.
struct Attachment {
    list: NetworkConfigList,
    if_name: IfName,
    rt: RuntimeConf,
}

impl Attachment {
    fn name(&self) -> NetworkName {
        NetworkName { network: self.list.name.clone(), if_name: self.if_name.to_string() }
    }

    fn key(&self) -> Result<Key> {
        Key::parse(&self.list.name, &self.rt.container_id, self.if_name.as_str())
    }
}

/// What the pod has, and keeps.
struct Taken {
    /// The interfaces of its attachments.
    if_names: BTreeSet<IfName>,
    /// The attachments whose entries cannot be read.
    broken: Vec<Key>,
}

impl Taken {
    /// Whether the interface may be that of another network, whose entry cannot be read.
    fn has_broken(&self, network: &str, if_name: &IfName) -> bool {
        self.broken.iter().any(|key| key.network.as_str() != network && key.if_name == *if_name)
    }
}

/// How far a set-up is.
struct Made {
    /// Of the attachments that are made, in order.
    results: Vec<CniResult>,
    /// Whether there is a loopback to undo.
    loopback: bool,
}

impl CniNetworkPlugin {
    /// The kubelet's `SetUpPod`, for any number of networks.
    pub(super) fn set_up(&self, call: &Call, request: &PodRequest) -> Result<PodResult> {
        let netns = self.netns(request)?.ok_or_else(|| {
            let error = Error::invalid("pod request: missing key \"netns\"");
            error.with_hint("give the path of the pod's network namespace, or a callback get_netns")
        })?;
        let facts = PodFacts {
            request,
            netns_id: Some(netns_id(&netns)?),
            netns,
            port_mappings: self.port_mappings(request)?,
            pod_cidr: self.pod_cidr(),
        };
        let (call, _locked) = self.lock(call, &request.id, "setup_pod")?;
        let call = &call;
        let torn = self.recover(call, request)?;
        let (known, broken) = self.known(&request.id, false)?;
        let in_the_way = if request.replace { self.in_the_way(call, request, &known)? } else { BTreeSet::new() };
        let (replaced, kept): (Vec<_>, Vec<_>) = known.into_iter().partition(|entry| in_the_way.contains(&entry.key));
        let taken = Taken { if_names: kept.into_iter().map(|entry| entry.key.if_name).collect(), broken };
        let attachments = self.plan(call, &facts, &taken)?;
        let mut in_pieces = Vec::new();
        for attachment in &attachments {
            let Attachment { list, rt, .. } = attachment;
            if self.refuse_existing(attachment, &taken, &in_the_way, request.replace)? {
                in_pieces.push(attachment);
            }
            drop(self.cache().prepare(&attachment.key()?)?);
            // One that is missing is found before the others run; an intent then says that all were there.
            self.cni.find_plugins(call, list, rt)?;
        }
        self.make_room(call, request, replaced)?;
        for attachment in if torn { attachments.iter().collect() } else { in_pieces } {
            self.clear(call, &request.id, &attachment.list, &attachment.rt)?;
        }
        if torn {
            self.clear_default(call, request, &attachments)?;
            self.intents().remove(&request.id)?;
        }
        let loopback = self.options.loopback && taken.if_names.is_empty() && taken.broken.is_empty();
        self.attach_all(call, &request.id, &facts.pod_conf(), &attachments, loopback).map(|results| {
            let networks = attachments.iter().zip(&results);
            let networks = networks
                .map(|(attachment, result)| NetworkResult { name: attachment.name(), result: result.to_value() });
            let first = attachments.first().zip(results.first());
            let ips =
                first.map(|(attachment, result)| result.addresses(attachment.if_name.as_str())).unwrap_or_default();
            PodResult { pod: request.identity(), ips: self.in_preferred_order(ips), networks: networks.collect() }
        })
    }

    /// The request's port mappings, or what the host says.
    fn port_mappings(&self, request: &PodRequest) -> Result<Vec<crate::pod::PortMapping>> {
        if let Some(mappings) = &request.port_mappings {
            return Ok(mappings.clone());
        }
        let asked = self.host.as_ref().and_then(|host| host.get_pod_port_mappings(&pod_for_host(request)));
        match asked.transpose().map_err(|error| error.context("could not retrieve port mappings"))? {
            Some(text) if !text.is_empty() => port_mappings_from_json(&text),
            _ => Ok(Vec::new()),
        }
    }

    /// Which networks on which interfaces. Nothing has run yet, but the plugins of a default network that changed.
    fn plan(&self, call: &Call, facts: &PodFacts<'_>, taken: &Taken) -> Result<Vec<Attachment>> {
        let request = facts.request;
        let default_if_name = || request.if_name.clone().unwrap_or_else(|| self.options.if_name.clone());
        let Some(networks) = &request.networks else {
            let list = self.default_list(call)?;
            let if_name = default_if_name();
            let rt = facts.build_runtime_conf(&list, None, &if_name, true)?;
            return Ok(vec![Attachment { list, if_name, rt }]);
        };
        let explicit = |network| explicit_if_name(request, network);
        let mut used = taken.if_names.clone();
        for network in networks {
            if let Some(if_name) = explicit(network).filter(|if_name| !taken.if_names.contains(if_name))
                && !used.insert(if_name.clone())
            {
                let words = format!("pod request, key \"networks\": the interface {if_name} is given twice");
                return Err(Error::invalid(words));
            }
        }
        let mut attachments = Vec::with_capacity(networks.len());
        for (index, network) in networks.iter().enumerate() {
            let list = self.list_of(call, network).map_err(|error| error.context(format!("networks[{index}]")))?;
            let if_name = match explicit(network) {
                Some(if_name) => if_name,
                None => first_free(&mut used, |if_name| taken.has_broken(&list.name, if_name))?,
            };
            let rt = facts.build_runtime_conf(&list, Some(network), &if_name, index == 0)?;
            attachments.push(Attachment { list, if_name, rt });
        }
        Ok(attachments)
    }

    fn default_list(&self, call: &Call) -> Result<NetworkConfigList> {
        let loaded = self.configuration(call)?;
        Ok(self.ready_network(&loaded)?.list.clone())
    }

    fn list_of(&self, call: &Call, network: &NetworkRequest) -> Result<NetworkConfigList> {
        let list = match &network.choice {
            NetworkChoice::Default => self.default_list(call)?,
            NetworkChoice::Name(name) => self_contained(load_network_conf(&self.options.conf_dir, name)?),
            NetworkChoice::Config(list) => list.as_ref().clone(),
        };
        crate::names::NetworkName::parse(&list.name)?;
        // ADD alone would not look at it, and no DEL could ever be sent.
        SpecVersion::parse(&list.cni_version)
            .map_err(|error| error.context("cniVersion").with_network(&list.name, "", ""))?;
        if network.args.is_empty() { Ok(list) } else { list.with_args(&network.args) }
    }

    /// `replace`: what is attached of the requested networks, and whatever has one of their interfaces.
    fn in_the_way(&self, call: &Call, request: &PodRequest, known: &[CacheEntry]) -> Result<BTreeSet<Key>> {
        let mut keys = BTreeSet::new();
        let mut add = |is_in_the_way: &dyn Fn(&Key) -> bool| {
            keys.extend(known.iter().map(|entry| &entry.key).filter(|key| is_in_the_way(key)).cloned());
        };
        let Some(networks) = &request.networks else {
            let if_name = request.if_name.as_ref().unwrap_or(&self.options.if_name);
            add(&|key| key.if_name == *if_name);
            return Ok(keys);
        };
        for network in networks {
            let name = self.network_name(call, network)?;
            let if_name = explicit_if_name(request, network);
            add(&|key| is_meant(key, if_name.as_ref(), name.as_deref()) || if_name.as_ref() == Some(&key.if_name));
        }
        Ok(keys)
    }

    /// Removes what is to be replaced. The request's namespace may be a new one.
    fn make_room(&self, call: &Call, request: &PodRequest, replaced: Vec<CacheEntry>) -> Result<()> {
        let attached = replaced.into_iter().map(|entry| Attached { entry, unfinished: None });
        let list = attached.map(|attached| self.removal(&attached, None, None)).collect::<Result<_>>()?;
        let removals = Removals { list, ..Removals::default() };
        let removed = self.remove_some(call, removals, false);
        match Error::joined(removed.errors) {
            Some(error) => Err(error.context(format!("cannot replace what pod {} has", request.id))),
            None => Ok(()),
        }
    }

    /// A second ADD on the same interface would fail, and undoing it would take the first one away. Answers true where
    /// there is an entry to undo first: one that cannot be read, as some runtime died while it was made, or a bare result
    /// that is to be replaced.
    fn refuse_existing(
        &self,
        attachment: &Attachment,
        taken: &Taken,
        in_the_way: &BTreeSet<Key>,
        replace: bool,
    ) -> Result<bool> {
        let Attachment { list, if_name, rt } = attachment;
        let key = attachment.key()?;
        if in_the_way.contains(&key) {
            return Ok(false);
        }
        let is_free = !taken.if_names.contains(if_name) && !taken.has_broken(&list.name, if_name);
        match self.cache().get(&key) {
            Cached::Missing if is_free => return Ok(false),
            Cached::Legacy(_) if is_free && replace => return Ok(true),
            Cached::Unreadable(error) if error.os_error().is_some() => return Err(error),
            Cached::Unreadable(error) if is_free => {
                tracing::warn!(target: "cnirt::pod", pod = rt.container_id, network = list.name, %error, "deleting what an earlier set-up left");
                return Ok(true);
            }
            _ => {}
        }
        let words = format!("pod {} is attached already on interface {if_name}", rt.container_id);
        let hint = "tear the pod down first, or set the key \"replace\"";
        let error = Error::new(ErrorClass::Exists, words).with_hint(hint);
        Err(error.with_network(&list.name, if_name.as_str(), &list.cni_version))
    }

    /// Undoes whatever an earlier set-up of the pod made of this network.
    fn clear(&self, call: &Call, pod: &ContainerId, list: &NetworkConfigList, rt: &RuntimeConf) -> Result<()> {
        let errors = self.cni.undo(call, list, rt, &Unfinished::default());
        Error::joined(errors).map_or(Ok(()), |error| Err(cannot_be_undone(pod, error)))
    }

    /// A torn intent was most probably about the default network: undoes that, where it is not among `attachments`.
    fn clear_default(&self, call: &Call, request: &PodRequest, attachments: &[Attachment]) -> Result<()> {
        let Some(default) = self.unrecorded(call, request, None, None, 0)? else { return Ok(()) };
        if attachments.iter().any(|attachment| attachment.key().ok() == default.key) {
            return Ok(());
        }
        self.clear(call, &request.id, &default.list, &default.rt)
    }

    fn intended(&self, attachment: &Attachment) -> Result<Intended> {
        let entry = self.cni.entry(attachment.key()?, &attachment.list, &attachment.rt);
        Ok(Intended { entry, started: None, refused: false })
    }

    /// Loopback first, then the networks in order; undone in reverse where one fails.
    fn attach_all(
        &self,
        call: &Call,
        id: &ContainerId,
        pod: &RuntimeConf,
        attachments: &[Attachment],
        loopback: bool,
    ) -> Result<Vec<CniResult>> {
        if attachments.is_empty() && (self.options.builtin.loopback || !self.options.loopback) {
            // No intent: all that a killed set-up could leave is an lo that is up, in the pod's own namespace.
            return match self.add_loopback(call, pod) {
                Ok(_) => Ok(Vec::new()),
                Err(error) if self.options.rollback => {
                    Err(error.with_rollback(Rollback { done: true, errors: Vec::new() }))
                }
                Err(error) => Err(error),
            };
        }
        let intended = attachments.iter().map(|attachment| self.intended(attachment));
        let intent = Intent {
            container_id: id.clone(),
            loopback,
            owner: Some(self.options.owner.clone()),
            of_earlier_boot: false,
            attachments: intended.collect::<Result<_>>()?,
        };
        let mut progress = self.intents().begin(&intent)?;
        let mut made = Made { results: Vec::with_capacity(attachments.len()), loopback: false };
        match self.attach(call, id, pod, attachments, &mut progress, &mut made) {
            Ok(()) => Ok(made.results),
            Err(failure) => {
                let rollback = self.undo_all(call, intent, pod, attachments, &failure.unfinished, &made);
                Err(if self.options.rollback { failure.error.with_rollback(rollback) } else { failure.error })
            }
        }
    }

    fn attach(
        &self,
        call: &Call,
        id: &ContainerId,
        pod: &RuntimeConf,
        attachments: &[Attachment],
        progress: &mut Progress,
        made: &mut Made,
    ) -> Result<(), Box<AddFailure>> {
        let at_no_network = |error| {
            let unfinished = Unfinished { started: Some(0), ..Unfinished::default() };
            Box::new(AddFailure { error, unfinished })
        };
        made.loopback = self.add_loopback(call, pod).map_err(at_no_network)?;
        for (index, attachment) in attachments.iter().enumerate() {
            let result = self.add_to_network(call, attachment, &mut |started, result| {
                progress.note(index, started, result.map(CniResult::to_value).as_ref())
            })?;
            made.results.push(result);
        }
        self.intents().remove(id).map_err(at_no_network)
    }

    /// The kubelet's `addToNetwork`.
    fn add_to_network(
        &self,
        call: &Call,
        attachment: &Attachment,
        note: &mut dyn FnMut(usize, Option<&CniResult>) -> Result<()>,
    ) -> Result<CniResult, Box<AddFailure>> {
        let Attachment { list, rt, .. } = attachment;
        self.cni.try_add(call, list, rt, note).inspect_err(|failure| {
            let pod = &rt.container_id;
            tracing::error!(target: "cnirt::pod", pod, network = list.name, error = %failure.error, "error adding pod to network");
        })
    }

    /// Undoes what was made and the attachment behind it, which failed. What cannot be undone, or is not to be, stays in
    /// the intent.
    fn undo_all(
        &self,
        call: &Call,
        mut intent: Intent,
        pod: &RuntimeConf,
        attachments: &[Attachment],
        failed: &Unfinished,
        made: &Made,
    ) -> Rollback {
        let call = call.for_rollback(self.options.rollback_timeout);
        let made_whole = attachments.iter().zip(&made.results);
        let made_whole = made_whole.map(|(attachment, result)| {
            let started = Some(attachment.list.plugins.len());
            (attachment, Unfinished { started, last_result: Some(result.clone()), refused: false })
        });
        let begun = attachments.get(made.results.len()).filter(|_| failed.started != Some(0));
        let begun: Vec<_> = made_whole.chain(begun.map(|attachment| (attachment, failed.clone()))).collect();
        let (mut errors, mut left) = (Vec::new(), Vec::new());
        for (index, (attachment, unfinished)) in begun.into_iter().enumerate().rev() {
            let Attachment { list, rt, .. } = attachment;
            let call = call.share(index > 0);
            let mut rt = rt.clone();
            // The pod may have died since, and its path be another's.
            if netns_id(&rt.netns).map_or_else(|error| error.class() == ErrorClass::Netns, |id| Some(id) != rt.netns_id)
            {
                rt.netns.clear();
            }
            let failed = if self.options.rollback { self.cni.undo(&call, list, &rt, &unfinished) } else { Vec::new() };
            if !self.options.rollback || !failed.is_empty() {
                let mut intended = self.intended(attachment);
                if let Ok(intended) = &mut intended {
                    (intended.started, intended.refused) = (unfinished.started, unfinished.refused);
                    intended.entry.result = unfinished.last_result.map(|result| result.to_value());
                }
                left.extend(intended);
            }
            errors.extend(failed);
        }
        if self.options.rollback && made.loopback && intent.loopback {
            self.del_loopback(&call, pod, false);
        }
        left.reverse();
        intent.attachments = left;
        let settled = if intent.attachments.is_empty() && (self.options.rollback || !made.loopback) {
            self.intents().remove(&intent.container_id)
        } else {
            self.intents().keep(&intent)
        };
        errors.extend(settled.err());
        for error in &errors {
            tracing::error!(target: "cnirt::pod", %error, "undoing a failed set-up left something behind");
        }
        Rollback { done: errors.is_empty(), errors }
    }

    /// `ips` sorted by the option `ipPreference`; within a family the order stays.
    pub(super) fn in_preferred_order(&self, mut ips: Vec<IpAddr>) -> Vec<IpAddr> {
        match self.options.ip_preference {
            IpPreference::Cni => {}
            IpPreference::Ipv4 => ips.sort_by_key(IpAddr::is_ipv6),
            IpPreference::Ipv6 => ips.sort_by_key(IpAddr::is_ipv4),
        }
        ips
    }
}

/// The interface that the request gives a network.
fn explicit_if_name(request: &PodRequest, network: &NetworkRequest) -> Option<IfName> {
    match (&network.if_name, &network.choice) {
        (None, NetworkChoice::Default) => request.if_name.clone(),
        (given, _) => given.clone(),
    }
}

/// The first `ethN` that nobody uses.
fn first_free(used: &mut BTreeSet<IfName>, is_taken: impl Fn(&IfName) -> bool) -> Result<IfName> {
    for number in 0u32.. {
        let name = IfName::parse(format!("eth{number}"))?;
        if !is_taken(&name) && used.insert(name.clone()) {
            return Ok(name);
        }
    }
    Err(Error::invalid("no interface name is left"))
}

//! Set-up: plan the attachments, make them in order, undo all of them where one fails.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use crate::call::Call;
use crate::conf::{NetworkConfigList, load_network_conf};
use crate::error::{Error, ErrorClass, Result, Rollback};
use crate::names::IfName;
use crate::netns;
use crate::network::{AddFailure, DelPolicy, RuntimeConf};
use crate::pod::cni::{CniNetworkPlugin, pod_for_host, self_contained};
use crate::pod::request::port_mappings_from_json;
use crate::pod::runtime_conf::PodFacts;
use crate::pod::{IpPreference, NetworkChoice, NetworkName, NetworkRequest, NetworkResult, PodRequest, PodResult};
use crate::result::CniResult;
use crate::store::{Cached, Key};
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
}

impl CniNetworkPlugin {
    /// The kubelet's `SetUpPod`, for any number of networks.
    pub(super) fn set_up(&self, call: &Call, request: &PodRequest) -> Result<PodResult> {
        let netns = self.netns(request)?.ok_or_else(|| {
            let error = Error::invalid("pod request: missing key \"netns\"");
            error.with_hint("give the path of the pod's network namespace, or a callback get_netns")
        })?;
        netns::open(Path::new(&netns))?;
        let facts = PodFacts { request, netns, port_mappings: self.port_mappings(request)?, pod_cidr: self.pod_cidr() };
        let known = self.known_attachments(&request.id)?;
        let taken: BTreeSet<IfName> = known.into_iter().map(|entry| entry.key.if_name).collect();
        let attachments = self.plan(call, &facts, &taken)?;
        for attachment in &attachments {
            self.refuse_existing(attachment, &taken)?;
        }
        let first_of_pod = taken.is_empty();
        self.attach_all(call, &facts.pod_conf(), &attachments, first_of_pod).map(|results| {
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
    fn plan(&self, call: &Call, facts: &PodFacts<'_>, taken: &BTreeSet<IfName>) -> Result<Vec<Attachment>> {
        let request = facts.request;
        let default_if_name = || request.if_name.clone().unwrap_or_else(|| self.options.if_name.clone());
        let Some(networks) = &request.networks else {
            let list = self.default_list(call)?;
            let if_name = default_if_name();
            let rt = facts.build_runtime_conf(&list, None, &if_name, true)?;
            return Ok(vec![Attachment { list, if_name, rt }]);
        };
        let explicit = |network: &NetworkRequest| match (&network.if_name, &network.choice) {
            (None, NetworkChoice::Default) if request.if_name.is_some() => request.if_name.clone(),
            (given, _) => given.clone(),
        };
        let mut used = taken.clone();
        for network in networks {
            if let Some(if_name) = explicit(network).filter(|if_name| !taken.contains(if_name))
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
                None => first_free(&mut used)?,
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

    /// A second ADD on the same interface would fail, and undoing it would take the first one away.
    fn refuse_existing(&self, attachment: &Attachment, taken: &BTreeSet<IfName>) -> Result<()> {
        let Attachment { list, if_name, rt } = attachment;
        let key = Key::parse(&list.name, &rt.container_id, if_name.as_str())?;
        let cached = self.cni.cache(rt).get(&key);
        match cached {
            Cached::Missing if !taken.contains(if_name) => return Ok(()),
            Cached::Unreadable(error) if error.class() == ErrorClass::Io => return Err(error),
            _ => {}
        }
        let words = format!("pod {} is attached already on interface {if_name}", rt.container_id);
        let error = Error::new(ErrorClass::Exists, words).with_hint("tear the pod down first");
        Err(error.with_network(&list.name, if_name.as_str(), &list.cni_version))
    }

    /// Loopback first, then the networks in order; undone in reverse where one fails.
    fn attach_all(
        &self,
        call: &Call,
        pod: &RuntimeConf,
        attachments: &[Attachment],
        first_of_pod: bool,
    ) -> Result<Vec<CniResult>> {
        let loopback = self.add_loopback(call, pod)? && first_of_pod;
        let mut results = Vec::with_capacity(attachments.len());
        for (index, attachment) in attachments.iter().enumerate() {
            match self.add_to_network(call, attachment) {
                Ok(result) => results.push(result),
                Err(failure) if self.options.rollback => {
                    let rollback = self.undo_all(call, &attachments[..=index], &failure, loopback);
                    return Err(failure.error.with_rollback(rollback));
                }
                Err(failure) => return Err(failure.error),
            }
        }
        Ok(results)
    }

    /// The kubelet's `addToNetwork`.
    fn add_to_network(&self, call: &Call, attachment: &Attachment) -> Result<CniResult, Box<AddFailure>> {
        let Attachment { list, rt, .. } = attachment;
        self.cni.try_add(call, list, rt).inspect_err(|failure| {
            let pod = &rt.container_id;
            tracing::error!(target: "cnirt::pod", pod, network = list.name, error = %failure.error, "error adding pod to network");
        })
    }

    /// Undoes the last of `attachments`, which failed, and all before it.
    fn undo_all(&self, call: &Call, attachments: &[Attachment], failure: &AddFailure, loopback: bool) -> Rollback {
        let call = call.for_rollback(self.options.rollback_timeout);
        let mut errors = Vec::new();
        if let Some((failed, made)) = attachments.split_last() {
            errors.extend(self.cni.undo(&call, &failed.list, &failed.rt, failure));
            for attachment in made.iter().rev() {
                let policy = DelPolicy { gone_is_done: true };
                errors.extend(self.cni.del(&call, &attachment.list, &attachment.rt, policy).err());
            }
            if loopback {
                self.del_loopback(&call, &failed.rt);
            }
        }
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

/// The first `ethN` that nobody uses.
fn first_free(used: &mut BTreeSet<IfName>) -> Result<IfName> {
    for number in 0u32.. {
        let name = IfName::parse(format!("eth{number}"))?;
        if used.insert(name.clone()) {
            return Ok(name);
        }
    }
    Err(Error::invalid("no interface name is left"))
}

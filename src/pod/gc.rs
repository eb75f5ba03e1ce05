//! GC of a node: attachments of pods that are gone are deleted, then the plugins are told what is left.
//!
//! Only what this owner made is deleted; what others made, or nobody says who, is passed on as valid.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::call::Call;
use crate::conf::NetworkConfigList;
use crate::error::{Error, ErrorClass, Result};
use crate::json::Object;
use crate::names::{self, ContainerId, IfName};
use crate::network::{Cni, CniConfig, GcArgs, GcAttachment};
use crate::pod::attached::{Attached, Removals, Removed};
use crate::pod::cni::CniNetworkPlugin;
use crate::pod::{Collected, CollectedNetwork, NetworkName, loopback};
use crate::store::{CacheEntry, Key, Locked, Recorded, Stamp};

const OPERATION: &str = "plugin_gc";

/// What GC keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcRequest {
    /// `validPods`: the pods that are there, with those of their attachments that are in use; `None`: all of them.
    pub valid_pods: BTreeMap<ContainerId, Option<Vec<NetworkName>>>,
    /// `timeoutMs`: the limit of this call; else the option's.
    pub timeout: Option<Duration>,
    /// `callId`: the caller's name for this call.
    pub call_id: Option<String>,
}

impl GcRequest {
    /// Reads a request's JSON; every refusal names the key.
    pub fn from_json(text: &str) -> Result<Self> {
        Object::parse("GC request", text)?.read(|object| {
            let pods = object.optional_objects("validPods", read_pod)?.ok_or_else(|| {
                object.missing("validPods").with_hint("an empty list says that no pod is there, and everything goes")
            })?;
            let mut valid_pods = BTreeMap::new();
            for (id, networks) in pods {
                if valid_pods.insert(id.clone(), networks).is_some() {
                    return Err(object.refused("validPods", format_args!("pod {id} is given twice")));
                }
            }
            let (timeout, call_id) = (object.milliseconds("timeoutMs")?, object.optional("callId")?);
            Ok(Self { valid_pods, timeout, call_id })
        })
    }

    fn keeps(&self, key: &Key) -> bool {
        match self.valid_pods.get(&key.container_id) {
            None => false,
            Some(None) => true,
            Some(Some(networks)) => {
                networks.iter().any(|name| name.network == key.network.as_str() && name.if_name == key.if_name.as_str())
            }
        }
    }
}

fn read_pod(pod: &mut Object) -> Result<(ContainerId, Option<Vec<NetworkName>>)> {
    let id = ContainerId::parse(pod.required::<String>("id")?).map_err(|error| pod.refused("id", error))?;
    let networks = pod.optional_objects("networks", |network| {
        let name = names::NetworkName::parse(network.required::<String>("network")?);
        let name = name.map_err(|error| network.refused("network", error))?;
        let if_name: String = network.required("ifName")?;
        let if_name = IfName::parse(if_name).map_err(|error| network.refused("ifName", error))?;
        Ok(NetworkName { network: name.to_string(), if_name: if_name.to_string() })
    })?;
    Ok((id, networks))
}

/// What was there when GC began.
struct Seen {
    /// The finished attachments of this owner, as they were. One that is made later is nobody's to collect.
    finished: BTreeMap<Key, (CacheEntry, Option<Stamp>)>,
    /// The pods with anything of this owner's, and their networks.
    pods: BTreeMap<ContainerId, BTreeSet<String>>,
    with_intent: BTreeSet<ContainerId>,
    /// Torn intents: nobody knows whose.
    torn: BTreeMap<ContainerId, Error>,
    /// Of what cannot be read just now.
    errors: Vec<Error>,
    /// The networks by name, as configured, else as this owner recorded them. Not those that others alone have: they may
    /// be about to record something, and take no lock of ours.
    networks: BTreeMap<String, NetworkConfigList>,
}

impl Seen {
    /// The pods for which there may be something to do; who works on any other is not waited for.
    fn perhaps_stale(&self, request: &GcRequest) -> Vec<(&ContainerId, &BTreeSet<String>)> {
        let stale = self.finished.keys().filter(|key| !request.keeps(key));
        let with_stale: BTreeSet<&ContainerId> = stale.map(|key| &key.container_id).collect();
        let is_perhaps = |pod| match request.valid_pods.get(pod) {
            None => true,
            Some(None) => false,
            Some(Some(_)) => self.with_intent.contains(pod) || with_stale.contains(pod),
        };
        self.pods.iter().filter(|(pod, _)| is_perhaps(pod)).collect()
    }
}

/// What a GC has done so far.
#[derive(Default)]
struct Done {
    deleted: Vec<CollectedNetwork>,
    errors: Vec<Error>,
}

impl CniNetworkPlugin {
    /// Deletes what no valid pod has, and runs the plugins' own GC. Nothing stops at an error.
    pub(super) fn collect(&self, call: &Call, request: &GcRequest) -> Result<Collected> {
        let mut seen = self.look_around(call)?;
        let mut done = Done { errors: std::mem::take(&mut seen.errors), ..Done::default() };
        for (pod, error) in std::mem::take(&mut seen.torn) {
            if !request.valid_pods.contains_key(&pod) {
                let error = error.context(format_args!("GC does not know whose pod {pod} is"));
                done.errors.push(error.with_hint("tear the pod down"));
            }
        }
        let (mut later, mut hanging) = (Vec::new(), BTreeSet::new());
        for (pod, networks) in seen.perhaps_stale(request) {
            // Where one plugin hangs, it hangs for all pods of its network: these do not take the others' time.
            if !hanging.is_disjoint(networks) {
                later.push(pod);
                continue;
            }
            let call = call.share(true);
            let before = done.errors.len();
            match call.check().and_then(|()| self.cache().locks().try_pod(&call, pod, OPERATION)) {
                Ok(Some(locked)) => self.collect_pod(&call, request, &seen, pod, &locked, &mut done),
                // Those that somebody works on come last: he may hang.
                Ok(None) => later.push(pod),
                Err(error) => done.errors.push(of_pod(pod, error)),
            }
            if done.errors.iter().skip(before).any(|error| error.class() == ErrorClass::Timeout) {
                hanging.extend(networks.iter().cloned());
            }
        }
        for (index, pod) in later.iter().enumerate() {
            // The last part is for the plugins' own GC.
            let call = call.slice(later.len() - index + 1);
            match self.cache().locks().pod(&call, pod, OPERATION) {
                Ok(locked) => self.collect_pod(&call, request, &seen, pod, &locked, &mut done),
                Err(error) => done.errors.push(error),
            }
        }
        if let Err(error) = self.run_plugins_gc(call, request, &seen, &mut done.errors) {
            done.errors.push(error);
        }
        done.errors.extend(self.sweep(call).err());
        match Error::joined(done.errors) {
            Some(error) => Err(error),
            None => Ok(Collected { deleted: done.deleted }),
        }
    }

    /// Removes what killed processes left that holds nothing.
    fn sweep(&self, call: &Call) -> Result<()> {
        for pod in self.intents().abandoned()? {
            let locked = self.cache().locks().try_pod(call, &pod, OPERATION)?;
            if locked.is_some() && matches!(self.intents().read(&pod)?, Recorded::Nothing) {
                self.intents().remove(&pod)?;
            }
        }
        self.cache().locks().sweep()?;
        self.cache().sweep();
        Ok(())
    }

    fn look_around(&self, call: &Call) -> Result<Seen> {
        let owner = Some(self.options.owner.as_str());
        let (mut finished, mut torn) = (BTreeMap::new(), BTreeMap::new());
        let mut pods: BTreeMap<ContainerId, BTreeSet<String>> = BTreeMap::new();
        let mut with_intent = BTreeSet::new();
        let mut networks = BTreeMap::new();
        for file in &self.configuration(call)?.files {
            match &file.list {
                // Of several with one name the first one counts, as everywhere.
                Ok(list) => drop(networks.entry(list.name.clone()).or_insert_with(|| list.clone())),
                Err(error) => {
                    tracing::warn!(target: "cnirt::pod", file = %file.path.display(), %error, "GC passes over a network configuration");
                }
            }
        }
        let mut record = |entry: &CacheEntry| {
            if let Ok(list) = NetworkConfigList::from_any(&entry.config) {
                networks.entry(list.name.clone()).or_insert(list);
            }
        };
        // First the intents: a set-up that ends meanwhile is found among the entries, too.
        let (intents, mut errors) = self.intents().all()?;
        for (pod, recorded) in intents {
            match recorded {
                Recorded::Intent(intent) if intent.owner.as_deref() == owner => {
                    intent.attachments.iter().for_each(|attachment| record(&attachment.entry));
                    with_intent.insert(pod.clone());
                    let networks = intent.attachments.iter().map(|attachment| attachment.entry.key.network.to_string());
                    pods.entry(pod).or_default().extend(networks);
                }
                Recorded::Torn(error) => drop(torn.insert(pod, error)),
                _ => {}
            }
        }
        let (entries, unreadable) = self.cache().scan(None)?;
        errors.extend(unreadable);
        for entry in entries.into_iter().filter(|entry| entry.owner.as_deref() == owner) {
            let networks = pods.entry(entry.key.container_id.clone()).or_default();
            networks.insert(entry.key.network.to_string());
            if !loopback::is_its(&entry.key) {
                record(&entry);
                match self.cache().stamp(&entry.key) {
                    Ok(stamp) => drop(finished.insert(entry.key.clone(), (entry, stamp))),
                    Err(error) => errors.push(error),
                }
            }
        }
        Ok(Seen { finished, pods, with_intent, torn, errors, networks })
    }

    fn collect_pod(
        &self,
        call: &Call,
        request: &GcRequest,
        seen: &Seen,
        pod: &ContainerId,
        locked: &Locked,
        done: &mut Done,
    ) {
        let call = Call { lock: Some(locked.held()), ..call.clone() };
        match self.remove_stale(&call, request, seen, pod) {
            Ok(None) => {}
            Ok(Some(removed)) => {
                let id = pod.to_string();
                let deleted = removed.names.into_iter().map(|name| CollectedNetwork { id: id.clone(), name });
                done.deleted.extend(deleted);
                done.errors.extend(removed.errors.into_iter().map(|error| of_pod(pod, error)));
            }
            Err(error) => done.errors.push(of_pod(pod, error)),
        }
    }

    fn remove_stale(
        &self,
        call: &Call,
        request: &GcRequest,
        seen: &Seen,
        pod: &ContainerId,
    ) -> Result<Option<Removed>> {
        let recorded = self.intents().read(pod)?;
        let (attached, broken) = self.attached(pod, &recorded, false)?;
        let owner = Some(self.options.owner.as_str());
        let is_stale = |attached: &Attached| -> Result<bool> {
            let Attached { entry, unfinished } = attached;
            if entry.owner.as_deref() != owner || request.keeps(&entry.key) {
                return Ok(false);
            }
            Ok(match seen.finished.get(&entry.key) {
                _ if unfinished.is_some() => true,
                Some((seen, stamp)) if seen == entry && may_collect(entry) => {
                    *stamp == self.cache().stamp(&entry.key)?
                }
                _ => false,
            })
        };
        let is_gone = !request.valid_pods.contains_key(pod);
        let mut stale = Removals::default();
        for attached in &attached {
            match is_stale(attached) {
                Ok(true) => stale.add(self.removal(attached, None, None).map(Some)),
                Ok(false) => {}
                Err(error) => stale.errors.push(error),
            }
        }
        for key in broken.iter().filter(|key| seen.finished.contains_key(key) && !request.keeps(key)) {
            let words =
                format!("the entry of network {}, interface {} can no longer be read", key.network, key.if_name);
            stale.errors.push(Error::new(ErrorClass::Cache, words));
        }
        let (is_empty, loopback) = match &recorded {
            // Not ours to end.
            Recorded::Torn(_) => return Ok(None),
            Recorded::Nothing => (false, false),
            // A set-up of no network that did not end.
            Recorded::Intent(intent) => {
                let is_empty = intent.attachments.is_empty() && intent.owner.as_deref() == owner && is_gone;
                (is_empty, intent.loopback)
            }
        };
        let removed = if stale.list.is_empty() && stale.errors.is_empty() && !is_empty {
            None
        } else {
            Some(self.remove_all(call, pod, &recorded, stale, false))
        };
        let left = attached.len() - removed.as_ref().map_or(0, |removed| removed.done.len());
        let nothing_left = left == 0 && matches!(self.intents().read(pod)?, Recorded::Nothing);
        if is_gone && nothing_left && self.owns_loopback(pod, owner)? {
            let first = attached.first().map(|attached| &attached.entry);
            self.del_loopback(call, &loopback::rt(pod, None, first), loopback);
        }
        Ok(removed)
    }

    /// Whether a pod without attachments has a loopback that this owner made, or none that is recorded.
    fn owns_loopback(&self, pod: &ContainerId, owner: Option<&str>) -> Result<bool> {
        let entries = self.cni.get_cached_attachments(Some(pod))?;
        let mut loopbacks = entries.iter().filter(|entry| loopback::is_its(&entry.key));
        Ok(loopbacks.all(|entry| entry.owner.as_deref() == owner))
    }

    /// GC of every network's plugins, while nobody works on a pod.
    fn run_plugins_gc(&self, call: &Call, request: &GcRequest, seen: &Seen, errors: &mut Vec<Error>) -> Result<()> {
        let networks: Vec<_> = seen.networks.values().filter(|list| CniConfig::has_gc(*list)).collect();
        if networks.is_empty() {
            return Ok(());
        }
        let locked = self.cache().locks().gc(call, OPERATION)?;
        let call = Call { lock: Some(locked.held()), ..call.limited(self.options.rollback_timeout) };
        let valid = self.valid_attachments(request)?;
        for list in networks {
            let in_pieces = self.cache().perhaps_of(&list.name)?;
            let valid: BTreeSet<&Key> =
                valid.iter().filter(|key| key.network.as_str() == list.name).chain(&in_pieces).collect();
            let valid = valid.into_iter().map(|key| GcAttachment {
                container_id: key.container_id.to_string(),
                if_name: key.if_name.to_string(),
            });
            let args = GcArgs { valid_attachments: Some(valid.collect()) };
            errors.extend(self.cni.gc_plugins(&call, list, Some(&args)));
        }
        Ok(())
    }

    /// Everything that is recorded now, and what the request names, recorded or not.
    fn valid_attachments(&self, request: &GcRequest) -> Result<BTreeSet<Key>> {
        let mut valid = BTreeSet::new();
        let (intents, errors) = self.intents().all()?;
        // The plugins' GC would free what such a one is about.
        if let Some(error) = Error::joined(errors) {
            return Err(error);
        }
        for (_, recorded) in intents {
            if let Recorded::Intent(intent) = recorded {
                valid.extend(intent.attachments.into_iter().map(|attachment| attachment.entry.key));
            }
        }
        valid.extend(self.cni.get_cached_attachments(None)?.into_iter().map(|entry| entry.key));
        let default = self.loaded_default();
        for (id, networks) in &request.valid_pods {
            match (networks, &default) {
                (Some(networks), _) => {
                    let keys = networks.iter().map(|name| Key::parse(&name.network, id.as_str(), &name.if_name));
                    valid.extend(keys.filter_map(Result::ok));
                }
                // Its record may be lost.
                (None, Some(default)) => {
                    valid.extend(Key::parse(&default.list.name, id.as_str(), self.options.if_name.as_str()).ok());
                }
                (None, None) => {}
            }
        }
        Ok(valid)
    }
}

fn of_pod(pod: &ContainerId, error: Error) -> Error {
    error.context(format_args!("failed to delete a stale attachment of pod {pod}"))
}

/// Whether its network may be collected; what was never finished is undone in any case.
fn may_collect(entry: &CacheEntry) -> bool {
    !NetworkConfigList::from_any(&entry.config).is_ok_and(|list| list.disable_gc)
}

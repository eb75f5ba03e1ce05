//! What is recorded of a pod's attachments, finished or not, and the removal of one.
//!
//! A set-up leaves cache entries where it ends well, and an intent where it neither did nor could be undone. Whoever works
//! on a pod holds its lock ([`lock`](CniNetworkPlugin::lock)), so an intent that he finds is nobody's any more.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::call::Call;
use crate::conf::{NetworkConfigList, load_network_conf};
use crate::error::{Error, ErrorClass, Result};
use crate::names::{ContainerId, IfName};
use crate::netns;
use crate::network::{DelPolicy, RuntimeConf, Unfinished, netns_id};
use crate::pod::cni::{CniNetworkPlugin, self_contained};
use crate::pod::list::cached_result;
use crate::pod::{NetworkChoice, NetworkName, NetworkRequest, PodRequest, loopback};
use crate::store::{Cache, CacheEntry, Intended, Intent, Intents, Key, Locked, Recorded};

/// One attachment that is recorded.
#[derive(Clone, Debug)]
pub(super) struct Attached {
    /// As it was made, or as it was to be.
    pub(super) entry: CacheEntry,
    /// How far its set-up was, where that did not end.
    pub(super) unfinished: Option<Unfinished>,
}

/// One attachment to remove.
pub(super) struct Removal {
    pub(super) list: NetworkConfigList,
    pub(super) rt: RuntimeConf,
    pub(super) unfinished: Option<Unfinished>,
    /// What it is recorded as; `None` for names that nothing can be recorded under.
    pub(super) key: Option<Key>,
    /// The network's configuration as the request has it.
    pub(super) now: Option<NetworkConfigList>,
}

/// What to remove, in the order of ADD, and what is in the way.
#[derive(Default)]
pub(super) struct Removals {
    pub(super) list: Vec<Removal>,
    /// What cannot be removed, but is to be forgotten.
    pub(super) to_forget: Vec<Key>,
    pub(super) errors: Vec<Error>,
}

/// What was removed or at least forgotten, and what failed.
pub(super) struct Removed {
    pub(super) names: Vec<NetworkName>,
    pub(super) done: BTreeSet<Key>,
    /// Nothing that was to be removed is left.
    pub(super) all: bool,
    pub(super) errors: Vec<Error>,
}

impl Removals {
    pub(super) fn add(&mut self, removal: Result<Option<Removal>>) {
        match removal {
            Ok(removal) => self.list.extend(removal),
            Err(error) => self.errors.push(error),
        }
    }
}

impl Removal {
    pub(super) fn name(&self) -> NetworkName {
        NetworkName { network: self.list.name.clone(), if_name: self.rt.if_name.clone() }
    }
}

impl CniNetworkPlugin {
    pub(super) fn cache(&self) -> Cache {
        self.cni.cache(&RuntimeConf::default())
    }

    pub(super) fn intents(&self) -> Intents {
        self.cache().intents()
    }

    /// The right to work on a pod, and the call that carries it to the plugins' nannies.
    pub(super) fn lock(&self, call: &Call, pod: &ContainerId, operation: &str) -> Result<(Call, Locked)> {
        // Not a Once: nobody is to wait for another's disk.
        if !self.swept.swap(true, Ordering::Relaxed) {
            self.cache().sweep();
        }
        let locked = self.cache().locks().pod(call, pod, operation)?;
        Ok((Call { lock: Some(locked.held()), ..call.clone() }, locked))
    }

    /// Like [`lock`](Self::lock), for who sets nothing up: a disk that takes nothing more does not stop him. Where it has
    /// no lock file and takes none, nobody else can set anything up either.
    pub(super) fn lock_on_full_disk(
        &self,
        call: &Call,
        pod: &ContainerId,
        operation: &str,
    ) -> Result<(Call, Option<Locked>)> {
        match self.lock(call, pod, operation) {
            Ok((call, locked)) => Ok((call, Some(locked))),
            Err(error) if matches!(error.os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EROFS)) => {
                tracing::warn!(target: "cnirt::pod", %pod, %error, "going on without a lock");
                Ok((call.clone(), None))
            }
            Err(error) => Err(error),
        }
    }

    /// Everything that is recorded of a pod but its loopback, in the order of ADD: finished attachments by their
    /// interfaces (`eth2` before `eth10`), then those of the intent. And those whose entries cannot be read.
    pub(super) fn attached(
        &self,
        pod: &ContainerId,
        recorded: &Recorded,
        lenient: bool,
    ) -> Result<(Vec<Attached>, Vec<Key>)> {
        let intended = if let Recorded::Intent(intent) = recorded { &intent.attachments[..] } else { &[] };
        let (mut entries, mut broken) = self.known(pod, lenient)?;
        broken.retain(|key| !intended.iter().any(|intended| intended.entry.key == *key));
        let earlier = matches!(recorded, Recorded::Intent(intent) if intent.of_earlier_boot);
        let unfinished = intended.iter().map(|Intended { entry, started, refused }| {
            // Of several networks the first may be made to their ends.
            let made = entries.iter().position(|made| made.key == entry.key).map(|index| entries.remove(index));
            let last_result = cached_result(made.as_ref().filter(|made| made.result.is_some()).unwrap_or(entry));
            let mut entry = entry.clone();
            if earlier {
                entry.netns.clear();
            }
            Attached { entry, unfinished: Some(Unfinished { started: *started, last_result, refused: *refused }) }
        });
        let unfinished: Vec<_> = unfinished.collect();
        let finished = entries.into_iter().map(|entry| Attached { entry, unfinished: None });
        Ok((finished.chain(unfinished).collect(), broken))
    }

    /// How to remove a recorded attachment: with the configuration that it was made with.
    pub(super) fn removal(
        &self,
        attached: &Attached,
        given: Option<&str>,
        request: Option<&PodRequest>,
    ) -> Result<Removal> {
        let Attached { entry, unfinished } = attached;
        let list = match NetworkConfigList::from_any(&entry.config) {
            Ok(list) => list,
            Err(error) => {
                tracing::warn!(target: "cnirt::pod", network = %entry.key.network, %error, "the recorded configuration cannot be read");
                self_contained(load_network_conf(&self.options.conf_dir, entry.key.network.as_str())?)
            }
        };
        let mut rt = RuntimeConf::from(entry);
        // Where it is known which namespace it was, another one that is given is not it.
        rt.netns = match usable_netns(given) {
            Some(given) if entry.netns_id.is_none() || netns_id(&given).ok() == entry.netns_id => given,
            _ => recorded_netns(entry)?.unwrap_or_default(),
        };
        let networks = request.and_then(|request| request.networks.as_ref()).into_iter().flatten();
        let inline = networks.filter_map(|network| match &network.choice {
            NetworkChoice::Config(list) => Some(list.as_ref()),
            _ => None,
        });
        let now = inline.into_iter().find(|inline| inline.name == list.name).cloned();
        Ok(Removal { list, rt, unfinished: unfinished.clone(), key: Some(entry.key.clone()), now })
    }

    /// Removes one attachment (the kubelet's `deleteFromNetwork`) and its record. Answers whether the record is gone, and
    /// what failed: forced, the record goes all the same, unless the time was over before every plugin was asked.
    fn remove(&self, call: &Call, removal: &Removal, force: bool) -> (bool, Vec<Error>) {
        let Removal { list, rt, unfinished, key, .. } = removal;
        let mut errors = match unfinished {
            None => self.cni.del(call, list, rt, DelPolicy { gone_is_done: true, keep_going: force }),
            Some(unfinished) => self.cni.undo(call, list, rt, unfinished),
        };
        // They forgot it under the list's name, which somebody may have edited since it was recorded.
        let is_forgotten = errors.is_empty() && *key == Key::parse(&list.name, &rt.container_id, &rt.if_name).ok();
        if let Some(unfinished) = unfinished
            && self.undo_as_it_is_now(call, removal, unfinished, &errors)
        {
            errors.clear();
        }
        for error in &errors {
            tracing::error!(target: "cnirt::pod", pod = rt.container_id, network = list.name, %error, "error deleting pod from network");
        }
        if is_forgotten {
            return (true, errors);
        }
        let untried = |error: &Error| error.never_ran() && error.class().is_end_of_call();
        let forced = force && !errors.iter().any(untried);
        if !errors.is_empty() && !forced {
            return (false, errors);
        }
        let forgotten = key.as_ref().map_or(Ok(()), |key| self.cache().remove(key));
        let is_gone = forgotten.is_ok();
        errors.extend(forgotten.err());
        (is_gone, errors)
    }

    /// Undoes the last plugin of an unfinished attachment with the network's configuration as it is now: the recorded one
    /// was refused at ADD, is refused at DEL, and may have been corrected since. Whether all is undone then. Only where
    /// this plugin alone is left and made nothing, and the network has the same plugins.
    fn undo_as_it_is_now(&self, call: &Call, removal: &Removal, unfinished: &Unfinished, errors: &[Error]) -> bool {
        let Removal { list, rt, now, .. } = removal;
        let types =
            |list: &NetworkConfigList| list.plugins.iter().map(|plugin| plugin.plugin_type.clone()).collect::<Vec<_>>();
        let last = unfinished.started.and_then(|started| list.plugins.get(started.checked_sub(1)?));
        let (Some(last), [error]) = (last.filter(|_| unfinished.refused), errors) else { return false };
        let is_its_own = error.cause().is_some() && !error.never_ran() && error.plugin() == Some(&last.plugin_type);
        let is_one_of_its_type =
            list.plugins.iter().filter(|plugin| plugin.plugin_type == last.plugin_type).count() == 1;
        if !is_its_own || !is_one_of_its_type {
            return false;
        }
        let now = now.clone().or_else(|| self.configured(&list.name).ok().flatten());
        let Some(now) = now.filter(|now| now.bytes != list.bytes && types(now) == types(list)) else { return false };
        let undone = self.cni.undo_last(call, &now, rt, unfinished);
        if let Err(error) = &undone {
            tracing::error!(target: "cnirt::pod", pod = rt.container_id, network = list.name, %error, "nor with the configuration as it is now");
        }
        undone.is_ok()
    }

    /// Writes back what is left of an intent, or removes it: `done` are the attachments that are not left.
    fn settle(&self, pod: &ContainerId, recorded: &Recorded, done: &BTreeSet<Key>) -> Result<()> {
        match recorded {
            // With nothing there may be a rest of one.
            Recorded::Nothing | Recorded::Torn(_) => self.intents().remove(pod),
            Recorded::Intent(intent) => {
                let left = intent.attachments.iter().filter(|one| !done.contains(&one.entry.key)).cloned();
                let left = Intent { attachments: left.collect(), ..intent.clone() };
                match left.attachments.len() {
                    0 => self.intents().remove(pod),
                    length if length < intent.attachments.len() => self.intents().keep(&left),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Undoes what an earlier set-up of the pod neither finished nor undid. Answers true where that cannot be read: then
    /// all that is about to be set up is to be undone first.
    ///
    /// The namespace of the request may be a new one: what was begun is in the recorded one, or gone with it.
    pub(super) fn recover(&self, call: &Call, request: &PodRequest) -> Result<bool> {
        let pod = &request.id;
        let recorded = self.intents().read(pod)?;
        let intent = match &recorded {
            Recorded::Nothing => return Ok(false),
            Recorded::Torn(error) => {
                tracing::warn!(target: "cnirt::pod", %pod, %error, "an earlier set-up did not end, and nobody knows what it was");
                return Ok(true);
            }
            Recorded::Intent(intent) => intent,
        };
        tracing::warn!(target: "cnirt::pod", %pod, "undoing an earlier set-up that did not end");
        self.cache().sweep_behind_the_dead(call);
        let (attached, _) = self.attached(pod, &recorded, false)?;
        let unfinished = attached.iter().filter(|attached| attached.unfinished.is_some());
        let removals = unfinished.map(|attached| self.removal(attached, None, Some(request))).collect::<Result<_>>()?;
        let removed = self.remove_all(call, pod, &recorded, Removals { list: removals, ..Removals::default() }, false);
        if let Some(error) = Error::joined(removed.errors) {
            return Err(cannot_be_undone(pod, error));
        }
        let (entries, broken) = self.known(pod, true)?;
        if intent.loopback && entries.is_empty() && broken.is_empty() {
            let first = intent.attachments.first().map(|attachment| &attachment.entry);
            self.del_loopback(call, &loopback::rt(pod, None, first), true);
        }
        Ok(false)
    }

    /// Removes these attachments in reverse, and settles the pod's intent.
    pub(super) fn remove_all(
        &self,
        call: &Call,
        pod: &ContainerId,
        recorded: &Recorded,
        removals: Removals,
        force: bool,
    ) -> Removed {
        let mut removed = self.remove_some(call, removals, force);
        // What a torn intent was about is only done with when something was, and nothing failed.
        let is_done = force || removed.errors.is_empty() && !removed.done.is_empty();
        if is_done || !matches!(recorded, Recorded::Torn(_)) {
            removed.errors.extend(self.settle(pod, recorded, &removed.done).err());
        }
        removed
    }

    /// Removes these attachments in reverse; an intent stays as it is.
    pub(super) fn remove_some(
        &self,
        call: &Call,
        Removals { list, to_forget, mut errors }: Removals,
        force: bool,
    ) -> Removed {
        let (mut names, mut done) = (Vec::new(), BTreeSet::new());
        for key in to_forget {
            errors.extend(self.cache().remove(&key).err());
            done.insert(key);
        }
        for (index, removal) in list.iter().enumerate().rev() {
            // Forced or not: a call that was given up is over.
            if let Err(error) = call.check()
                && error.class() == ErrorClass::Cancelled
            {
                errors.push(error);
                break;
            }
            let (is_gone, failed) = self.remove(&call.share(index > 0), removal, force);
            if is_gone {
                names.push(removal.name());
                done.extend(removal.key.clone());
            }
            errors.extend(failed);
        }
        let all = list.iter().all(|removal| removal.key.as_ref().is_none_or(|key| done.contains(key)));
        Removed { names, done, all, errors }
    }
}

/// Takes the attachments that a requested network means: those of its name, on its interface where it says one.
pub(super) fn take_meant(attached: &mut Vec<Attached>, network: &NetworkRequest, name: Option<&str>) -> Vec<Attached> {
    let meant = |attached: &mut Attached| is_meant(&attached.entry.key, network.if_name.as_ref(), name);
    attached.extract_if(.., meant).collect()
}

/// Whether an attachment is of this network, and on this interface where one is given.
pub(super) fn is_meant(key: &Key, if_name: Option<&IfName>, name: Option<&str>) -> bool {
    Some(key.network.as_str()) == name && if_name.is_none_or(|if_name| *if_name == key.if_name)
}

/// The error of a set-up that an earlier one is in the way of.
pub(super) fn cannot_be_undone(pod: &ContainerId, error: Error) -> Error {
    let error = error.context(format!("an earlier set-up of pod {pod} cannot be undone"));
    error.with_hint("mend what the plugin complains of, or give up what it made: a teardown with the key \"force\"")
}

/// The path that a request gives, where it leads to a namespace. Without one plugins remove what they can.
pub(super) fn usable_netns(given: Option<&str>) -> Option<String> {
    given.filter(|path| netns::is_netns(Path::new(path))).map(str::to_owned)
}

/// The recorded path, where it still leads to the namespace that was there: a process's path is another's later, and may
/// be the node's own. That the system does not tell just now is an error.
pub(super) fn recorded_netns(entry: &CacheEntry) -> Result<Option<String>> {
    let path = Path::new(&entry.netns);
    if entry.netns.is_empty() || !netns::is_netns(path) {
        return Ok(None);
    }
    let is_it = match &entry.netns_id {
        None => !netns::is_own(path),
        Some(recorded) => match netns_id(&entry.netns) {
            Ok(there) => there == *recorded,
            Err(error) if error.class() == ErrorClass::Netns => false,
            Err(error) => return Err(error),
        },
    };
    Ok(is_it.then(|| entry.netns.clone()))
}

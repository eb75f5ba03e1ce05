//! ADD, and the undoing of one that failed.

use std::path::Path;

use crate::call::Call;
use crate::error::{Error, ErrorClass, Result, Rollback, code};
use crate::netns;
use crate::network::del::{del_takes_prev_result, is_gone};
use crate::network::run::{Command, read_result};
use crate::network::{CniConfig, Network, RuntimeConf};
use crate::result::CniResult;
use crate::store::{CacheEntry, Key, boot_id};

/// What [`CniConfig::try_add`] calls before each plugin.
type Note<'a> = &'a mut dyn FnMut(usize, Option<&CniResult>) -> Result<()>;

/// How far an ADD was that did not end well: what [`CniConfig::undo`] needs.
#[derive(Clone, Debug, Default)]
pub struct Unfinished {
    /// How many plugins were started, the failing one included; `None` where nobody knows.
    pub started: Option<usize>,
    /// The result of the last plugin that succeeded.
    pub last_result: Option<CniResult>,
    /// The last plugin that was started answered with an error object of its own.
    pub refused: bool,
}

/// An ADD that failed on its way.
#[derive(Debug)]
pub struct AddFailure {
    /// Why.
    pub error: Error,
    /// How far it was; `started` is known.
    pub unfinished: Unfinished,
}

impl CniConfig {
    /// libcni's `AddNetworkList` and `AddNetwork`; with [`rollback`](CniConfig::rollback) a failure is undone and the
    /// error says how that went.
    pub(super) fn add(&self, call: &Call, network: Network<'_>, rt: &RuntimeConf) -> Result<CniResult> {
        self.try_add(call, network, rt, &mut |_, _| Ok(())).map_err(|failure| match self.rollback {
            Some(limit) if failure.unfinished.started != Some(0) => {
                let errors = self.undo(&call.for_rollback(limit), network, rt, &failure.unfinished);
                failure.error.with_rollback(Rollback { done: errors.is_empty(), errors })
            }
            _ => failure.error,
        })
    }

    /// Finds every plugin, as ADD will; nothing has run then.
    pub(crate) fn find_plugins<'a>(
        &self,
        call: &Call,
        network: impl Into<Network<'a>>,
        rt: &RuntimeConf,
    ) -> Result<()> {
        let network = network.into();
        for plugin in network.plugins {
            let found = self.exec.find_in_path(call, &plugin.plugin_type, &self.path);
            found.map_err(|error| {
                network.describe(network.plugin_failed(error, plugin, "add"), plugin, Command::Add, rt)
            })?;
        }
        Ok(())
    }

    /// ADD without the undoing. `note` is called before each plugin starts: how many that makes, and the result so far;
    /// its error is the ADD's.
    ///
    /// # Errors
    /// Whatever a plugin answers, with how far it got. What is refused before any plugin runs has `started` 0.
    pub fn try_add<'a>(
        &self,
        call: &Call,
        network: impl Into<Network<'a>>,
        rt: &RuntimeConf,
        note: Note<'_>,
    ) -> Result<CniResult, Box<AddFailure>> {
        let (mut unfinished, mut started) = (Unfinished::default(), 0);
        let added = self.add_plugins(call, network.into(), rt, note, &mut started, &mut unfinished);
        unfinished.started = Some(started);
        added.map_err(|error| Box::new(AddFailure { error, unfinished }))
    }

    fn add_plugins(
        &self,
        call: &Call,
        network: Network<'_>,
        rt: &RuntimeConf,
        note: Note<'_>,
        started: &mut usize,
        Unfinished { last_result, refused, .. }: &mut Unfinished,
    ) -> Result<CniResult> {
        let cache = self.cache(rt);
        let mut list = self.list_run(network, Command::Add, rt);
        let mut room = None;
        for plugin in network.plugins {
            let mut run = || {
                let prepared = list.prepare(call, plugin, last_result.as_ref())?;
                // libcni's order: first the plugin is found, then the names are checked.
                if room.is_none() {
                    let key = network.key(rt)?;
                    room = Some((cache.prepare(&key)?, key));
                }
                call.check()?;
                note(*started + 1, last_result.as_ref())?;
                *started += 1;
                let stdout = list.run(call, &prepared).inspect_err(|error| {
                    *started -= usize::from(error.never_ran());
                    *refused = !error.never_ran() && error.cause().is_some();
                })?;
                read_result(network.cni_version, &stdout)
            };
            let result = run();
            let result = result.map_err(|error| list.describe(network.plugin_failed(error, plugin, "add"), plugin))?;
            *last_result = Some(result);
        }
        let (Some((room, key)), Some(result)) = (room, last_result.clone()) else {
            let error = Error::new(ErrorClass::Config, "no plugins in list");
            return Err(error.with_network(network.name, &rt.if_name, network.cni_version));
        };
        let entry = self.entry(key, network, rt);
        room.write(&CacheEntry { result: Some(result.to_value()), ..entry }).map_err(|error| {
            let error = error.context(format!("failed to set network {:?} cached result", network.name));
            error.with_network(network.name, &rt.if_name, network.cni_version)
        })?;
        Ok(result)
    }

    /// What is recorded of an attachment, before there is a result.
    pub(crate) fn entry<'a>(&self, key: Key, network: impl Into<Network<'a>>, rt: &RuntimeConf) -> CacheEntry {
        CacheEntry {
            key,
            config: network.into().bytes.to_vec(),
            netns: rt.netns.clone(),
            netns_id: rt.netns_id.clone(),
            cni_args: Some(rt.args.clone()),
            capability_args: rt.capability_args.clone(),
            result: None,
            owner: self.owner.clone(),
        }
    }

    /// Runs DEL, in reverse, of the plugins that an unfinished ADD had started, of all where nobody knows. Does not stop at
    /// an error, nor wait for one plugin until no time is left for the others: each gets its chance, and the last result
    /// as `prevResult`. Then the cache entry goes. Answers what failed.
    pub fn undo<'a>(
        &self,
        call: &Call,
        network: impl Into<Network<'a>>,
        rt: &RuntimeConf,
        unfinished: &Unfinished,
    ) -> Vec<Error> {
        let network = network.into();
        let prev_result = prev_result_of(network, unfinished);
        let count = unfinished.started.unwrap_or(usize::MAX).min(network.plugins.len());
        let mut list = self.list_run(network, Command::Del, rt);
        list.left = count;
        let mut errors = Vec::new();
        for (index, plugin) in network.plugins.iter().enumerate().take(count).rev() {
            let done = list.del_plugin(&call.share(index > 0), plugin, prev_result.as_ref());
            let Err(error) = done else { continue };
            let never_made = unfinished.refused && index + 1 == count && refuses_version(&error);
            if is_gone(&error) || never_made {
                tracing::info!(target: "cnirt::network", network = network.name, %error, "nothing left to undo");
            } else {
                errors.push(error);
            }
        }
        // Writing the entry may have failed when it was there already, on its way to the disk.
        if errors.is_empty() {
            errors.extend(self.forget(network, rt).err());
        }
        errors
    }

    /// Runs DEL of the last plugin alone that an unfinished ADD had started.
    pub(crate) fn undo_last<'a>(
        &self,
        call: &Call,
        network: impl Into<Network<'a>>,
        rt: &RuntimeConf,
        unfinished: &Unfinished,
    ) -> Result<()> {
        let network = network.into();
        let failed = unfinished.started.and_then(|started| network.plugins.get(started.checked_sub(1)?));
        let Some(plugin) = failed else { return Ok(()) };
        let mut list = self.list_run(network, Command::Del, rt);
        list.left = 1;
        let done = list.del_plugin(call, plugin, prev_result_of(network, unfinished).as_ref());
        done.or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })
    }
}

/// What tells the namespace at a path from whatever is there later.
pub(crate) fn netns_id(path: &str) -> Result<String> {
    let (device, inode) = netns::identity(Path::new(path))?;
    Ok(format!("{}/{device}:{inode}", boot_id()))
}

/// The last result, in the network's version, where that has it at DEL.
fn prev_result_of(network: Network<'_>, unfinished: &Unfinished) -> Option<CniResult> {
    let result = unfinished.last_result.as_ref().filter(|_| del_takes_prev_result(network).unwrap_or(false))?;
    let converted = result.get_as_version(network.cni_version);
    converted
        .inspect_err(|error| {
            tracing::warn!(target: "cnirt::network", network = network.name, %error, "DEL goes on without a result");
        })
        .ok()
}

/// Whether a plugin does not know the version of its configuration (CNI's code 1): it looks before it does anything, at
/// ADD as at DEL.
fn refuses_version(error: &Error) -> bool {
    !error.never_ran() && error.cause().is_some_and(|cause| cause.code == code::INCOMPATIBLE_VERSION)
}

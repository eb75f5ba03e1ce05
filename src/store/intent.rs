//! What a set-up is about to make, on disk before the first plugin runs: `<cacheDir>/cnirt/intents/<containerID>`.
//!
//! Removed when every attachment is in the cache, or undone. One that is found under the pod's lock was left by a host
//! that died, or by an undoing that failed, and holds all that a DEL needs. Beside it, `cnirt/progress/<containerID>` is
//! appended to before each plugin: how many were started, and what the last one answered. That survives a killed
//! process, and not a power cut: it counts only while the machine has not been started anew.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorClass, Result};
use crate::fds;
use crate::json;
use crate::names::ContainerId;
use crate::store::atomic::{self, Durability};
use crate::store::dir::{Dir, OwnDir, failed};
use crate::store::format::{self, Stored};
use crate::store::holder::Holder;
use crate::store::{CacheEntry, Key, sys};

const KIND: &str = "cnirtIntentV1";
const INTENTS: &str = "intents";
const PROGRESS: &str = "progress";
/// An entry's limit for each of several networks; real intents have a few KiB.
const MAX: u64 = 64 * 1024 * 1024;

/// One attachment that is being made, or was not made to its end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Intended {
    /// As it would be cached; `result` is that of the last plugin that succeeded.
    pub(crate) entry: CacheEntry,
    /// How many plugins were started; `None` where nobody knows.
    pub(crate) started: Option<usize>,
    /// The last one that was started answered ADD with an error of its own.
    pub(crate) refused: bool,
}

/// The attachments that a pod's set-up is about to make, in order.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) container_id: ContainerId,
    /// The pod's loopback is to be undone with it.
    pub(crate) loopback: bool,
    pub(crate) owner: Option<String>,
    /// The machine has been started anew since: what the namespaces' paths lead to now is somebody else's.
    pub(crate) of_earlier_boot: bool,
    pub(crate) attachments: Vec<Intended>,
}

/// What is on disk for a pod.
#[derive(Debug)]
pub(crate) enum Recorded {
    Nothing,
    Intent(Intent),
    /// Something that is no intent, and why.
    Torn(Error),
}

/// What is on disk for this pod.
type OfPod = (ContainerId, Recorded);

/// The intents of one cache directory. Takes no lock.
#[derive(Debug)]
pub(crate) struct Intents {
    dir: OwnDir,
}

/// Where a set-up notes how far it is.
#[derive(Debug)]
pub(crate) struct Progress {
    dir: OwnDir,
    pod: ContainerId,
    serial: String,
    file: Option<OwnedFd>,
}

impl Intents {
    /// The intents in `<cacheDir>/cnirt`, this directory.
    pub(super) fn new(dir: OwnDir) -> Self {
        Self { dir }
    }

    /// Writes the intent of a set-up that begins, in place of one that is there.
    pub(crate) fn begin(&self, intent: &Intent) -> Result<Progress> {
        let serial = atomic::unique_name().to_string_lossy().into_owned();
        self.write(intent, Some(&serial))?;
        Ok(Progress { dir: self.dir.clone(), pod: intent.container_id.clone(), serial, file: None })
    }

    /// Writes what is left of an intent.
    pub(crate) fn keep(&self, intent: &Intent) -> Result<()> {
        self.write(intent, None)
    }

    fn write(&self, intent: &Intent, serial: Option<&str>) -> Result<()> {
        let name = OsStr::new(intent.container_id.as_str());
        let path = self.dir.path().join(INTENTS).join(name);
        let refused = |why: String| Error::new(ErrorClass::Cache, format!("write intent {}: {why}", path.display()));
        let bytes = encode(intent, serial).map_err(refused)?;
        // A request may nest as deep as can be read; in here it is deeper by a few levels.
        decode(&bytes, &intent.container_id).map_err(|why| match serial {
            Some(_) => Error::invalid(format!("pod request: nested too deep to be recorded: {why}")),
            // Of a set-up that failed, what a plugin printed is in here, too.
            None => refused(why),
        })?;
        if bytes.len() as u64 > MAX {
            return Err(refused(format!("larger than {MAX} bytes")));
        }
        fds::above_two(|| {
            let temporary = Arc::new(self.dir.make()?);
            let intents = temporary.child(INTENTS, self.dir.durability)?;
            atomic::replace(&temporary, &intents, name, &bytes, self.dir.durability)
        })
    }

    /// Reads the pod's intent. What the system refuses is an error: the next time may do better. Only what was read and is
    /// no intent is [`Recorded::Torn`].
    pub(crate) fn read(&self, pod: &ContainerId) -> Result<Recorded> {
        match self.dir.open_child(INTENTS)? {
            Some(intents) => self.read_in(&intents, pod),
            None => Ok(Recorded::Nothing),
        }
    }

    fn read_in(&self, intents: &Dir, pod: &ContainerId) -> Result<Recorded> {
        let name = OsStr::new(pod.as_str());
        let read = || {
            let Some(bytes) = intents.read(name, MAX)? else { return Ok(None) };
            decode(&bytes, pod).map(Some).map_err(|why| {
                let path = intents.path_of(name);
                Error::new(ErrorClass::Cache, format!("read intent {}: {why}", path.display()))
            })
        };
        match read() {
            Ok(None) => Ok(Recorded::Nothing),
            Ok(Some((mut intent, serial, holder))) => {
                intent.of_earlier_boot = !holder.is_of_this_boot();
                if let Some(serial) = serial.filter(|_| !intent.of_earlier_boot) {
                    self.add_progress(&mut intent, &serial)?;
                }
                Ok(Recorded::Intent(intent))
            }
            Err(error) if error.os_error().is_some() => Err(error),
            Err(error) => Ok(Recorded::Torn(error)),
        }
    }

    /// Every pod's intent, and the errors of those that the system does not let be read.
    pub(crate) fn all(&self) -> Result<(Vec<OfPod>, Vec<Error>)> {
        let Some(intents) = self.dir.open_child(INTENTS)? else { return Ok((Vec::new(), Vec::new())) };
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        for pod in pods_in(&intents)? {
            match self.read_in(&intents, &pod) {
                // It has gone since.
                Ok(Recorded::Nothing) => {}
                Ok(recorded) => all.push((pod, recorded)),
                Err(error) => errors.push(error),
            }
        }
        Ok((all, errors))
    }

    /// Removes the pod's intent, readable or not. A power cut may bring it back: then it is undone once more.
    pub(crate) fn remove(&self, pod: &ContainerId) -> Result<()> {
        let name = OsStr::new(pod.as_str());
        if let Some(intents) = self.dir.open_child(INTENTS)? {
            intents.unlink(name)?;
        }
        match self.dir.open_child(PROGRESS)? {
            Some(progress) => progress.unlink(name).map(drop),
            None => Ok(()),
        }
    }

    /// Pods with progress and without an intent: who removed that was killed before he removed the other.
    pub(crate) fn abandoned(&self) -> Result<Vec<ContainerId>> {
        let Some(progress) = self.dir.open_child(PROGRESS)? else { return Ok(Vec::new()) };
        let mut pods = pods_in(&progress)?;
        if let Some(intents) = self.dir.open_child(INTENTS)? {
            let intended = pods_in(&intents)?;
            pods.retain(|pod| !intended.contains(pod));
        }
        Ok(pods)
    }

    /// Adds what the set-up noted after it had written its intent.
    fn add_progress(&self, intent: &mut Intent, serial: &str) -> Result<()> {
        let name = OsStr::new(intent.container_id.as_str());
        let bytes = match self.dir.open_child(PROGRESS).and_then(|dir| dir.map_or(Ok(None), |dir| dir.read(name, MAX)))
        {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error) if error.class() == ErrorClass::Io => return Err(error),
            // As after a power cut: nobody knows.
            Err(error) => {
                tracing::warn!(target: "cnirt::store", pod = %intent.container_id, %error, "a set-up's progress cannot be read");
                return Ok(());
            }
        };
        for line in bytes.split(|byte| *byte == b'\n') {
            let Some(Noted { attachment, started, result }) = Noted::parse(line, serial) else { continue };
            // Nothing starts before it is noted.
            for attachment in &mut intent.attachments {
                attachment.started.get_or_insert(0);
            }
            if let Some(attachment) = intent.attachments.get_mut(attachment) {
                attachment.started = Some(started);
                attachment.entry.result = result;
            }
        }
        Ok(())
    }
}

/// The pods that have a file here.
fn pods_in(dir: &Dir) -> Result<Vec<ContainerId>> {
    let names = dir.names()?.into_iter();
    Ok(names.filter_map(|name| ContainerId::parse(name.into_string().ok()?).ok()).collect())
}

/// A line of progress.
struct Noted {
    attachment: usize,
    started: usize,
    result: Option<Value>,
}

impl Noted {
    /// `None` for what another set-up noted, and for a line that its writer did not live to end.
    fn parse(line: &[u8], serial: &str) -> Option<Self> {
        let Value::Object(mut object) = json::parse(line).ok()? else { return None };
        if object.get("intent")?.as_str()? != serial {
            return None;
        }
        let number = |key: &str| usize::try_from(object.get(key)?.as_u64()?).ok();
        let (attachment, started) = (number("attachment")?, number("started")?);
        Some(Self { attachment, started, result: object.remove("result").filter(Value::is_object) })
    }
}

impl Progress {
    /// Notes that one more plugin of an attachment, the `started`th, is about to start, after this result.
    pub(crate) fn note(&mut self, attachment: usize, started: usize, result: Option<&Value>) -> Result<()> {
        let mut line = json!({"intent": self.serial, "attachment": attachment, "started": started, "result": result});
        if result.is_none() {
            line.as_object_mut().map(|line| line.remove("result"));
        }
        let line = format!("{line}\n");
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&self.dir, &self.pod)?),
        };
        sys::write_all(file, line.as_bytes())
            .map_err(|errno| failed("write", &self.dir.path().join(PROGRESS).join(self.pod.as_str()), errno))
    }
}

fn create(dir: &OwnDir, pod: &ContainerId) -> Result<OwnedFd> {
    let progress = dir.make()?.child(PROGRESS, Durability::Atomic)?;
    let name = OsStr::new(pod.as_str());
    sys::create_or_empty(&progress, name).map_err(|errno| failed("create", &progress.path_of(name), errno))
}

fn encode(intent: &Intent, serial: Option<&str>) -> Result<Vec<u8>, String> {
    let encode = |attachment: &Intended| {
        let mut object = format::to_object(&attachment.entry)?;
        if let Some(started) = attachment.started {
            object.insert("started".to_owned(), started.into());
        }
        if attachment.refused {
            object.insert("refused".to_owned(), true.into());
        }
        Ok(Value::Object(object))
    };
    let attachments = intent.attachments.iter().map(encode).collect::<Result<Vec<_>, String>>()?;
    let object = json!({
        "kind": KIND,
        "serial": serial,
        "containerId": intent.container_id.as_str(),
        "owner": intent.owner,
        "loopback": intent.loopback,
        "holder": Holder::current("setup_pod", intent.container_id.as_str()).to_value(),
        "attachments": attachments,
    });
    serde_json::to_vec(&object).map_err(|error| error.to_string())
}

fn decode(bytes: &[u8], pod: &ContainerId) -> Result<(Intent, Option<String>, Holder), String> {
    let value = json::parse(bytes).map_err(|error| error.to_string())?;
    let Value::Object(mut object) = value else { return Err("not a JSON object".to_owned()) };
    let text = |object: &Map<String, Value>, key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    if text(&object, "kind").as_deref() != Some(KIND) || text(&object, "containerId").as_deref() != Some(pod.as_str()) {
        return Err("not this pod's intent".to_owned());
    }
    let Some(Value::Array(attachments)) = object.remove("attachments") else {
        return Err("key \"attachments\": not a list".to_owned());
    };
    let decode = |(index, attachment)| match attachment {
        Value::Object(attachment) => {
            decode_attachment(attachment, pod).map_err(|why| format!("attachments[{index}]: {why}"))
        }
        _ => Err(format!("attachments[{index}]: not a JSON object")),
    };
    let attachments = attachments.into_iter().enumerate().map(decode).collect::<Result<Vec<_>, String>>()?;
    let holder = object.get("holder").and_then(Value::as_object).map(Holder::from_object).unwrap_or_default();
    let (owner, serial) = (text(&object, "owner"), text(&object, "serial"));
    let loopback = object.get("loopback").and_then(Value::as_bool).unwrap_or_default();
    Ok((Intent { container_id: pod.clone(), loopback, owner, of_earlier_boot: false, attachments }, serial, holder))
}

fn decode_attachment(mut object: Map<String, Value>, pod: &ContainerId) -> Result<Intended, String> {
    let refused = object.remove("refused") == Some(Value::Bool(true));
    let started = object.remove("started").and_then(|started| usize::try_from(started.as_u64()?).ok());
    let stored = Stored::from_object(object)?;
    let key: Key = stored.key().filter(|key| key.container_id == *pod).ok_or("without valid names of this pod's")?;
    Ok(Intended { entry: stored.into_entry(key), started, refused })
}

#[cfg(test)]
mod tests;

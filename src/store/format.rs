//! libcni's `cachedInfo` as JSON, with `owner` and `netnsId` beside its keys.
//!
//! Reading is lenient where Go's decoder is (null is absent, unknown keys pass) and strict about types. Not a derived
//! struct: that would take an array for an object.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::json;
use crate::names::{ContainerId, IfName, NetworkName};
use crate::store::{CacheEntry, Key};

/// libcni's `CNICacheV1`.
const KIND: &str = "cniCacheV1";

/// What a file holds, before its names are checked.
pub(super) struct Stored {
    network: String,
    container_id: String,
    if_name: String,
    config: Vec<u8>,
    netns: String,
    netns_id: Option<String>,
    cni_args: Option<Vec<(String, String)>>,
    capability_args: Map<String, Value>,
    result: Option<Value>,
    owner: Option<String>,
}

/// A file of the cache, read.
pub(super) enum Content {
    /// An entry.
    Entry(Box<Stored>),
    /// An object without `kind`: a bare result.
    Legacy,
}

impl Stored {
    /// Reads an entry's keys, all but `kind`.
    pub(super) fn from_object(mut object: Map<String, Value>) -> Result<Self, String> {
        let text = take::<String>(&mut object, "config")?.unwrap_or_default();
        let config = BASE64.decode(text).map_err(|error| format!("key \"config\": {error}"))?;
        Ok(Self {
            network: take(&mut object, "networkName")?.unwrap_or_default(),
            container_id: take(&mut object, "containerId")?.unwrap_or_default(),
            if_name: take(&mut object, "ifName")?.unwrap_or_default(),
            config,
            netns: take(&mut object, "netns")?.unwrap_or_default(),
            netns_id: take(&mut object, "netnsId")?,
            cni_args: take(&mut object, "cniArgs")?,
            capability_args: take_object(&mut object, "capabilityArgs")?.unwrap_or_default(),
            result: take_object(&mut object, "result")?.map(Value::Object),
            owner: take(&mut object, "owner")?,
        })
    }

    /// The attachment that the content names; `None` where it names none that could exist.
    pub(super) fn key(&self) -> Option<Key> {
        Some(Key {
            network: NetworkName::parse(self.network.as_str()).ok()?,
            container_id: ContainerId::parse(self.container_id.as_str()).ok()?,
            if_name: IfName::parse(self.if_name.as_str()).ok()?,
        })
    }

    /// The entry, under this key.
    pub(super) fn into_entry(self, key: Key) -> CacheEntry {
        CacheEntry {
            key,
            config: self.config,
            netns: self.netns,
            netns_id: self.netns_id,
            cni_args: self.cni_args,
            capability_args: self.capability_args,
            result: self.result,
            owner: self.owner,
        }
    }
}

/// Reads a file, or says in words what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<Content, String> {
    let value = json::parse(bytes).map_err(|error| error.to_string())?;
    let Value::Object(mut object) = value else { return Err("not a JSON object".to_owned()) };
    match take::<String>(&mut object, "kind")?.as_deref() {
        Some(KIND) => {}
        None | Some("") => return Ok(Content::Legacy),
        Some(kind) => return Err(format!("wrong kind: {kind}")),
    }
    Stored::from_object(object).map(|stored| Content::Entry(Box::new(stored)))
}

/// Takes a key's value; `None` where it is absent or null.
fn take<T: DeserializeOwned>(object: &mut Map<String, Value>, key: &str) -> Result<Option<T>, String> {
    match object.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value).map(Some).map_err(|error| format!("key {key:?}: {error}")),
    }
}

/// Takes a key's object as it is: going through serde again would give its keys a meaning (see `json::parse`).
fn take_object(object: &mut Map<String, Value>, key: &str) -> Result<Option<Map<String, Value>>, String> {
    match object.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(value)) => Ok(Some(value)),
        Some(_) => Err(format!("key {key:?}: not an object")),
    }
}

/// Writes an entry.
pub(super) fn encode(entry: &CacheEntry) -> Result<Vec<u8>, String> {
    serde_json::to_vec(&to_object(entry)?).map_err(|error| error.to_string())
}

/// An entry's keys; as in libcni, what is empty is left out.
pub(super) fn to_object(entry: &CacheEntry) -> Result<Map<String, Value>, String> {
    let CacheEntry { key, config, netns, netns_id, cni_args, capability_args, result, owner } = entry;
    let mut object = Map::new();
    object.insert("kind".into(), KIND.into());
    object.insert("networkName".into(), key.network.as_str().into());
    object.insert("containerId".into(), key.container_id.as_str().into());
    object.insert("ifName".into(), key.if_name.as_str().into());
    object.insert("config".into(), BASE64.encode(config).into());
    if !netns.is_empty() {
        object.insert("netns".into(), netns.as_str().into());
    }
    if let Some(id) = netns_id {
        object.insert("netnsId".into(), id.as_str().into());
    }
    if let Some(args) = cni_args.as_ref().filter(|args| !args.is_empty()) {
        object.insert("cniArgs".into(), args.iter().map(|(key, value)| vec![key.as_str(), value]).collect());
    }
    if !capability_args.is_empty() {
        object.insert("capabilityArgs".into(), Value::Object(capability_args.clone()));
    }
    match result {
        None | Some(Value::Null) => {}
        Some(Value::Object(result)) if result.is_empty() => {}
        Some(Value::Object(result)) => {
            object.insert("result".into(), Value::Object(result.clone()));
        }
        Some(_) => return Err("the result is not a JSON object".to_owned()),
    }
    if let Some(owner) = owner {
        object.insert("owner".into(), owner.as_str().into());
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Without a file, so that Miri can run it.
    #[test]
    fn an_entry_comes_back_as_it_was_written() {
        let key = Key::parse("net1", "pod1", "eth0").unwrap();
        let Value::Object(capability_args) = json!({"mac": "02:00:00:00:00:01"}) else { unreachable!() };
        let entry = CacheEntry {
            key: key.clone(),
            config: b"{\"name\": \"net1\"}\xff".to_vec(),
            netns: "/run/netns/pod1".to_owned(),
            netns_id: Some("boot/4:5".to_owned()),
            cni_args: Some(vec![
                ("K8S_POD_NAME".to_owned(), "a".to_owned()),
                ("IgnoreUnknown".to_owned(), "1".to_owned()),
            ]),
            capability_args,
            result: Some(json!({"cniVersion": "1.1.0"})),
            owner: Some("cnirt".to_owned()),
        };
        let bare = CacheEntry {
            netns: String::new(),
            netns_id: None,
            cni_args: None,
            capability_args: Map::new(),
            result: None,
            owner: None,
            ..entry.clone()
        };
        for entry in [entry, bare] {
            let Ok(Content::Entry(stored)) = decode(&encode(&entry).unwrap()) else { panic!("{entry:?}") };
            assert_eq!(stored.key(), Some(key.clone()));
            assert_eq!(stored.into_entry(key.clone()), entry);
        }
        assert!(matches!(decode(br#"{"cniVersion": "0.4.0"}"#), Ok(Content::Legacy)));
        for (text, words) in [("", "EOF"), ("[]", "not a JSON object"), (r#"{"kind": "x"}"#, "wrong kind: x")] {
            assert!(decode(text.as_bytes()).err().is_some_and(|why| why.contains(words)), "{text}");
        }
    }
}

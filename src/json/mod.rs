//! JSON objects from outside, read strictly: an error names the key, and for an unknown key the nearest known one.
//!
//! Not serde's derived structs: those also take an array for an object, field by field, and name no path.

mod value;

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

pub(crate) use value::{NUMBER, NumberOr, parse};

/// An object whose keys are taken out one by one; what nobody took is unknown.
pub(crate) struct Object {
    /// "pod request", and the path within it.
    place: Place,
    values: Map<String, Value>,
    known: Vec<&'static str>,
}

#[derive(Clone)]
struct Place {
    what: &'static str,
    path: String,
}

impl Place {
    fn key(&self, key: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { what: self.what, path: format!("{}{dot}{key}", self.path) }
    }

    fn index(&self, index: usize) -> Self {
        Self { what: self.what, path: format!("{}[{index}]", self.path) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, ", key {:?}", self.path) }
    }
}

impl Object {
    /// Reads `text`; `what` names it in messages ("pod request").
    pub(crate) fn parse(what: &'static str, text: &str) -> Result<Self> {
        let value = parse(text.as_bytes()).map_err(|error| Error::invalid(format!("{what} is not JSON: {error}")))?;
        Self::of(Place { what, path: String::new() }, value)
    }

    fn of(place: Place, value: Value) -> Result<Self> {
        match value {
            Value::Object(values) => Ok(Self { place, values, known: Vec::new() }),
            other => Err(Error::invalid(format!("{place}: expected an object, found {}", kind(&other)))),
        }
    }

    fn take_value(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.values.remove(key).filter(|value| !value.is_null())
    }

    /// The value of `key`; `None` where it is absent or null.
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<Option<T>> {
        let Some(value) = self.take_value(key) else { return Ok(None) };
        serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Error::invalid(format!("{}: {error}", self.place.key(key))))
    }

    /// The value of `key`, or the type's default where it is absent or null.
    pub(crate) fn or_default<T: DeserializeOwned + Default>(&mut self, key: &'static str) -> Result<T> {
        Ok(self.optional(key)?.unwrap_or_default())
    }

    /// The object under `key` as it is, whatever its keys; empty where it is absent or null.
    pub(crate) fn map(&mut self, key: &'static str) -> Result<Map<String, Value>> {
        Ok(self.optional_map(key)?.unwrap_or_default())
    }

    /// Like [`map`](Self::map), with absent and empty told apart.
    pub(crate) fn optional_map(&mut self, key: &'static str) -> Result<Option<Map<String, Value>>> {
        match self.take_value(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(self.refused(key, format_args!("expected an object, found {}", kind(&other)))),
        }
    }

    /// The value of `key`, which must be there.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<T> {
        self.optional(key)?.ok_or_else(|| self.missing(key))
    }

    /// Whether `key` is there, null or not, and not taken yet.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The duration under `key`, in milliseconds.
    pub(crate) fn milliseconds(&mut self, key: &'static str) -> Result<Option<Duration>> {
        Ok(self.optional(key)?.map(Duration::from_millis))
    }

    /// One word out of a few under `key`.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Result<Option<T>> {
        let Some(word) = self.optional::<String>(key)? else { return Ok(None) };
        if let Some((_, value)) = words.iter().find(|(known, _)| *known == word) {
            return Ok(Some(*value));
        }
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        Err(self.refused(key, format_args!("{word:?} is none of {}", known.join(", "))))
    }

    /// The error for a `key` that must be there.
    pub(crate) fn missing(&self, key: &str) -> Error {
        Error::invalid(format!("{}: missing key {key:?}", self.place))
    }

    /// An error about the value of `key`.
    pub(crate) fn refused(&self, key: &str, why: impl fmt::Display) -> Error {
        Error::invalid(format!("{}: {why}", self.place.key(key)))
    }

    /// The object under `key`, read by `read` to its last key; `None` where it is absent or null.
    pub(crate) fn object<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.take_value(key) else { return Ok(None) };
        Self::of(self.place.key(key), value)?.read(read).map(Some)
    }

    /// The objects in the list under `key`, each read by `read`; empty where it is absent or null.
    pub(crate) fn objects<T>(&mut self, key: &'static str, read: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        Ok(self.optional_objects(key, read)?.unwrap_or_default())
    }

    /// Like [`objects`](Self::objects), with absent and empty told apart.
    pub(crate) fn optional_objects<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(value) = self.take_value(key) else { return Ok(None) };
        let place = self.place.key(key);
        let Value::Array(values) = value else {
            return Err(Error::invalid(format!("{place}: expected a list, found {}", kind(&value))));
        };
        let objects = values.into_iter().enumerate();
        objects
            .map(|(index, value)| Self::of(place.index(index), value)?.read(&mut read))
            .collect::<Result<_>>()
            .map(Some)
    }

    /// Reads with `read`, then refuses what it did not take.
    pub(crate) fn read<T>(mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let value = read(&mut self)?;
        let Some(unknown) = self.values.keys().next() else { return Ok(value) };
        let error = Error::invalid(format!("{}: unknown key {unknown:?}", self.place));
        let likeness = |key: &str| strsim::jaro_winkler(&key.to_lowercase(), &unknown.to_lowercase());
        let nearest = self.known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        Err(match nearest {
            Some(nearest) => error.with_hint(format!("the nearest known key is {nearest:?}")),
            None => error,
        })
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sample = (Option<u32>, Vec<i32>, Option<String>);

    fn sample(text: &str) -> Result<Sample> {
        Object::parse("sample", text)?.read(|sample| {
            Ok((
                sample.optional("timeoutMs")?,
                sample.objects("list", |inner| inner.required("hostPort"))?,
                sample.object("dns", |dns| dns.or_default("domain"))?,
            ))
        })
    }

    #[test]
    fn every_refusal_names_the_key() {
        for (text, words, hint) in [
            ("{", "sample is not JSON: EOF while parsing an object at line 1 column 1", None),
            ("{} {}", "sample is not JSON: trailing characters at line 1 column 4", None),
            ("[]", "sample: expected an object, found a list", None),
            (r#"{"timeoutMs":"5"}"#, "sample, key \"timeoutMs\": invalid type: string \"5\", expected u32", None),
            (r#"{"timeout":5}"#, "sample: unknown key \"timeout\"", Some("the nearest known key is \"timeoutMs\"")),
            (
                r#"{"list":[{"hostPort":1},{"hostPort":1,"port":1}]}"#,
                "sample, key \"list[1]\": unknown key \"port\"",
                Some("the nearest known key is \"hostPort\""),
            ),
            (
                r#"{"list":[{"hostPort":1},{"hostPort":true}]}"#,
                "sample, key \"list[1].hostPort\": invalid type: boolean `true`, expected i32",
                None,
            ),
            (r#"{"list":[{}]}"#, "sample, key \"list[0]\": missing key \"hostPort\"", None),
            (r#"{"list":[[1]]}"#, "sample, key \"list[0]\": expected an object, found a list", None),
            (r#"{"list":1}"#, "sample, key \"list\": expected a list, found a number", None),
            (r#"{"dns":""}"#, "sample, key \"dns\": expected an object, found a string", None),
        ] {
            let error = sample(text).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.hint()), (words, hint), "{text}");
        }
        let error = sample(&"[".repeat(100_000)).unwrap_err().to_string();
        assert!(error.starts_with("sample is not JSON: recursion limit exceeded"), "{error}");
    }

    #[test]
    fn null_is_absent() {
        assert_eq!(sample(r#"{"timeoutMs":null,"list":null,"dns":null}"#).unwrap(), (None, vec![], None));
        let text = r#"{"timeoutMs":5,"list":[{"hostPort":7}],"dns":{"domain":"x"}}"#;
        assert_eq!(sample(text).unwrap(), (Some(5), vec![7], Some("x".to_owned())));
    }
}

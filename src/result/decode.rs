//! Reads a result's JSON as Go's `encoding/json` reads it into a struct; an error names the key.
//!
//! Go's rules: a key matches in any case, of keys that match the last one counts, null leaves a value at its zero,
//! what no field takes is dropped. Integers are written without fraction or exponent.
//!
//! Differences: a repeated key replaces all of the former value (Go merges objects, and mostly skips a null); half of a
//! surrogate pair (`\ud800`) is an error; integers beyond 2^53 keep their digits where Go sends them through a float64.
//!
//! Not `serde_json::Value`: it sorts the keys, so the last one is lost, and takes an object with a key of
//! `serde_json`'s own for JSON text inside a string, which nests deeper than its limit allows.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::{Error, ErrorClass};
use crate::json::{NUMBER, NumberOr};

/// A JSON value in the document's order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool,
    /// As it was written, but for a sign that `serde_json` puts before an exponent.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// A value that does not fit, and the path of its key.
#[derive(Debug)]
pub(super) struct Wrong {
    path: String,
    why: String,
}

pub(super) type Read<T> = Result<T, Wrong>;

impl Wrong {
    fn new(why: impl Into<String>) -> Self {
        Self { path: String::new(), why: why.into() }
    }

    fn expected(what: &str, found: &Node) -> Self {
        Self::new(format!("expected {what}, found {found}"))
    }

    /// Puts the key or the index of the value above before the path.
    fn under(mut self, above: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{above}{dot}{}", self.path);
        self
    }
}

impl From<Wrong> for Error {
    fn from(Wrong { path, why }: Wrong) -> Self {
        let place = if path.is_empty() { "result" } else { &path };
        Self::new(ErrorClass::Plugin, format!("{place}: {why}"))
    }
}

impl fmt::Display for Node {
    /// For messages: the kind, and a number's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number(text) => text,
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        })
    }
}

impl Node {
    /// Reads one JSON document; as in Go, bytes that are not UTF-8 count as U+FFFD.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_str(&String::from_utf8_lossy(bytes)).map_err(|error| {
            let words = if error.is_eof() {
                "unexpected end of JSON input".to_owned()
            } else {
                format!("result is not JSON: {error}")
            };
            Error::new(ErrorClass::Plugin, words)
        })
    }

    /// The fields of an object; null has none.
    pub(super) fn fields(&self) -> Read<Fields<'_>> {
        match self {
            Self::Null => Ok(Fields(&[])),
            Self::Object(entries) => Ok(Fields(entries)),
            other => Err(Wrong::expected("an object", other)),
        }
    }

    /// Sets a key of an object; null becomes one.
    pub(super) fn set(&mut self, key: &str, text: &str) {
        let entry = (key.to_owned(), Self::Text(text.to_owned()));
        match self {
            Self::Object(entries) => {
                entries.retain(|(other, _)| other != key);
                entries.push(entry);
            }
            other => *other = Self::Object(vec![entry]),
        }
    }

    /// What Go makes of it by reading it into a map and writing that: sorted keys, none twice, and "1500.0" is 1500.
    ///
    /// Numbers that a float64 does not hold stay as they are (Go rounds them).
    pub(super) fn re_encode(&mut self) {
        match self {
            Self::Number(text) if text.parse::<i64>().is_err() => {
                // Beyond that no field takes it, and a short text must not become a long one.
                let whole = |float: &f64| float.fract() == 0.0 && float.abs() < 1e19;
                if let Some(float) = text.parse().ok().filter(whole) {
                    *text = format!("{float:.0}");
                }
            }
            Self::List(nodes) => nodes.iter_mut().for_each(Self::re_encode),
            Self::Object(entries) => {
                entries.sort_by(|(one, _), (other, _)| one.cmp(other));
                // Of equal keys the last one stays.
                entries.dedup_by(|later, former| {
                    later.0 == former.0 && {
                        std::mem::swap(later, former);
                        true
                    }
                });
                for (_, node) in entries {
                    node.re_encode();
                }
            }
            _ => {}
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Bool)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let node = if key == NUMBER && entries.is_empty() {
                match map.next_value_seed(NumberOr(Self))? {
                    Ok(text) => return Ok(Node::Number(text)),
                    Err(node) => node,
                }
            } else {
                map.next_value()?
            };
            entries.push((key, node));
        }
        Ok(Node::Object(entries))
    }
}

/// The keys of an object.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [(String, Node)]);

impl Fields<'_> {
    /// The value under `name`, its zero where there is none.
    pub(super) fn get<T: Default>(self, name: &str, read: impl Fn(&Node) -> Read<T>) -> Read<T> {
        let mut last = T::default();
        for (_, node) in self.0.iter().filter(|(key, _)| is_spelled(key, name)) {
            last = read(node).map_err(|wrong| wrong.under(name))?;
        }
        Ok(last)
    }

    /// The text under exactly this key, where it is one.
    pub(super) fn exact_text(&self, name: &str) -> Option<&str> {
        match self.0.iter().rfind(|(key, _)| key == name) {
            Some((_, Node::Text(text))) => Some(text),
            _ => None,
        }
    }
}

/// Whether Go takes `key` for the field `name`: case is folded, also of the two letters beyond ASCII that fold into it.
fn is_spelled(key: &str, name: &str) -> bool {
    let fold = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(name.chars().map(fold))
}

/// A string; null is empty.
pub(super) fn string(node: &Node) -> Read<String> {
    match node {
        Node::Null => Ok(String::new()),
        Node::Text(text) => Ok(text.clone()),
        other => Err(Wrong::expected("a string", other)),
    }
}

/// Go's `int`, 64 bits wide; null is 0.
pub(super) fn int(node: &Node) -> Read<i64> {
    match node {
        Node::Null => Ok(0),
        Node::Number(text) => text.parse().map_err(|_| Wrong::expected("a 64-bit integer", node)),
        other => Err(Wrong::expected("a 64-bit integer", other)),
    }
}

/// A pointer in Go: null is none.
pub(super) fn optional<T>(read: impl Fn(&Node) -> Read<T>) -> impl Fn(&Node) -> Read<Option<T>> {
    move |node| if *node == Node::Null { Ok(None) } else { read(node).map(Some) }
}

/// A list; null is empty.
pub(super) fn list<T>(read: impl Fn(&Node) -> Read<T>) -> impl Fn(&Node) -> Read<Vec<T>> {
    move |node| match node {
        Node::Null => Ok(Vec::new()),
        Node::List(nodes) => {
            let at = |(index, node)| read(node).map_err(|wrong| wrong.under(&format!("[{index}]")));
            nodes.iter().enumerate().map(at).collect()
        }
        other => Err(Wrong::expected("a list", other)),
    }
}

/// Go's `net.IP`: an empty string is none, and an IPv4 address in IPv6's clothes is an IPv4 address.
pub(super) fn ip(node: &Node) -> Read<Option<IpAddr>> {
    let text = string(node)?;
    if text.is_empty() {
        return Ok(None);
    }
    let ip: IpAddr = text.parse().map_err(|_| Wrong::new(format!("invalid IP address: {text}")))?;
    Ok(Some(ip.to_canonical()))
}

/// libcni's `types.IPNet`: an address and its prefix length, the host's bits kept. Null is no such thing.
///
/// `None`, a key that was absent, never comes from here.
pub(super) fn cidr(node: &Node) -> Read<Option<IpNet>> {
    let text = string(node)?;
    parse_cidr(&text).map(Some).ok_or_else(|| Wrong::new(format!("invalid CIDR address: {text}")))
}

fn parse_cidr(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    // Go takes leading zeros here, but no sign.
    let length: u8 = length.bytes().all(|byte| byte.is_ascii_digit()).then(|| length.parse().ok())??;
    let address: IpAddr = address.parse().ok()?;
    let net = IpNet::new(address, length).ok()?;
    match address.to_canonical() {
        // Go keeps the last 32 bits of the mask of an IPv4 address in IPv6's clothes.
        IpAddr::V4(v4) if address.is_ipv6() => IpNet::new(v4.into(), length.saturating_sub(96)).ok(),
        _ => Some(net),
    }
}

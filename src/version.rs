//! Versions of the CNI specification, and the answer to the VERSION command (libcni's `pkg/version`).

use std::cmp::Ordering;
use std::fmt;
use std::num::{IntErrorKind, ParseIntError};

use serde::Deserialize;

use crate::error::{Error, ErrorClass, Result};

/// The newest version that this library implements.
pub const CURRENT: &str = "1.1.0";

/// Every version that this library implements, oldest first.
pub const ALL: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", CURRENT];

/// The oldest version; an absent version means this one.
pub const OLDEST: &str = ALL[0];

/// The first version with CHECK and with a previous result at DEL.
pub const CHECK: SpecVersion = SpecVersion(0, 4, 0);
/// The first version with STATUS and GC.
pub const STATUS: SpecVersion = SpecVersion(1, 1, 0);

/// A version of the specification, for comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpecVersion(i64, i64, i64);

impl SpecVersion {
    /// Reads "1.0.0" or, as libcni does, "1" and "1.0"; empty is 0.1.0.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self(0, 1, 0));
        }
        let parts: Vec<&str> = text.split('.').collect();
        if parts.len() >= 4 {
            return Err(Error::new(ErrorClass::Config, format!("invalid version {text:?}: too many parts")));
        }
        let mut numbers = [0; 3];
        for ((part, number), which) in parts.into_iter().zip(&mut numbers).zip(["major", "minor", "micro"]) {
            *number = part.parse().map_err(|error: ParseIntError| {
                let why = match error.kind() {
                    IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                    _ => "invalid syntax",
                };
                let parsing = format_args!("strconv.Atoi: parsing {part:?}: {why}");
                Error::new(ErrorClass::Config, format!("failed to convert {which} version part {part:?}: {parsing}"))
            })?;
        }
        Ok(Self(numbers[0], numbers[1], numbers[2]))
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Compares two versions written as text.
pub fn compare(one: &str, other: &str) -> Result<Ordering> {
    Ok(SpecVersion::parse(one)?.cmp(&SpecVersion::parse(other)?))
}

/// Whether `version` is `least` or newer.
pub fn at_least(version: &str, least: SpecVersion) -> Result<bool> {
    Ok(SpecVersion::parse(version)? >= least)
}

/// What a plugin answers to VERSION (libcni's `version.PluginInfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginInfo {
    /// The version of the answer itself.
    pub cni_version: String,
    /// The versions that the plugin supports, in its own order.
    pub supported_versions: Vec<String>,
}

impl PluginInfo {
    /// A plugin that supports these versions.
    pub fn supports(versions: &[&str]) -> Self {
        Self { cni_version: CURRENT.to_owned(), supported_versions: versions.iter().map(ToString::to_string).collect() }
    }

    /// Reads the answer to VERSION. A 0.2.0 answer may leave out the list.
    pub fn decode(stdout: &[u8]) -> Result<Self> {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Answer {
            cni_version: Option<String>,
            supported_versions: Option<Vec<String>>,
        }
        let failed = |what: &str| Error::new(ErrorClass::Plugin, format!("decoding version info: {what}"));
        let answer: Option<Answer> = serde_json::from_slice(stdout).map_err(|error| failed(&error.to_string()))?;
        let Answer { cni_version, supported_versions } = answer.unwrap_or_default();
        let cni_version = cni_version.filter(|version| !version.is_empty());
        let Some(cni_version) = cni_version else { return Err(failed("missing field cniVersion")) };
        match supported_versions.unwrap_or_default() {
            list if list.is_empty() && cni_version == "0.2.0" => Ok(Self::supports(&["0.1.0", "0.2.0"])),
            list if list.is_empty() => Err(failed("missing field supportedVersions")),
            supported_versions => Ok(Self { cni_version, supported_versions }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_and_empty_is_the_oldest() {
        for pair in ALL.windows(2) {
            assert_eq!(compare(pair[0], pair[1]).unwrap(), Ordering::Less, "{pair:?}");
        }
        for (one, other, order) in [
            ("", OLDEST, Ordering::Equal),
            ("1", "1.0.0", Ordering::Equal),
            ("1.2", "1.10.0", Ordering::Less),
            ("1.2.34", "1.2.14", Ordering::Greater),
        ] {
            assert_eq!(compare(one, other).unwrap(), order, "{one} {other}");
        }
        assert!(at_least("0.4.0", CHECK).unwrap() && !at_least("0.3.1", CHECK).unwrap());
    }

    #[test]
    fn malformed_versions_are_refused() {
        for text in ["a", "0.", "..", ".1", "1.2.3.4", "1.x", "1.2.y", "99999999999999999999.0.0"] {
            assert_eq!(SpecVersion::parse(text).unwrap_err().class(), ErrorClass::Config, "{text}");
        }
        for (text, words) in [
            ("x", "failed to convert major version part \"x\": strconv.Atoi: parsing \"x\": invalid syntax"),
            (
                "1.99999999999999999999",
                "failed to convert minor version part \"99999999999999999999\": strconv.Atoi: parsing \
                 \"99999999999999999999\": value out of range",
            ),
        ] {
            assert_eq!(SpecVersion::parse(text).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn answers_to_version_are_read_as_libcni_reads_them() {
        let info = PluginInfo::decode(br#"{"cniVersion":"x","supportedVersions":["a","b"],"more":1}"#).unwrap();
        assert_eq!(info.supported_versions, ["a", "b"]);
        assert_eq!(PluginInfo::decode(br#"{"cniVersion":"0.2.0"}"#).unwrap().supported_versions, ["0.1.0", "0.2.0"]);
        for (answer, words) in [
            ("null", "decoding version info: missing field cniVersion"),
            (r#"{"supportedVersions":["a"]}"#, "decoding version info: missing field cniVersion"),
            (r#"{"cniVersion":"1.0.0"}"#, "decoding version info: missing field supportedVersions"),
        ] {
            assert_eq!(PluginInfo::decode(answer.as_bytes()).unwrap_err().to_string(), words);
        }
        assert!(PluginInfo::decode(b"{{{").unwrap_err().to_string().starts_with("decoding version info: "));
    }
}

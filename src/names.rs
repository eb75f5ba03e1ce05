//! Names that become part of environment variables and paths, parsed once at the border.
//!
//! The rules and words are those of libcni's `pkg/utils`; libcni checks on ADD only, here nothing unchecked goes on.

use std::fmt;

use crate::error::{Cause, Error, ErrorClass, Result, code};

/// Defines a string that can only be made by its checking constructor.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks and takes the name.
            pub fn parse(name: impl Into<String>) -> Result<Self> {
                let name = name.into();
                $check(&name)?;
                Ok(Self(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A container ID: a letter or digit, then letters, digits, `_`, `.`, `-`.
    ContainerId,
    container_id
);
name!(
    /// A network's name, with the same rule as a container ID.
    NetworkName,
    network_name
);
name!(
    /// An interface name: 1–15 bytes, not `.` or `..`, without `/`, `:` and white space.
    IfName,
    if_name
);

impl IfName {
    /// The name that the kubelet gives a pod's interface.
    pub fn eth0() -> Self {
        Self("eth0".to_owned())
    }
}

/// What libcni reports as `types.Error` for a bad name.
fn refused(class: ErrorClass, code: u64, msg: &str, details: impl Into<String>) -> Error {
    Error::from_cause(Cause { code, msg: msg.to_owned(), details: details.into() }).with_class(class)
}

/// A name in an error message: whole unless somebody sends megabytes.
fn shown(name: &str) -> String {
    const LIMIT: usize = 128;
    if name.chars().count() <= LIMIT {
        return name.to_owned();
    }
    format!("{}… ({} bytes)", name.chars().take(LIMIT).collect::<String>(), name.len())
}

fn is_cni_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn container_id(name: &str) -> Result<()> {
    let class = ErrorClass::InvalidArgument;
    if name.is_empty() {
        return Err(refused(class, code::UNKNOWN_CONTAINER, "missing containerID", ""));
    }
    if is_cni_name(name) {
        return Ok(());
    }
    Err(refused(class, code::INVALID_ENVIRONMENT, "invalid characters in containerID", shown(name)))
}

fn network_name(name: &str) -> Result<()> {
    let class = ErrorClass::Config;
    if name.is_empty() {
        return Err(refused(class, code::INVALID_NETWORK_CONFIG, "missing network name:", ""));
    }
    if is_cni_name(name) {
        return Ok(());
    }
    Err(refused(class, code::INVALID_NETWORK_CONFIG, "invalid characters found in network name", shown(name)))
}

fn if_name(name: &str) -> Result<()> {
    /// `IFNAMSIZ` less the NUL.
    const MAX: usize = 15;
    let refused =
        |msg: &str, details: String| Err(refused(ErrorClass::InvalidArgument, code::INVALID_ENVIRONMENT, msg, details));
    if name.is_empty() {
        refused("interface name is empty", String::new())
    } else if name.len() > MAX {
        refused("interface name is too long", format!("interface name should be less than {} characters", MAX + 1))
    } else if name == "." || name == ".." {
        refused("interface name is . or ..", String::new())
    } else if name.chars().any(|letter| letter == '/' || letter == ':' || letter == '\0' || letter.is_whitespace()) {
        refused("interface name contains / or : or whitespace characters", String::new())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_libcni_takes_are_taken() {
        for name in ["a", "0", "A-b_c.d", "a..b", &"x".repeat(5000)] {
            assert_eq!(ContainerId::parse(name).unwrap().as_str(), name);
            assert_eq!(NetworkName::parse(name).unwrap().as_str(), name);
        }
        for name in ["eth0", "a", "123456789012345", "...", "a\u{e9}"] {
            assert_eq!(IfName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn bad_container_ids_and_network_names_are_refused_in_libcnis_words() {
        for name in ["", "-a", ".", "..", "_a", "a/b", "../a", "a\0b", "a b", "\u{e9}", "a\n"] {
            let id = ContainerId::parse(name).unwrap_err();
            assert_eq!(id.class(), ErrorClass::InvalidArgument, "{name:?}");
            assert_eq!(id.code(), if name.is_empty() { 3 } else { 4 });
            let network = NetworkName::parse(name).unwrap_err();
            assert_eq!((network.class(), network.code()), (ErrorClass::Config, 7), "{name:?}");
        }
        assert_eq!(ContainerId::parse("a/b").unwrap_err().to_string(), "invalid characters in containerID; a/b");
        assert_eq!(NetworkName::parse("a/b").unwrap_err().to_string(), "invalid characters found in network name; a/b");
    }

    #[test]
    fn bad_interface_names_are_refused_in_libcnis_words() {
        for (name, words) in [
            ("", "interface name is empty"),
            ("1234567890123456", "interface name is too long; interface name should be less than 16 characters"),
            (".", "interface name is . or .."),
            ("..", "interface name is . or .."),
            ("a/b", "interface name contains / or : or whitespace characters"),
            ("a:b", "interface name contains / or : or whitespace characters"),
            ("a b", "interface name contains / or : or whitespace characters"),
            ("a\u{85}", "interface name contains / or : or whitespace characters"),
            ("a\0", "interface name contains / or : or whitespace characters"),
        ] {
            let error = IfName::parse(name).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.code()), (words, 4), "{name:?}");
        }
    }

    #[test]
    fn a_huge_name_is_cut_in_the_message() {
        let words = ContainerId::parse("/".repeat(5000)).unwrap_err().to_string();
        assert!(words.ends_with("… (5000 bytes)") && words.len() < 300, "{words}");
    }
}

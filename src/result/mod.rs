//! What ADD returns: the result types of every specification version, and the conversion between them.
//!
//! Formats and rules are those of libcni's `pkg/types`. Runs nothing, knows nobody above it.

use std::net::IpAddr;

use serde_json::Value;

use crate::error::Result;

/// A result in one of the three shapes that it had over time.
#[derive(Clone, Debug, PartialEq)]
pub enum CniResult {}

impl CniResult {
    /// libcni's `create.Create`: reads `bytes` as a result of this version.
    pub fn create(_version: &str, _bytes: &[u8]) -> Result<Self> {
        todo!()
    }

    /// libcni's `create.CreateFromBytes`: the version is the text's own, an absent one is 0.1.0.
    pub fn from_bytes(_bytes: &[u8]) -> Result<Self> {
        todo!()
    }

    /// What a plugin printed on ADD: an absent or empty `cniVersion` is the configuration's, `null` is an empty result.
    pub fn from_plugin(_conf_version: &str, _stdout: &[u8]) -> Result<Self> {
        todo!()
    }

    /// The version that the result is in.
    pub fn version(&self) -> &str {
        todo!()
    }

    /// Converts, or says why the specification does not allow it; an empty version is 0.1.0.
    pub fn get_as_version(&self, _version: &str) -> Result<Self> {
        todo!()
    }

    /// The JSON that libcni would write.
    pub fn to_value(&self) -> Value {
        todo!()
    }

    /// The addresses of this interface inside a sandbox, in the result's order; an address without an interface index counts as its.
    pub fn addresses(&self, _if_name: &str) -> Vec<IpAddr> {
        todo!()
    }
}

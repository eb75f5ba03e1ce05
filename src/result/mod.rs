//! What ADD returns: the result types of every specification version, and the conversion between them.
//!
//! Formats and rules are those of libcni's `pkg/types`. Runs nothing, knows nobody above it. A result that does not
//! hold together is [`ErrorClass::Plugin`], a version that nobody knows [`ErrorClass::Unsupported`].

mod convert;
mod decode;
#[cfg(test)]
mod tests;
mod types;
mod v020;
mod v040;
mod v100;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;

use self::convert::Shape;
use self::decode::Node;
pub use self::types::{Dns, Route};
pub use self::v020::{IpConfig020, Result020};
pub use self::v040::{Interface040, IpConfig040, Result040};
pub use self::v100::{Interface100, IpConfig100, Result100};
use crate::error::{Error, ErrorClass, Result};
use crate::version;

/// A result in one of the three shapes that it had over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum CniResult {
    /// 0.1.0 and 0.2.0.
    V020(Result020),
    /// 0.3.0, 0.3.1 and 0.4.0.
    V040(Result040),
    /// 1.0.0 and 1.1.0.
    V100(Result100),
}

impl CniResult {
    /// libcni's `create.Create`: reads `bytes` as a result of this version.
    ///
    /// The result stays in the version that it names itself, which has to be one of the same shape.
    pub fn create(version: &str, bytes: &[u8]) -> Result<Self> {
        Self::decode(shape_of(version)?, &Node::parse(bytes)?)
    }

    /// libcni's `create.CreateFromBytes`: the version is the text's own, an absent one is 0.1.0.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let decoding = |error: Error| error.context("decoding version from network config");
        let node = Node::parse(bytes).map_err(decoding)?;
        let version = node.fields().and_then(|fields| fields.get("cniVersion", decode::string));
        Self::decode(shape_of(&version.map_err(|wrong| decoding(wrong.into()))?)?, &node)
    }

    /// What a plugin printed on ADD: an absent or empty `cniVersion` is the configuration's, `null` is an empty result.
    ///
    /// libcni's `fixupResultVersion` and `create.Create`. As there, `cniVersion` is looked for in this spelling alone.
    pub fn from_plugin(conf_version: &str, stdout: &[u8]) -> Result<Self> {
        let unreadable = |error: Error| error.context("failed to unmarshal raw result");
        let mut node = Node::parse(stdout).map_err(unreadable)?;
        let fields = node.fields().map_err(|wrong| unreadable(wrong.into()))?;
        if let Some(own) = fields.exact_text("cniVersion").filter(|own| !own.is_empty()) {
            return Self::decode(shape_of(own)?, &node);
        }
        let conf_version = if conf_version.is_empty() { version::OLDEST } else { conf_version };
        node.set("cniVersion", conf_version);
        node.re_encode();
        Self::decode(shape_of(conf_version)?, &node)
    }

    fn decode(shape: Shape, node: &Node) -> Result<Self> {
        let result = match shape {
            Shape::V020 => {
                let mut result = Result020::decode(node)?;
                if result.cni_version.is_empty() {
                    version::OLDEST.clone_into(&mut result.cni_version);
                }
                Self::V020(result)
            }
            Shape::V040 => Self::V040(Result040::decode(node)?),
            Shape::V100 => Self::V100(Result100::decode(node)?),
        };
        let (own, supported) = (result.version(), shape.versions());
        if supported.contains(&own) {
            return Ok(result);
        }
        let supported = supported.join(" ");
        let words = format!("result type supports [{supported}] but unmarshalled CNIVersion is {own:?}");
        Err(Error::new(ErrorClass::Plugin, words))
    }

    /// The version that the result is in.
    pub fn version(&self) -> &str {
        match self {
            Self::V020(result) => &result.cni_version,
            Self::V040(result) => &result.cni_version,
            Self::V100(result) => &result.cni_version,
        }
    }

    /// Converts, or says why the specification does not allow it; an empty version is 0.1.0.
    ///
    /// Going down loses what the older version cannot hold, by libcni's rules.
    pub fn get_as_version(&self, version: &str) -> Result<Self> {
        let to = if version.is_empty() { version::OLDEST } else { version };
        let from = self.version();
        if from == to {
            return Ok(self.clone());
        }
        let shape = Shape::of(to).ok_or_else(|| {
            let words = format!("no converter for CNI result version {from} to {to}");
            Error::new(ErrorClass::Unsupported, words)
        })?;
        convert::convert(self, to, shape)
    }

    /// The JSON that libcni would write.
    pub fn to_value(&self) -> Value {
        // Fails only for keys that are no strings, which the types cannot hold.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The addresses of this interface inside a sandbox, in the result's order; an address without an interface index
    /// counts as its. An address whose index is not in the list is nobody's.
    pub fn addresses(&self, if_name: &str) -> Vec<IpAddr> {
        let is_its = |name: &str, sandbox: &str| name == if_name && !sandbox.is_empty();
        let nets: Vec<Option<IpNet>> = match self {
            Self::V020(result) => [&result.ip4, &result.ip6].into_iter().flatten().map(|config| config.ip).collect(),
            Self::V040(result) => {
                let is_its = |index| element(&result.interfaces, index).is_some_and(|at| is_its(&at.name, &at.sandbox));
                let configs = result.ips.iter().flatten();
                configs.filter(|config| config.interface.is_none_or(is_its)).map(|config| config.address).collect()
            }
            Self::V100(result) => {
                let is_its = |index| element(&result.interfaces, index).is_some_and(|at| is_its(&at.name, &at.sandbox));
                let configs = result.ips.iter().flatten();
                configs.filter(|config| config.interface.is_none_or(is_its)).map(|config| config.address).collect()
            }
        };
        nets.into_iter().flatten().map(|net| net.addr()).collect()
    }
}

/// The result in `text` in another version, for who has both from elsewhere: a text that is no result is
/// [`ErrorClass::InvalidArgument`], and one that the version cannot hold [`ErrorClass::Unsupported`].
pub fn convert_text(text: &str, version: &str) -> Result<CniResult> {
    let as_class =
        |class| move |error: Error| if error.class() == ErrorClass::Plugin { error.with_class(class) } else { error };
    let result = CniResult::from_bytes(text.as_bytes()).map_err(as_class(ErrorClass::InvalidArgument))?;
    result.get_as_version(version).map_err(as_class(ErrorClass::Unsupported))
}

fn shape_of(version: &str) -> Result<Shape> {
    let unsupported = || Error::new(ErrorClass::Unsupported, format!("unsupported CNI result version {version:?}"));
    Shape::of(version).ok_or_else(unsupported)
}

/// The element that `interface` of an address points to.
fn element<T>(list: &[Option<T>], index: i64) -> Option<&T> {
    list.get(usize::try_from(index).ok()?)?.as_ref()
}

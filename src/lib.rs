//! cnirt is the container-runtime side of CNI, the Container Network Interface.

pub mod call;
#[cfg(feature = "capi")]
pub mod capi;
pub mod conf;
pub mod error;
pub mod invoke;
mod json;
pub mod names;
pub mod netns;
pub mod network;
pub mod pod;
pub mod result;
pub mod store;
pub mod version;

pub use error::{Error, ErrorClass, Result};

//! What nobody should hand over, and plugins that nobody should install: each gets the right class and a message that
//! names key, file or plugin, and leaves nothing behind. NULL and bad UTF-8 are in `capi_arguments.rs`.
#![cfg(feature = "capi")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "bad_input/face.rs"]
mod face;
#[path = "bad_input/keys.rs"]
mod keys;
#[path = "bad_input/node.rs"]
mod node;
#[path = "bad_input/plugins.rs"]
mod plugins;
#[path = "bad_input/texts.rs"]
mod texts;

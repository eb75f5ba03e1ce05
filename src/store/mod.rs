//! Everything on disk: the cache of attachments in libcni's format, written so that a crash never leaves half an entry.
//!
//! Knows no plugin and takes no lock. Below it: directories held open (`dir`), whole-file writes (`atomic`).

mod atomic;
mod cache;
mod dir;
mod format;

pub use atomic::Durability;
pub use cache::{Cache, CacheEntry, Cached, Key};

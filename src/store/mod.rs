//! Everything on disk: the cache of attachments in libcni's format, written so that a crash never leaves half an entry.

mod atomic;
mod cache;

pub use atomic::Durability;
pub use cache::{Cache, CacheEntry, Cached, Key};

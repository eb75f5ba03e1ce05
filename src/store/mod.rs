//! Everything on disk: the cache of attachments in libcni's format, written so that a crash never leaves half an entry;
//! what a set-up is about to make (`intent`); the locks between processes (`lock`).
//!
//! Knows no plugin. Who works on a pod holds its lock; the cache and the intents ask for none. Below them: directories
//! held open (`dir`), whole-file writes (`atomic`) and what killed processes left of them (`sweep`), the processes that
//! work (`holder`), and the system calls (`sys`).

mod atomic;
mod cache;
mod dir;
#[cfg(test)]
mod fault_tests;
mod format;
mod holder;
mod intent;
#[cfg(test)]
pub(crate) mod journal;
mod lock;
#[cfg(test)]
pub(crate) mod power_cut;
mod sweep;
mod sys;

pub use atomic::Durability;
pub(crate) use cache::Stamp;
pub use cache::{Cache, CacheEntry, Cached, Key, Prepared};
pub(crate) use holder::boot_id;
pub(crate) use intent::{Intended, Intent, Intents, Progress, Recorded};
pub(crate) use lock::{Locked, Locks};

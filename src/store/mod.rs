//! Everything on disk: the cache of attachments in libcni's format, written so that a crash never leaves half an entry.
//!
//! Knows no plugin and takes no lock on attachments. Below it: directories held open (`dir`), whole-file writes (`atomic`)
//! and what killed processes left of them (`sweep`), and the system calls (`sys`).

mod atomic;
mod cache;
mod dir;
#[cfg(test)]
mod fault_tests;
mod format;
#[cfg(test)]
pub(crate) mod journal;
#[cfg(test)]
pub(crate) mod power_cut;
mod sweep;
mod sys;

pub use atomic::Durability;
pub use cache::{Cache, CacheEntry, Cached, Key};

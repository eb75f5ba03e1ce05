//! Everything on disk: the cache of attachments in libcni's format, written so that a crash never leaves half an entry;
//! what a set-up is about to make (`intent`); the locks between processes (`lock`).
//!
//! Knows no plugin. Who works on a pod holds its lock; the cache and the intents ask for none. Below them: directories
//! held open (`dir`), whole-file writes (`atomic`), the processes that work (`holder`).

mod atomic;
mod cache;
mod dir;
mod format;
mod holder;
mod intent;
mod lock;

pub use atomic::Durability;
pub use cache::{Cache, CacheEntry, Cached, Key};
pub(crate) use intent::{Intended, Intent, Intents, Progress, Recorded};
pub(crate) use lock::{Locked, Locks};

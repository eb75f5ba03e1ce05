//! `<cacheDir>/results/<network>-<containerID>-<ifName>`: one file an attachment, in libcni's format.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::names::{ContainerId, IfName, NetworkName};
use crate::store::Durability;

/// Which attachment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The network.
    pub network: NetworkName,
    /// The container.
    pub container_id: ContainerId,
    /// The interface inside the container.
    pub if_name: IfName,
}

/// One attachment as it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheEntry {
    /// Which attachment.
    pub key: Key,
    /// The network list's or plugin's text.
    pub config: Vec<u8>,
    /// The path of the namespace, or empty.
    pub netns: String,
    /// `CNI_ARGS`, in order; `None` where the entry has no such key.
    pub cni_args: Option<Vec<(String, String)>>,
    /// The capability arguments.
    pub capability_args: Map<String, Value>,
    /// The last plugin's result.
    pub result: Option<Value>,
    /// The `owner` of the runtime that made it; libcni writes none.
    pub owner: Option<String>,
}

/// What the cache holds for a key.
#[derive(Clone, Debug)]
pub enum Cached {
    /// Nothing.
    Missing,
    /// An entry.
    Entry(Box<CacheEntry>),
    /// A bare result, as libcni wrote it before 0.8.
    Legacy(Vec<u8>),
    /// Something that cannot be read, and why.
    Unreadable(Error),
}

/// The cache directory. Cheap to clone; creates nothing until the first [`add`](Self::add).
#[derive(Clone, Debug)]
pub struct Cache {
    #[expect(dead_code)]
    dir: PathBuf,
    #[expect(dead_code)]
    durability: Durability,
}

impl Cache {
    /// A cache below `dir` (`results/` for the entries, `cnirt/` for everything else).
    pub fn new(dir: impl AsRef<Path>, durability: Durability) -> Self {
        Self { dir: dir.as_ref().to_owned(), durability }
    }

    /// Refuses, before any plugin runs, what [`add`](Self::add) could not write: a name beyond 255 bytes, `results/` and
    /// `cnirt/` on different mounts, a directory that cannot be made or written.
    pub fn prepare(&self, _key: &Key) -> Result<()> {
        todo!()
    }

    /// Writes an entry, in place of one that is there.
    pub fn add(&self, _entry: &CacheEntry) -> Result<()> {
        todo!()
    }

    /// Reads an entry, leniently.
    pub fn get(&self, _key: &Key) -> Cached {
        todo!()
    }

    /// Removes an entry; a missing one is no error.
    pub fn remove(&self, _key: &Key) -> Result<()> {
        todo!()
    }

    /// libcni's `GetCachedAttachments`: every readable entry, of one container or of all, sorted by file name.
    pub fn attachments(&self, _container_id: Option<&ContainerId>) -> Result<Vec<CacheEntry>> {
        todo!()
    }
}

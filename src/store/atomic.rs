//! A file appears whole or not at all: temporary file, fsync, rename, fsync of the directory.

/// What a write has survived when it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: file and directory are synced.
    #[default]
    Full,
    /// A crash of the process; after a power cut an entry may be missing or empty.
    Atomic,
}

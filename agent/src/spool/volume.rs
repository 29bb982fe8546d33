//! Where generations are kept: the part of a spool that does I/O, injected so that tests own its faults.

use std::collections::BTreeMap;
use std::io;

use super::ledger::Lane;

/// Names a generation's store; the epoch and the lane are in it so that they are known without
/// the manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub epoch: u64,
    pub id: u64,
    pub lane: Lane,
}

/// Packs by the seq of their first record.
pub type Packs = BTreeMap<u64, Vec<u8>>;

pub trait Volume: Send {
    fn load_manifest(&mut self) -> io::Result<Option<Vec<u8>>>;
    /// Whole and durable on return, or unchanged.
    fn save_manifest(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn list(&mut self) -> io::Result<Vec<Name>>;
    /// Durable on return. Makes the generation's store where there is none.
    fn put(&mut self, name: Name, packs: &Packs) -> Result<(), Error>;
    /// The last pack whose key is at most `from`, and those after it: at least one more if there is
    /// one, and until they are `bytes` together. A generation without a store holds nothing.
    fn read(&mut self, name: Name, from: u64, bytes: usize) -> Result<Packs, Error>;
    /// What the generation takes on disk.
    fn bytes(&mut self, name: Name) -> io::Result<u64>;
    /// Says beside the generation that nothing after `end` in it counts, whatever its store shows or comes
    /// to show. Durable on return; nothing where there is no store.
    fn save_end(&mut self, name: Name, end: u64) -> io::Result<()>;
    /// What was said last by `save_end`.
    fn load_end(&mut self, name: Name) -> Result<Option<u64>, Error>;
    /// Nothing more is put; its handles can go.
    fn close(&mut self, name: Name);
    /// With its end.
    fn remove(&mut self, name: Name) -> io::Result<()>;
    /// Sets a damaged store aside, out of the way of everything here.
    fn quarantine(&mut self, name: Name) -> io::Result<()>;
    /// Gives up what is held back for a full disk; whether that freed anything.
    fn release_reserve(&mut self) -> bool;
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the store holds cannot be trusted: it is to be quarantined.
    #[error("generation {id} is damaged: {what}")]
    Damaged { id: u64, what: String },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io(error) if full.contains(&error.kind()))
    }
}

//! The spool: records of one chain, durable until the hub has them.
//!
//! # Specification
//!
//! A spool holds the records of one epoch. Seqs start at 1 and have no holes: each seq up to the
//! last is *acknowledged and gone* (at or below the floor), *held*, or *elided*. An implementation
//! keeps these rules, and `contract.rs` holds every implementation to them:
//!
//! 1. **Append** takes records whose seqs follow the last and whose chain values fit. When it
//!    returns, they are durable; when it fails, none of them counts, and a later append may use
//!    their seqs again, for the same records or for others. What a failed append left behind never
//!    stands for what was appended in its place: not in this process, and not after any loss.
//! 2. **Read** gives every seq from `from` on exactly once and in order, as the bytes that were
//!    appended or inside an Elision. It never gives bytes that fail their checksum.
//! 3. **Acknowledge** deletes nothing above the acknowledged seq, and nothing that the verdict
//!    table has no checkpoint past: the spool is the table's write-ahead log. The acknowledged
//!    tail stays until it is 24 h old or larger than 16 MiB, so that a hub restored from an old
//!    backup loses nothing.
//! 4. **Budget.** Stored bytes stay within the budget. What gives way, in this order: the acknowledged
//!    tail, oldest first; then, if the append allows it ([`Room::Shed`]), the oldest generation of
//!    P1 and P2 records whole, replaced by Elisions (CAP). P0 records are in generations of their
//!    own and are never shed: one inside a shed range splits it. A tenth is reserved for them.
//! 5. **Loss is declared.** What cannot be read back (a flipped bit, a missing file, an open that
//!    hangs or panics) is set aside for inspection and elided (CORRUPT); the chain goes on from the head file,
//!    which is synced after the records and before a seq is announced. A full disk gives way like
//!    the budget (DISK). Adjacent Elisions of one reason merge.
//! 6. **Crash.** After a crash at any point, an open gives every record whose append returned,
//!    perhaps records whose append did not return, and never a part of such an append's tail out
//!    of order. Records of a failed append count among them as long as nothing was appended after
//!    it, and never once something was. Deleted records may come back; the receiver is idempotent.
//! 7. **Newer versions.** What a later version of this program wrote is neither read nor removed: [`newer`] sets it aside
//!    whole, the chain begins another epoch, and that is declared in it.
//!
//! # Layout
//!
//! Records go into *generations*, small stores that are removed whole, because no store gives space back
//! while it lives: a sixteenth of the budget each, 2 to 32 MiB. [`ledger`] knows which generation
//! holds which run of seqs and is saved as the manifest; beside a generation in which an append has
//! failed stands its *end*, which holds without the manifest. [`generations`] is the spool itself over
//! a [`volume::Volume`], which is a directory of sled databases ([`disk`]) or memory
//! ([`memory`]). [`thread`] owns a spool on its own thread and assigns seqs.

pub mod disk;
pub mod frame;
pub mod generations;
pub mod head;
pub mod ledger;
pub mod memory;
pub mod newer;
pub mod recovery;
pub mod tally;
pub mod thread;
pub mod volume;

#[cfg(test)]
mod contract;

use bytes::Bytes;
use provost_model::Digest;
use provost_model::record::{Class, Elision};
use serde::{Deserialize, Serialize};

pub use generations::Generations;
pub use tally::Tally;

pub trait Spool: Send {
    /// Rule 1. `room` says whether rule 4 may shed for it.
    fn append(&mut self, entries: &[Entry], room: Room) -> Result<(), Error>;
    /// Rule 2. Empty at the end. Where `from` is at or below the floor, [`Error::Gone`].
    fn read(&mut self, from: u64, limit: Limit) -> Result<Vec<Item>, Error>;
    /// Rule 3. [`Error::HeadMismatch`] where the chain stands elsewhere at `acked.seq`.
    fn acknowledge(&mut self, acked: Anchor, now_ms: i64) -> Result<(), Error>;
    /// The verdict table on disk includes everything up to `seq`.
    fn checkpointed(&mut self, seq: u64) -> Result<(), Error>;
    /// Drops what rule 3 lets go; to be called now and then.
    fn trim(&mut self, now_ms: i64) -> Result<(), Error>;
    /// Bytes that could be appended now without shedding.
    fn room_bytes(&self) -> u64;
    /// Where the chain stands after `seq`, if that can still be known.
    fn chain_at(&mut self, seq: u64) -> Result<Option<Digest>, Error>;
    /// Empties the spool and starts another epoch. What was held is gone.
    fn reset(&mut self, epoch: u64) -> Result<(), Error>;
    fn extent(&self) -> Extent;
}

/// A record with its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub class: Class,
    /// Chain value before and after the record.
    pub before: Digest,
    pub after: Digest,
    /// As encoded, once.
    pub record: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Record(Entry),
    Elision(Elision),
}

/// A place in the chain: the head after `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub seq: u64,
    pub head: Digest,
}

/// Where a read stops; it gives at least one item if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub records: usize,
    pub bytes: usize,
}

/// What an append may do when the budget is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Shed the oldest P1 and P2 records.
    Shed,
    /// Fail with [`Error::NoRoom`]: snapshots.
    Keep,
}

/// What a spool holds. Everything in it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub epoch: u64,
    pub last: Anchor,
    pub acked: Anchor,
    /// First seq that can be read; `last.seq + 1` when none can.
    pub first_held: u64,
    /// Records held above `acked`.
    pub unacked: u64,
    pub bytes: u64,
    /// Up to where the verdict table on disk is.
    pub checkpoint: u64,
    /// How many Elisions this process has made, so that a snapshot can follow each.
    pub elisions_made: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the budget of the spool is reached")]
    NoRoom,
    #[error("the budget is reached and the oldest records have no checkpoint past them")]
    NeedsCheckpoint,
    #[error("seq {seq} is held no more; the first that is held is {first_held}")]
    Gone { seq: u64, first_held: u64 },
    #[error("seq {seq} does not follow the last seq {last}, or its chain value does not fit")]
    OutOfOrder { seq: u64, last: u64 },
    #[error("the chain stands elsewhere at seq {seq}")]
    HeadMismatch { seq: u64 },
    #[error("seq {seq} was never appended (the last is {last})")]
    Unknown { seq: u64, last: u64 },
    #[error("spool store: {0}")]
    Volume(#[from] volume::Error),
}

/// Bounds of a spool, in bytes on disk and milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub budget_bytes: u64,
    pub generation_bytes: u64,
    pub tail_bytes: u64,
    pub tail_ms: i64,
}

const MIB: u64 = 1024 * 1024;
pub const DEFAULT_BUDGET_BYTES: u64 = 256 * MIB;
pub const MIN_BUDGET_BYTES: u64 = 32 * MIB;

impl Limits {
    /// A sixteenth of the budget per generation: small enough that shedding one loses little,
    /// large enough that a store's fixed costs vanish.
    #[must_use]
    pub fn for_budget(budget_bytes: u64) -> Self {
        let budget_bytes = budget_bytes.max(MIN_BUDGET_BYTES);
        Self {
            budget_bytes,
            generation_bytes: (budget_bytes / 16).clamp(2 * MIB, 32 * MIB),
            tail_bytes: 16 * MIB,
            tail_ms: 24 * 60 * 60 * 1000,
        }
    }

    /// What P0 records can always have.
    #[must_use]
    pub const fn reserved_bytes(&self) -> u64 {
        self.budget_bytes / 10
    }
}

//! The sending end: batches cut from the spool, acknowledgements, epochs.

use bytes::Bytes;
use provost_model::Digest;
use provost_model::record::Elision;
use tokio::sync::watch;

/// Where the chain of this instance stands. Everything in it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub epoch: u64,
    /// 0 before the first record.
    pub last_seq: u64,
    pub head: Digest,
    /// First seq that the spool can still send; 0 when it holds none.
    pub first_held_seq: u64,
    /// 0 before the first acknowledgement in this epoch.
    pub acked_seq: u64,
    /// Held and not acknowledged.
    pub records: u64,
    /// On disk, the acknowledged tail included.
    pub bytes: u64,
    /// Unix time of the oldest record that is not acknowledged; its age is the reader's to compute.
    pub oldest_wall_ms: Option<i64>,
}

/// A run of the chain, ready to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedBatch {
    pub epoch: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    /// Chain value before `first_seq` and after `last_seq`.
    pub prev_head: Digest,
    pub head: Digest,
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record as it was encoded, once.
    Record(Bytes),
    Elision(Elision),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    #[error(
        "the hub acknowledged seq {seq} with a chain value that is not ours; nothing is deleted"
    )]
    HeadMismatch { seq: u64 },
    #[error("the hub acknowledged seq {seq}, which was never sent (the last is {last})")]
    Unknown { seq: u64, last: u64 },
    #[error("the spool is closed")]
    Closed,
}

/// Cheap to clone; every clone reaches the same spool.
#[derive(Clone)]
pub struct Outbox {
    position: watch::Receiver<Position>,
    wake: watch::Receiver<u64>,
}

impl Outbox {
    #[must_use]
    pub fn position(&self) -> watch::Receiver<Position> {
        self.position.clone()
    }

    /// Counts up whenever there may be something new to send, sealed or not.
    #[must_use]
    pub fn wake(&self) -> watch::Receiver<u64> {
        self.wake.clone()
    }

    /// The next batch from `seq` on: at most [`provost_model::limits::MAX_BATCH_RECORDS`] records or
    /// [`provost_model::limits::MAX_BATCH_BYTES`]. Pending changes are sealed when `seq` is past the
    /// last record. Where `seq` is held no more, the batch starts with an Elision and a snapshot
    /// follows. None: nothing to send now; wait for [`Outbox::wake`].
    #[expect(clippy::todo, reason = "lands with the recorder")]
    #[expect(clippy::unused_async, reason = "lands with the recorder")]
    pub async fn batch_from(&self, seq: u64) -> Option<SealedBatch> {
        todo!("{seq}")
    }

    /// The hub has stored everything up to `seq`, where its chain stands at `head`.
    #[expect(clippy::todo, reason = "lands with the recorder")]
    #[expect(clippy::unused_async, reason = "lands with the recorder")]
    pub async fn ack(&self, seq: u64, head: Digest) -> Result<(), AckError> {
        todo!("{seq} {head}")
    }

    /// Starts the next epoch at the hub's word: an empty chain, then the policy set and a snapshot.
    #[expect(clippy::todo, reason = "lands with the recorder")]
    #[expect(clippy::unused_async, reason = "lands with the recorder")]
    pub async fn new_epoch(&self) -> Option<Position> {
        todo!()
    }
}

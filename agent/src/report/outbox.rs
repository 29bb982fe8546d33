//! The sending end: batches cut from the spool, acknowledgements, epochs.

use std::time::Duration;

use bytes::Bytes;
use provost_model::Digest;
use provost_model::limits::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS};
use provost_model::record::{Class, Elision, ElisionReason, SnapshotReason};
use provost_trust::chain;
use tokio::sync::{mpsc, oneshot, watch};

use super::recorder::Control;
use crate::spool::thread::{Announced, Handle};
use crate::spool::{self, Anchor, Limit, Tally};

/// Where the chain of this instance stands. Everything in it but `pending` is durable.
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
    /// Changes and events that have no seq yet: in memory alone.
    pub pending: u64,
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

/// How long a seal may take before the sender goes on with other things: a snapshot is under way.
const SEAL_WITHIN: Duration = Duration::from_millis(250);
const BATCH: Limit = Limit { records: MAX_BATCH_RECORDS, bytes: MAX_BATCH_BYTES };

/// Cheap to clone; every clone reaches the same spool.
#[derive(Clone)]
pub struct Outbox {
    spool: Handle,
    control: mpsc::Sender<Control>,
    wake: watch::Receiver<u64>,
    position: watch::Receiver<Position>,
}

impl Default for Position {
    /// Of a chain that has not begun.
    fn default() -> Self {
        Self {
            epoch: 0,
            last_seq: 0,
            head: chain::GENESIS,
            first_held_seq: 0,
            acked_seq: 0,
            records: 0,
            pending: 0,
            bytes: 0,
            oldest_wall_ms: None,
        }
    }
}

impl Position {
    /// What the spool says, and nothing of what is not in it yet.
    pub(super) fn of(announced: &Announced) -> Self {
        let Announced { extent, oldest_wall_ms } = announced;
        let holds_some = extent.first_held <= extent.last.seq;
        Self {
            epoch: extent.epoch,
            last_seq: extent.last.seq,
            head: extent.last.head,
            first_held_seq: if holds_some { extent.first_held } else { 0 },
            acked_seq: extent.acked.seq,
            records: extent.unacked,
            pending: 0,
            bytes: extent.bytes,
            oldest_wall_ms: *oldest_wall_ms,
        }
    }
}

impl Outbox {
    pub(super) const fn new(
        spool: Handle,
        control: mpsc::Sender<Control>,
        wake: watch::Receiver<u64>,
        position: watch::Receiver<Position>,
    ) -> Self {
        Self { spool, control, wake, position }
    }

    #[must_use]
    pub fn position(&self) -> watch::Receiver<Position> {
        self.position.clone()
    }

    /// Counts up whenever there may be something new to send, sealed or not.
    #[must_use]
    pub fn wake(&self) -> watch::Receiver<u64> {
        self.wake.clone()
    }

    /// The next batch from `seq` on: at most [`MAX_BATCH_RECORDS`] records or [`MAX_BATCH_BYTES`].
    /// Pending changes are sealed when `seq` is past the last record. Where `seq` is held no more,
    /// the batch starts with an Elision that may begin before `seq`, and a snapshot follows. None:
    /// nothing to send now; wait for [`Outbox::wake`].
    pub async fn batch_from(&self, seq: u64) -> Option<SealedBatch> {
        let seq = seq.max(1);
        if seq > self.spool.announced().borrow().extent.last.seq {
            self.seal().await;
        }
        let announced = self.spool.announced();
        let (epoch, last) = {
            let extent = announced.borrow().extent;
            (extent.epoch, extent.last.seq)
        };
        if seq > last {
            return None;
        }
        let items = match self.spool.read(seq, BATCH).await {
            Ok(items) => items,
            Err(spool::Error::Gone { first_held, .. }) => self.gone(seq, first_held).await?,
            Err(error) => {
                tracing::error!(%error, "nothing can be sent");
                return None;
            }
        };
        sealed(epoch, items)
    }

    /// The hub has stored everything up to `seq`, where its chain stands at `head`.
    pub async fn ack(&self, seq: u64, head: Digest) -> Result<(), AckError> {
        let acked = Anchor { seq, head };
        match self.spool.acknowledge(acked).await {
            Ok(()) => Ok(()),
            Err(spool::Error::HeadMismatch { seq }) => Err(AckError::HeadMismatch { seq }),
            Err(spool::Error::Unknown { seq, last }) => Err(AckError::Unknown { seq, last }),
            Err(error) => {
                // What is not deleted now is deleted with the next acknowledgement.
                tracing::error!(%error, "an acknowledgement was not taken");
                Err(AckError::Closed)
            }
        }
    }

    /// Starts the next epoch at the hub's word: an empty chain, then the policy set and a snapshot.
    pub async fn new_epoch(&self) -> Option<Position> {
        let (done, answer) = oneshot::channel();
        self.control.send(Control::NewEpoch(done)).await.ok()?;
        answer.await.ok()?
    }

    async fn seal(&self) {
        let (done, sealed) = oneshot::channel();
        if self.control.try_send(Control::Seal(done)).is_ok() {
            // Late is as good as never: the wake that follows asks again.
            let _ = tokio::time::timeout(SEAL_WITHIN, sealed).await;
        }
    }

    /// The hub was restored from a backup that is older than the tail. What the chain was before
    /// `seq` is not known any more; what it was before the first record always is.
    async fn gone(&self, seq: u64, first_held: u64) -> Option<Vec<spool::Item>> {
        let after = self.spool.chain_at(first_held - 1).await.ok().flatten()?;
        let snapshot = Control::Snapshot(SnapshotReason::Elision);
        // A queue that is full of events has a snapshot in its future anyhow: the hub asks again.
        let _ = self.control.try_send(snapshot);
        Some(vec![spool::Item::Elision(Elision {
            from_seq: 1,
            to_seq: first_held - 1,
            chain_before: chain::GENESIS,
            chain_after: after,
            reason: ElisionReason::Cap,
            counts: Tally::unknown(Class::P1, first_held - seq).to_counts(),
        })])
    }
}

fn sealed(epoch: u64, items: Vec<spool::Item>) -> Option<SealedBatch> {
    let ends = |item: &spool::Item| match item {
        spool::Item::Record(entry) => (entry.seq, entry.seq, entry.before, entry.after),
        spool::Item::Elision(e) => (e.from_seq, e.to_seq, e.chain_before, e.chain_after),
    };
    let (first_seq, _, prev_head, _) = ends(items.first()?);
    let (_, last_seq, _, head) = ends(items.last()?);
    let item = |item| match item {
        spool::Item::Record(entry) => Item::Record(entry.record),
        spool::Item::Elision(elision) => Item::Elision(elision),
    };
    let items = items.into_iter().map(item).collect();
    Some(SealedBatch { epoch, first_seq, last_seq, prev_head, head, items })
}

//! The chain of one simulated agent, in memory: records are encoded when they are sent, and kept
//! until the hub has acknowledged them.
//!
//! What an agent has beside it and this has not: a disk, changes that coalesce, and snapshots.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use provost_model::Digest;
use provost_model::limits::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS};
use provost_model::record::{
    BundleRecord, ClockQuality, ModeRecord, RecordBody, SnapshotReason, TrustRecord,
};
use provost_proto::{policy_set, record};
use provost_runtime::clock::SharedClock;
use provost_trust::chain;
use tokio::sync::watch;

use super::records::{self, World};
use crate::report::{AckError, Chain, Item, Journal, Position, SealedBatch};

/// What all simulated agents of a process have made and brought through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Verdict records.
    pub made: u64,
    /// Their encoded bytes, before compression.
    pub bytes: u64,
    /// Verdict records that the hub has stored.
    pub acked: u64,
    /// Snapshots that the hub asked for, which are not made.
    pub resyncs: u64,
}

pub struct Simulated {
    state: Mutex<State>,
    position: watch::Sender<Position>,
    wake: watch::Sender<u64>,
    tally: Arc<watch::Sender<Tally>>,
    clock: SharedClock,
    objects: u64,
}

#[derive(Default)]
struct State {
    world: Option<World>,
    /// Not acknowledged, in seq order.
    held: VecDeque<Held>,
    /// Verdict records made so far, and how many may be.
    made: u64,
    allowed: u64,
}

struct Held {
    seq: u64,
    before: Digest,
    after: Digest,
    bytes: Bytes,
    is_verdict: bool,
}

impl Simulated {
    #[must_use]
    pub fn new(objects: u64, clock: SharedClock, tally: Arc<watch::Sender<Tally>>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            position: watch::Sender::new(Position { epoch: 1, ..Position::default() }),
            wake: watch::Sender::new(0),
            tally,
            clock,
            objects: objects.max(1),
        })
    }

    /// So many verdict records more may be made.
    pub fn allow(&self, records: u64) {
        self.lock().allowed += records;
        self.stir();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stir(&self) {
        self.wake.send_modify(|count| *count += 1);
    }

    fn event(&self, body: RecordBody) {
        let mut state = self.lock();
        let set = state.world.as_ref().map(|world| world.digest);
        self.append(&mut state, body, set);
        drop(state);
        self.stir();
    }

    /// Returns the length of what was encoded.
    fn append(&self, state: &mut State, body: RecordBody, set: Option<Digest>) -> usize {
        let is_verdict = matches!(body, RecordBody::Verdict(_));
        let Position { last_seq, head: before, .. } = *self.position.borrow();
        let seq = last_seq + 1;
        let bytes = record::encode(&records::record(seq, body, set, &*self.clock));
        let after = chain::next(&before, &chain::leaf(&bytes));
        let length = bytes.len();
        state.held.push_back(Held { seq, before, after, bytes, is_verdict });
        self.position.send_modify(|position| {
            position.last_seq = seq;
            position.head = after;
            position.records += 1;
        });
        length
    }

    /// Makes what one batch takes, as far as it is allowed.
    fn fill(&self, state: &mut State, seq: u64) {
        let (mut count, mut bytes) = (0, 0);
        while state.made < state.allowed && count < MAX_BATCH_RECORDS && bytes < MAX_BATCH_BYTES {
            if self.position.borrow().last_seq >= seq + MAX_BATCH_RECORDS as u64 {
                break;
            }
            let Some(world) = &state.world else { break };
            let (body, set) = (world.body(state.made), world.digest);
            bytes += self.append(state, body, Some(set));
            state.made += 1;
            count += 1;
        }
        self.tally.send_modify(|tally| {
            tally.made += count as u64;
            tally.bytes += bytes as u64;
        });
    }
}

#[async_trait]
impl Chain for Simulated {
    fn position(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    fn wake(&self) -> watch::Receiver<u64> {
        self.wake.subscribe()
    }

    async fn batch_from(&self, seq: u64) -> Option<SealedBatch> {
        let seq = seq.max(1);
        let mut state = self.lock();
        self.fill(&mut state, seq);
        let from = state.held.partition_point(|held| held.seq < seq);
        let mut bytes = 0;
        let fits = |held: &&Held| {
            let fits = bytes < MAX_BATCH_BYTES;
            bytes += held.bytes.len();
            fits
        };
        let taken: Vec<&Held> =
            state.held.range(from..).take(MAX_BATCH_RECORDS).take_while(fits).collect();
        let (first, last) = (taken.first()?, taken.last()?);
        Some(SealedBatch {
            epoch: self.position.borrow().epoch,
            first_seq: first.seq,
            last_seq: last.seq,
            prev_head: first.before,
            head: last.after,
            items: taken.iter().map(|held| Item::Record(held.bytes.clone())).collect(),
        })
    }

    async fn ack(&self, seq: u64, head: Digest) -> Result<(), AckError> {
        let mut state = self.lock();
        let upto = state.held.partition_point(|held| held.seq <= seq);
        let Some(last) = upto.checked_sub(1).and_then(|at| state.held.get(at)) else {
            return Ok(());
        };
        if (last.seq, last.after) != (seq, head) {
            return Err(AckError::HeadMismatch { seq });
        }
        let verdicts = state.held.drain(..upto).filter(|held| held.is_verdict).count() as u64;
        let left = state.held.len() as u64;
        drop(state);
        self.position.send_modify(|position| {
            position.acked_seq = seq;
            position.records = left;
            position.first_held_seq = if left == 0 { 0 } else { seq + 1 };
        });
        self.tally.send_modify(|tally| tally.acked += verdicts);
        Ok(())
    }

    async fn new_epoch(&self) -> Option<Position> {
        // The hub stores what this process made, and the process does not outlive its chains.
        tracing::error!("the hub asked for a new epoch, which is not simulated");
        None
    }
}

#[async_trait]
impl Journal for Simulated {
    async fn bundle(&self, event: BundleRecord) {
        if let Some(set) = &event.policy_set {
            let digest = Digest::of(&policy_set::encode(set));
            let (set, objects) = (set.clone(), self.objects);
            self.lock().world = Some(World { set, digest, objects });
        }
        self.event(RecordBody::Bundle(event));
    }

    async fn trust(&self, event: TrustRecord) {
        self.event(RecordBody::Trust(event));
    }

    async fn mode(&self, event: ModeRecord) {
        self.event(RecordBody::Mode(event));
    }

    async fn clock(&self, _: i64, _: ClockQuality) {}

    async fn request_snapshot(&self, _: SnapshotReason) {
        self.tally.send_modify(|tally| tally.resyncs += 1);
    }
}

#[cfg(test)]
mod tests {
    use provost_model::record::BundleEvent;
    use provost_model::{
        Action, BindingId, FailMode, PolicySet, PolicySetEntry, Severity, binding::Origin,
    };
    use provost_runtime::clock::System;

    use super::*;

    fn bundle() -> BundleRecord {
        let entry = |number: u8| PolicySetEntry {
            policy: format!("policy-{}", char::from(b'a' + number)).parse().unwrap(),
            binding: BindingId::default_binding(),
            revision: Digest::of(&[number]),
            action: Action::Warn,
            fail_mode: FailMode::Closed,
            severity: Severity::High,
            scored: true,
            origin: Origin::Bundle(Digest::of(b"")),
            title: String::new(),
            code: String::new(),
            category: String::new(),
        };
        BundleRecord {
            event: BundleEvent::Activated,
            channel: "stable".to_owned(),
            version: 1,
            manifest: Digest::of(b"manifest"),
            policy_set: Some(PolicySet { entries: (0..18).map(entry).collect() }),
            errors: Vec::new(),
        }
    }

    #[tokio::test]
    async fn batches_are_one_chain_of_records_that_a_hub_can_read() {
        let (sender, tally) = watch::channel(Tally::default());
        let chain = Simulated::new(100, System::shared(), Arc::new(sender));
        chain.allow(1200);
        assert!(chain.batch_from(1).await.is_none(), "no policy set, no verdict");
        chain.bundle(bundle()).await;
        let (mut next, mut head, mut records) = (1, chain::GENESIS, 0);
        while let Some(batch) = chain.batch_from(next).await {
            assert_eq!((batch.first_seq, batch.prev_head), (next, head));
            for item in &batch.items {
                let Item::Record(bytes) = item else { panic!("an elision") };
                let decoded = record::decode(bytes).unwrap();
                assert_eq!(decoded.header.seq, next);
                next += 1;
                records += 1;
                head = chain::next(&head, &chain::leaf(bytes));
            }
            assert_eq!(batch.head, head);
            // Until it is acknowledged, it can be had again.
            assert_eq!(chain.batch_from(batch.first_seq).await.unwrap().head, batch.head);
        }
        assert_eq!(records, 1201);
        let wrong = chain.ack(1201, chain::GENESIS).await;
        assert_eq!(wrong, Err(AckError::HeadMismatch { seq: 1201 }));
        assert_eq!(tally.borrow().acked, 0);
        chain.ack(1201, head).await.unwrap();
        assert_eq!((tally.borrow().made, tally.borrow().acked), (1200, 1200));
    }
}

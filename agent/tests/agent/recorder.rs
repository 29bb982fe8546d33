//! A recorder in memory: a chain that tests append to, and a journal that they read.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use provost_agent::report::{AckError, Chain, Item, Journal, Position, SealedBatch};
use provost_agent::run::DataPlane;
use provost_model::Digest;
use provost_model::id::BootId;
use provost_model::record::{
    BundleRecord, Class, ClockQuality, ModeEvent, ModeRecord, Record, RecordBody, RecordHeader,
    SnapshotReason, TrustRecord,
};
use provost_trust::chain::{self, GENESIS};
use tokio::sync::watch;

/// Cut small, so that flow control has something to do.
const BATCH_RECORDS: usize = 2;

#[derive(Default)]
pub struct Seen {
    pub bundles: Vec<BundleRecord>,
    pub trust: Vec<TrustRecord>,
    pub modes: Vec<ModeRecord>,
    pub snapshots: Vec<SnapshotReason>,
}

pub struct Recorder {
    records: Mutex<Vec<Bytes>>,
    position: watch::Sender<Position>,
    wake: watch::Sender<u64>,
    pub seen: Mutex<Seen>,
}

impl Recorder {
    pub fn new() -> Arc<Self> {
        let position = Position {
            epoch: 1,
            last_seq: 0,
            head: GENESIS,
            first_held_seq: 0,
            acked_seq: 0,
            records: 0,
            pending: 0,
            bytes: 0,
            oldest_wall_ms: None,
        };
        Arc::new(Self {
            records: Mutex::default(),
            position: watch::Sender::new(position),
            wake: watch::Sender::new(0),
            seen: Mutex::default(),
        })
    }

    pub fn plane(self: &Arc<Self>) -> DataPlane {
        DataPlane { chain: self.clone(), journal: self.clone() }
    }

    /// Appends `count` records to the chain.
    pub fn append(&self, count: u64) {
        let mut records = self.records.lock().unwrap();
        for _ in 0..count {
            let seq = records.len() as u64 + 1;
            let bytes = provost_proto::record::encode(&record(seq));
            let leaf = chain::leaf(&bytes);
            records.push(bytes);
            self.position.send_modify(|position| {
                position.head = chain::next(&position.head, &leaf);
                position.last_seq = seq;
                position.records += 1;
            });
        }
        self.wake.send_modify(|wake| *wake += 1);
    }

    pub fn acked_seq(&self) -> u64 {
        self.position.borrow().acked_seq
    }

    fn head_at(&self, seq: u64) -> Digest {
        let records = self.records.lock().unwrap();
        let upto = usize::try_from(seq).unwrap();
        chain::extend(GENESIS, records[..upto].iter().map(|bytes| &bytes[..]))
    }
}

fn record(seq: u64) -> Record {
    let header = RecordHeader {
        seq,
        class: Class::P0,
        boot: BootId::from_bytes([1; 16]),
        monotonic_ms: seq,
        wall_ms: 1_800_000_000_000,
        clock_quality: ClockQuality::Local,
        policy_set: None,
        coalesced: 1,
        exemption_id: String::new(),
        trace_parent: String::new(),
    };
    let body = RecordBody::Mode(ModeRecord {
        event: ModeEvent::Started,
        capability: "watch".to_owned(),
        detail: String::new(),
    });
    Record { header, body }
}

#[async_trait]
impl Chain for Recorder {
    fn position(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    fn wake(&self) -> watch::Receiver<u64> {
        self.wake.subscribe()
    }

    async fn batch_from(&self, seq: u64) -> Option<SealedBatch> {
        let first = usize::try_from(seq - 1).unwrap();
        let items: Vec<Item> = {
            let records = self.records.lock().unwrap();
            let cut = records.iter().skip(first).take(BATCH_RECORDS);
            cut.cloned().map(Item::Record).collect()
        };
        let count = items.len() as u64;
        (count > 0).then(|| SealedBatch {
            epoch: self.position.borrow().epoch,
            first_seq: seq,
            last_seq: seq + count - 1,
            prev_head: self.head_at(seq - 1),
            head: self.head_at(seq + count - 1),
            items,
        })
    }

    async fn ack(&self, seq: u64, head: Digest) -> Result<(), AckError> {
        if self.head_at(seq) != head {
            return Err(AckError::HeadMismatch { seq });
        }
        self.position.send_modify(|position| {
            position.acked_seq = seq;
            position.records = position.last_seq - seq;
        });
        Ok(())
    }

    async fn new_epoch(&self) -> Option<Position> {
        self.records.lock().unwrap().clear();
        self.position.send_modify(|position| {
            position.epoch += 1;
            position.last_seq = 0;
            position.acked_seq = 0;
            position.records = 0;
            position.head = GENESIS;
        });
        Some(self.position.borrow().clone())
    }
}

#[async_trait]
impl Journal for Recorder {
    async fn bundle(&self, event: BundleRecord) {
        self.seen.lock().unwrap().bundles.push(event);
    }

    async fn trust(&self, event: TrustRecord) {
        self.seen.lock().unwrap().trust.push(event);
    }

    async fn mode(&self, event: ModeRecord) {
        self.seen.lock().unwrap().modes.push(event);
    }

    async fn clock(&self, _: i64, _: ClockQuality) {}

    async fn request_snapshot(&self, reason: SnapshotReason) {
        self.seen.lock().unwrap().snapshots.push(reason);
    }
}

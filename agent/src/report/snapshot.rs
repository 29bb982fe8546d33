//! Snapshots: every subject with all its verdicts, between a begin and an end record.
//!
//! Invariants: no change of a verdict stands between them, because the recorder does nothing else meanwhile; a
//! snapshot waits for room and never sheds for it; one that cannot end is begun again later, and
//! the hub closes nothing by one that has no end.

use std::collections::BTreeMap;
use std::time::Duration;

use provost_model::id::SnapshotId;
use provost_model::policy::Checkpoint as At;
use provost_model::record::{
    Class, OutcomeCount, Record, RecordBody, RecordHeader, SnapshotEnd, SnapshotReason,
};
use provost_model::{NotEvaluated, Outcome};
use provost_proto::record::decode;

use super::recorder::Recorder;
use super::records::{Indexed, split};
use crate::spool::{self, Room};
use crate::state::checkpoint::{self, Reader};

/// Records of one append.
const STEP_RECORDS: usize = 256;
/// How long a snapshot that has begun waits for the hub to make room.
const ROOM_WITHIN: Duration = Duration::from_secs(30);

/// The part of health of a spool that was set aside.
const NEWER: &str = "spool.newer";

type Counts = BTreeMap<(u32, Outcome), u64>;

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("no room in the spool")]
    NoRoom,
    #[error("{0}")]
    Spool(spool::Error),
    #[error(transparent)]
    Table(#[from] checkpoint::Error),
    #[error("reading the table was cut short")]
    Cut,
}

impl Recorder {
    pub(super) async fn snapshot_if_due(&mut self) {
        let Some(reason) = self.snapshot_due else { return };
        let Some(indexed) = self.current.clone() else { return };
        if !self.is_complete || !self.has_room_for_snapshot(reason).await {
            return;
        }
        let is_saved = self.seal().await && self.write_checkpoint().await;
        if !is_saved || !self.has_room_for_snapshot(reason).await {
            return;
        }
        match self.snapshot(reason, &indexed).await {
            Ok(subjects) => {
                tracing::info!(%reason, subjects, "snapshot taken");
                self.snapshot_due = None;
                self.snapshot_waits(None);
                self.had_snapshot = true;
                self.snapshot_at = self.clock.monotonic();
            }
            Err(error) => tracing::warn!(%error, "a snapshot was begun in vain; it is due still"),
        }
    }

    /// Records pack to less than a third. After a loss for want of room a quarter of the budget must be free
    /// first: a snapshot taken at once would only bring the next loss nearer.
    async fn has_room_for_snapshot(&mut self, reason: SnapshotReason) -> bool {
        let bytes = self.table_bytes / 3;
        let bytes = match reason {
            SnapshotReason::Elision => bytes.max(self.budget_bytes / 4),
            _ => bytes,
        };
        let free = self.spool.room_bytes().await;
        let waits = (free < bytes).then(|| {
            format!("snapshot waits: needs {bytes} bytes, {free} free until the hub has acknowledged more")
        });
        let has_room = waits.is_none();
        // With room it waits no more once it is taken: its own records may fill it again.
        if !has_room {
            self.snapshot_waits(waits);
        }
        has_room
    }

    fn snapshot_waits(&mut self, waits: Option<String>) {
        self.health.set_optional("snapshot", waits.is_none(), waits.unwrap_or_default());
    }

    /// What was recorded is durable. That somebody is to look at a spool which was set aside is a part of its own,
    /// and no reason not to be ready: by `spool` alone the hub judges whether all that was found gets out.
    pub(super) fn tell_spool_health(&self) {
        self.health.set("spool", true, "");
        let kept = self.newer_kept();
        if kept.is_some() || self.health.parts().contains_key(NEWER) {
            self.health.set_optional(NEWER, kept.is_none(), kept.unwrap_or_default());
        }
    }

    async fn snapshot(&mut self, reason: SnapshotReason, indexed: &Indexed) -> Result<u64, Failed> {
        let id = SnapshotId::from_bytes(rand::random());
        let header = self.header(Class::P2);
        let begin = RecordBody::SnapshotBegin { id, reason };
        let mut records = vec![Record { header: header.clone(), body: begin }];
        let mut counts = Counts::new();
        let mut subjects = 0;
        let mut reader = self.checkpoint.read()?;
        while let Some(mut open) = reader.take() {
            let step =
                move || read_step(&mut open).map(|(parts, more)| (parts, more.then_some(open)));
            let read = tokio::task::spawn_blocking(step).await.map_err(|_| Failed::Cut)?;
            let (parts, rest) = read?;
            reader = rest;
            for record in parts {
                let stated = restated(record, &header, id, &mut counts);
                subjects += u64::from(stated.first);
                records.extend(stated.record);
            }
            if records.len() >= STEP_RECORDS {
                self.add(std::mem::take(&mut records)).await?;
            }
        }
        let count = |((binding, outcome), count)| OutcomeCount { binding, outcome, count };
        let end = SnapshotEnd {
            id,
            subjects,
            counts: counts.into_iter().map(count).collect(),
            not_evaluated: self.not_evaluated(indexed),
        };
        records.extend(split(Record { header, body: RecordBody::SnapshotEnd(end) }));
        self.add(records).await?;
        Ok(subjects)
    }

    /// Appends without shedding; waits for acknowledgements when there is no room.
    async fn add(&mut self, mut records: Vec<Record>) -> Result<(), Failed> {
        let mut announced = self.spool.announced();
        let give_up = tokio::time::Instant::now() + ROOM_WITHIN;
        loop {
            announced.mark_unchanged();
            match self.append(records, Room::Keep).await {
                Ok(()) => return Ok(()),
                Err(refused) if matches!(refused.error, spool::Error::NoRoom) => {
                    records = refused.records;
                }
                Err(refused) => return Err(Failed::Spool(refused.error)),
            }
            let changed = tokio::time::timeout_at(give_up, announced.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(Failed::NoRoom);
            }
        }
    }

    /// What the set does not evaluate, and every binding that would on a kind that cannot be read.
    fn not_evaluated(&self, indexed: &Indexed) -> Vec<NotEvaluated> {
        let mut all = indexed.set.not_evaluated(At::Run);
        for kind in &self.unavailable {
            for entry in &indexed.set.policy_set().entries {
                let Some(meta) = indexed.set.meta(&entry.policy) else { continue };
                let asks = meta.kinds.iter().any(|selector| {
                    selector.group == kind.group && selector.kinds.contains(&kind.kind)
                });
                if asks {
                    all.push(NotEvaluated {
                        policy: entry.policy.clone(),
                        binding: entry.binding.clone(),
                        group: kind.group.clone(),
                        kind: kind.kind.clone(),
                        reason: kind.reason,
                        detail: kind.detail.chars().take(200).collect(),
                    });
                }
            }
        }
        all.sort();
        all.dedup();
        all
    }
}

/// Encoded parts, each with whether it is its subject's first; and whether there is more.
type Step = (Vec<(bool, bytes::Bytes)>, bool);

fn read_step(reader: &mut Reader) -> Result<Step, checkpoint::Error> {
    let mut parts = Vec::new();
    while parts.len() < STEP_RECORDS {
        let Some(subject) = reader.next_subject()? else { return Ok((parts, false)) };
        let is_first = std::iter::once(true).chain(std::iter::repeat(false));
        parts.extend(is_first.zip(subject.parts));
    }
    Ok((parts, true))
}

struct Restated {
    first: bool,
    record: Option<Record>,
}

/// The part as a record of this snapshot; none where it was said under another policy set: its
/// subject cannot be read any more, and `not_evaluated` says so.
fn restated(
    (first, bytes): (bool, bytes::Bytes),
    header: &RecordHeader,
    id: SnapshotId,
    counts: &mut Counts,
) -> Restated {
    let nothing = Restated { first: false, record: None };
    let Ok(Record { header: said, body: RecordBody::Verdict(mut body) }) = decode(&bytes) else {
        return nothing;
    };
    if said.policy_set != header.policy_set {
        return nothing;
    }
    for verdict in &body.verdicts {
        *counts.entry((verdict.binding, verdict.outcome)).or_default() += 1;
    }
    for &binding in &body.passes {
        *counts.entry((binding, Outcome::Pass)).or_default() += 1;
    }
    body.snapshot = Some(id);
    let record = Record { header: header.clone(), body: RecordBody::Verdict(body) };
    Restated { first, record: Some(record) }
}

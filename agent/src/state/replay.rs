//! The start: the checkpoint, then the spool's newer records over it.
//!
//! A subject that the spool says something newer of loses its stamp: it is evaluated again when it is next
//! seen, and what was last reported of it is known meanwhile. Where the checkpoint is damaged or
//! the spool has lost what came after it, nothing is trusted but what can be read, every object is
//! evaluated again, and the first snapshot puts the hub right.

use std::collections::HashMap;

use provost_model::record::{Record, RecordBody, VerdictRecord};
use provost_model::{Digest, PolicySet, Subject};
use provost_proto::{policy_set, record};

use super::checkpoint::{Checkpoint, Reader};
use super::table::{Cell, Stamp, Table};
use crate::key::Key;
use crate::spool::{Error, Item, Limit, thread};

const STEP: Limit = Limit { records: 1024, bytes: 1024 * 1024 };

/// What is known at the start.
#[derive(Debug, Default)]
pub struct Start {
    pub table: Table,
    /// The policy set that the last Bundle record carried.
    pub announced: Option<Digest>,
    /// Seq up to which the checkpoint goes.
    pub checkpoint: u64,
}

enum Delta {
    Verdicts(Option<Digest>, Box<VerdictRecord>),
    Removed,
}

#[derive(Default)]
struct Newer {
    by_subject: HashMap<Key, Vec<Delta>>,
    sets: Vec<(Digest, PolicySet)>,
    announced: Option<Digest>,
    is_whole: bool,
}

pub async fn start(checkpoint: &Checkpoint, spool: &thread::Handle) -> Start {
    let extent = spool.announced().borrow().extent;
    let reader = match checkpoint.read() {
        Ok(reader) => reader,
        Err(error) => {
            tracing::error!(%error, "starting with an empty one; everything is evaluated again");
            None
        }
    };
    let header = reader.as_ref().map(|reader| reader.header().clone());
    let same_epoch = header.as_ref().filter(|header| header.epoch == extent.epoch);
    let from = same_epoch.map_or(0, |header| header.seq) + 1;
    let newer = read_newer(spool, from, extent.last.seq).await;
    let mut start = Start {
        announced: newer.announced.or(same_epoch.and_then(|header| header.announced)),
        checkpoint: from - 1,
        ..Start::default()
    };
    if let Some(header) = &header {
        start.table.set_names(header.names.clone(), header.sets.clone());
    }
    for (digest, set) in &newer.sets {
        start.table.number(*digest, set);
    }
    if let Some(reader) = reader
        && let Err(error) = load(reader, &mut start.table)
    {
        tracing::error!(%error, "the rest of it is evaluated again");
    }
    let is_whole = newer.is_whole && (same_epoch.is_some() || start.table.is_empty());
    for (key, deltas) in newer.by_subject {
        apply(&mut start.table, key, deltas);
    }
    if !is_whole {
        start.table.distrust();
    }
    start
}

fn load(mut reader: Reader, table: &mut Table) -> Result<(), super::checkpoint::Error> {
    while let Some(subject) = reader.next_subject()? {
        table.restore(subject.key, subject.stamp, &subject.uid, subject.cells);
    }
    Ok(())
}

async fn read_newer(spool: &thread::Handle, from: u64, last: u64) -> Newer {
    let mut newer = Newer { is_whole: true, ..Newer::default() };
    let mut at = from;
    while at <= last {
        let items = match spool.read(at, STEP).await {
            Ok(items) if items.is_empty() => break,
            Ok(items) => items,
            Err(Error::Gone { first_held, .. }) if first_held > at => {
                newer.is_whole = false;
                at = first_held;
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "the spool cannot be read back");
                newer.is_whole = false;
                break;
            }
        };
        for item in items {
            match item {
                Item::Record(entry) => {
                    at = entry.seq + 1;
                    match record::decode(&entry.record) {
                        Ok(record) => newer.take(record),
                        Err(_) => newer.is_whole = false,
                    }
                }
                Item::Elision(elision) => {
                    at = elision.to_seq + 1;
                    newer.is_whole = false;
                }
            }
        }
    }
    newer
}

impl Newer {
    fn take(&mut self, record: Record) {
        let set = record.header.policy_set;
        match record.body {
            RecordBody::Verdict(body) if body.snapshot.is_none() => {
                if let Subject::Kubernetes(subject) = &body.subject {
                    let delta = Delta::Verdicts(set, Box::new(body.clone()));
                    self.by_subject.entry(Key::of(subject)).or_default().push(delta);
                }
            }
            RecordBody::SubjectRemoved { subject: Subject::Kubernetes(subject), .. } => {
                self.by_subject.entry(Key::of(&subject)).or_default().push(Delta::Removed);
            }
            RecordBody::Bundle(body) => {
                if let Some(set) = body.policy_set {
                    let digest = policy_set::digest(&set);
                    self.sets.push((digest, set));
                    self.announced = Some(digest);
                }
            }
            _ => {}
        }
    }
}

fn apply(table: &mut Table, key: Key, deltas: Vec<Delta>) {
    let before = table.get(&key);
    let is_new = before.is_none();
    let mut uid = before.map(|entry| entry.uid.to_string()).unwrap_or_default();
    let mut cells: Vec<Cell> = before.map(|entry| entry.cells.to_vec()).unwrap_or_default();
    for delta in deltas {
        match delta {
            Delta::Removed => cells.clear(),
            Delta::Verdicts(set, body) => {
                uid.clone_from(&body.attributes.uid);
                let numbers = set.and_then(|set| table.numbers(&set)).unwrap_or_default();
                merge(&mut cells, &body, numbers);
            }
        }
    }
    if cells.is_empty() {
        table.remove(&key);
    } else if is_new {
        table.restore_new(key, &uid, cells);
    } else {
        table.restore(key, Stamp::default(), &uid, cells);
    }
}

fn merge(cells: &mut Vec<Cell>, body: &VerdictRecord, numbers: &[u16]) {
    let number = |index: u32| numbers.get(index as usize).copied();
    let mut set = |cell: Cell| {
        cells.retain(|old| old.binding() != cell.binding());
        cells.push(cell);
    };
    for verdict in &body.verdicts {
        if let Some(binding) = number(verdict.binding) {
            set(Cell::of(binding, verdict));
        }
    }
    for binding in body.passes.iter().filter_map(|index| number(*index)) {
        set(Cell::pass(binding));
    }
    for binding in body.withdrawn.iter().filter_map(|index| number(*index)) {
        cells.retain(|old| old.binding() != binding);
    }
    cells.sort_unstable();
}

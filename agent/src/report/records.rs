//! Bodies of verdict records: cut so that each is within the limit of one record.

use std::sync::Arc;

use provost_engine::CompiledSet;
use provost_model::limits::MAX_RECORD_BYTES;
use provost_model::record::{Record, RecordBody, ReportedVerdict, VerdictRecord};
use provost_model::{Attributes, Digest, Outcome, Subject, Verdict};
use provost_proto::record::encoded_len;

use super::reported;
use crate::state::Cell;

/// Left for the header, which is filled in later.
const HEADER_BYTES: usize = 1024;

/// A compiled set as records see it: its digest, and a number for each of its bindings.
#[derive(Clone)]
pub struct Indexed {
    pub set: Arc<CompiledSet>,
    pub digest: Digest,
    /// By index into the set; numbers do not change when the set does.
    pub numbers: Arc<[u16]>,
}

/// Every verdict of one subject: what travels of it, and what is remembered.
#[derive(Clone, Debug)]
pub struct Stated {
    pub subject: Subject,
    pub attributes: Attributes,
    pub verdicts: Vec<ReportedVerdict>,
    pub passes: Vec<u32>,
}

impl Stated {
    #[must_use]
    pub fn of(
        indexed: &Indexed,
        subject: Subject,
        attributes: Attributes,
        all: &[Verdict],
    ) -> Self {
        let mut stated = Self { subject, attributes, verdicts: Vec::new(), passes: Vec::new() };
        for verdict in all.iter().filter_map(|verdict| reported(&indexed.set, verdict, None)) {
            match verdict.outcome {
                Outcome::Pass => stated.passes.push(verdict.binding),
                _ => stated.verdicts.push(verdict),
            }
        }
        stated
    }

    /// Sorted by binding.
    #[must_use]
    pub fn cells(&self, indexed: &Indexed) -> Vec<Cell> {
        let number = |index: u32| indexed.numbers.get(index as usize).copied();
        let failing = self.verdicts.iter().filter_map(|v| Some(Cell::of(number(v.binding)?, v)));
        let passing = self.passes.iter().filter_map(|index| Some(Cell::pass(number(*index)?)));
        let mut cells: Vec<Cell> = failing.chain(passing).collect();
        cells.sort_unstable();
        cells
    }

    #[must_use]
    pub fn into_body(self) -> VerdictRecord {
        let Self { subject, attributes, verdicts, passes } = self;
        VerdictRecord {
            subject,
            attributes,
            verdicts,
            passes,
            withdrawn: Vec::new(),
            snapshot: None,
        }
    }
}

/// As many records as it takes; the first has the passes and what was withdrawn.
#[must_use]
pub fn split(record: Record) -> Vec<Record> {
    if encoded_len(&record) + HEADER_BYTES <= MAX_RECORD_BYTES {
        return vec![record];
    }
    let Record { header, body: RecordBody::Verdict(mut body) } = record else {
        return vec![shortened(record)];
    };
    if body.verdicts.len() < 2 {
        let record = Record { header, body: RecordBody::Verdict(body) };
        return vec![shortened(record)];
    }
    let rest = body.verdicts.split_off(body.verdicts.len() / 2);
    let second = VerdictRecord {
        subject: body.subject.clone(),
        attributes: body.attributes.clone(),
        verdicts: rest,
        passes: Vec::new(),
        withdrawn: Vec::new(),
        snapshot: body.snapshot,
    };
    let mut records = split(Record { header: header.clone(), body: RecordBody::Verdict(body) });
    records.extend(split(Record { header, body: RecordBody::Verdict(second) }));
    records
}

/// What is too large by itself loses its patches first, then its last findings; the total stays.
fn shortened(mut record: Record) -> Record {
    let verdicts = match &mut record.body {
        RecordBody::Verdict(body) => &mut body.verdicts,
        RecordBody::Admission(body) => &mut body.verdicts,
        _ => return record,
    };
    for finding in verdicts.iter_mut().flat_map(|verdict| &mut verdict.findings) {
        finding.patch = None;
    }
    while encoded_len(&record) + HEADER_BYTES > MAX_RECORD_BYTES {
        let verdicts = match &mut record.body {
            RecordBody::Verdict(body) => &mut body.verdicts,
            RecordBody::Admission(body) => &mut body.verdicts,
            _ => break,
        };
        let longest = verdicts.iter_mut().max_by_key(|verdict| verdict.findings.len());
        if longest.and_then(|verdict| verdict.findings.pop()).is_none() {
            break;
        }
    }
    record
}

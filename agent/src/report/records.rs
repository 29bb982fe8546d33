//! Bodies of verdict records: cut so that each is within the limit of one record.

use std::sync::Arc;

use provost_engine::CompiledSet;
use provost_model::record::{Record, RecordBody, ReportedVerdict, VerdictRecord};
use provost_model::{Attributes, Digest, Outcome, Subject, Verdict};
use provost_proto::record::{encoded_len, max_bytes};

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
    if fits(&record) {
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

fn fits(record: &Record) -> bool {
    encoded_len(record) + HEADER_BYTES <= max_bytes(&record.body)
}

/// What is too large by itself loses its patches first, then its last findings; the total stays. What
/// a snapshot did not evaluate loses its details, then its last entries.
fn shortened(mut record: Record) -> Record {
    if let RecordBody::SnapshotEnd(_) = &record.body {
        return shortened_end(record);
    }
    let verdicts = match &mut record.body {
        RecordBody::Verdict(body) => &mut body.verdicts,
        RecordBody::Admission(body) => &mut body.verdicts,
        _ => return record,
    };
    for finding in verdicts.iter_mut().flat_map(|verdict| &mut verdict.findings) {
        finding.patch = None;
    }
    while !fits(&record) {
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

fn shortened_end(mut record: Record) -> Record {
    let mut dropped = 0;
    while !fits(&record) {
        let RecordBody::SnapshotEnd(body) = &mut record.body else { break };
        let all = &mut body.not_evaluated;
        if all.iter().any(|entry| !entry.detail.is_empty()) {
            all.iter_mut().for_each(|entry| entry.detail.clear());
            continue;
        }
        let rest = all.len() - all.len() / 8 - 1;
        if all.is_empty() {
            break;
        }
        dropped += all.len() - rest;
        all.truncate(rest);
    }
    if dropped > 0 {
        tracing::error!(dropped, "a snapshot does not name all that it did not evaluate");
    }
    record
}

#[cfg(test)]
mod tests {
    use provost_model::id::BootId;
    use provost_model::limits::MAX_RECORD_BYTES;
    use provost_model::policy::Checkpoint;
    use provost_model::record::{Class, ClockQuality, RecordHeader};
    use provost_model::subject::ResourceRef;
    use provost_model::{Action, Finding, Fingerprint, Path, Severity};

    use super::*;

    fn verdict(binding: u32, findings: u8, patch_bytes: usize) -> ReportedVerdict {
        let finding = |number| Finding {
            fingerprint: Fingerprint::from_bytes([number; 16]),
            path: Path::default(),
            message: "m".repeat(1000),
            patch: Some(serde_json::json!(["p".repeat(patch_bytes)])),
            line: None,
        };
        ReportedVerdict {
            binding,
            outcome: Outcome::Fail,
            previous: None,
            action: Action::Deny,
            severity: Severity::High,
            findings: (0..findings).map(finding).collect(),
            findings_total: findings.into(),
            message: String::new(),
            code: String::new(),
            underlying: None,
        }
    }

    fn record(verdicts: Vec<ReportedVerdict>) -> Record {
        let text = |text: &str| text.to_owned();
        let subject = Subject::Kubernetes(ResourceRef {
            group: String::new(),
            kind: text("Pod"),
            namespace: text("x"),
            name: text("a"),
        });
        let attributes = Attributes::at(Checkpoint::Run);
        let stated = Stated { subject, attributes, verdicts, passes: vec![90, 91] };
        let header = RecordHeader {
            seq: 1,
            class: Class::P1,
            boot: BootId::from_bytes([1; 16]),
            monotonic_ms: 0,
            wall_ms: 0,
            clock_quality: ClockQuality::Local,
            policy_set: None,
            coalesced: 1,
            exemption_id: String::new(),
            trace_parent: String::new(),
        };
        Record { header, body: RecordBody::Verdict(stated.into_body()) }
    }

    fn bodies(records: Vec<Record>) -> Vec<VerdictRecord> {
        let body = |record: Record| {
            assert!(encoded_len(&record) <= MAX_RECORD_BYTES, "{}", encoded_len(&record));
            let RecordBody::Verdict(body) = record.body else { panic!("not a verdict") };
            body
        };
        records.into_iter().map(body).collect()
    }

    #[test]
    fn what_fits_stays_one_record() {
        let record = record(vec![verdict(0, 3, 10)]);
        assert_eq!(split(record.clone()), [record]);
    }

    #[test]
    fn verdicts_beyond_the_limit_go_into_further_records_and_none_is_lost() {
        let bodies =
            bodies(split(record((0..18).map(|binding| verdict(binding, 20, 10)).collect())));
        assert!(bodies.len() > 1);
        let bindings: Vec<u32> =
            bodies.iter().flat_map(|body| &body.verdicts).map(|verdict| verdict.binding).collect();
        assert_eq!(bindings, (0..18).collect::<Vec<_>>());
        assert!(
            bodies.iter().flat_map(|b| &b.verdicts).all(|verdict| verdict.findings.len() == 20)
        );
        let passes: Vec<u32> = bodies.iter().flat_map(|body| body.passes.clone()).collect();
        assert_eq!(passes, [90, 91]);
    }

    #[test]
    fn one_verdict_beyond_the_limit_loses_its_patches_and_keeps_its_total() {
        let bodies = bodies(split(record(vec![verdict(0, 20, 4000)])));
        let verdict = &bodies[0].verdicts[0];
        assert_eq!((bodies.len(), verdict.findings.len(), verdict.findings_total), (1, 20, 20));
        assert!(verdict.findings.iter().all(|finding| finding.patch.is_none()));
    }
}

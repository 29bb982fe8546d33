//! How records change current state: pure, shared by every store.
//!
//! A store loads what a batch has [`named`], pushes the batch's items through a [`Fold`] in order, and writes what
//! changed. Where [`Step::CloseUnseen`] comes back it writes first, loads what the snapshot did not see, hands that to
//! [`Fold::close_unseen`], and goes on.
//!
//! Invariants: only verdict, removal and snapshot records change state; only a snapshot whose begin, statements and end
//! all arrived closes what it did not see; a record that cannot be read in its policy set changes nothing and asks for a
//! resync; a subject ends only while it is in memory whole, and a verdict changes only while it is in memory.

mod named;
mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use provost_model::record::{
    BundleEvent, BundleRecord, Elision, RecordHeader, SnapshotEnd, SnapshotReason,
};
use provost_model::{Digest, Outcome, PolicySet, Record, RecordBody, Subject};
use serde_json::json;

pub use named::{Extent, Named, named};

use super::batch::{Batch, EncodedPolicySet, Item, ItemBody};
use super::current::{
    AdmissionRow, AdmissionVerdict, Changes, CurrentSubject, DeclaredGap, EventRow, GapCount,
    OpenSnapshot, Reason, SnapshotEnding, SubjectKey, Transition,
};

/// A subject before and after; both none is a subject that is not stored, or that came and went.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub before: Option<CurrentSubject>,
    pub now: Option<CurrentSubject>,
    /// Of both.
    pub extent: Extent,
}

#[derive(Debug)]
pub struct Fold {
    /// Those that are loaded; whether any other is stored is not known.
    pub subjects: BTreeMap<SubjectKey, Entry>,
    pub snapshot: Option<OpenSnapshot>,
    pub changes: Changes,
    /// Records that were not applied before: the agent must state everything again.
    pub resync: bool,
    sets: HashMap<Digest, Arc<PolicySet>>,
    /// Whether this instance's verdicts are the cluster's.
    auditing: bool,
    /// Last seq that was applied before.
    acked: u64,
    now_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    Next,
    /// The item changed nothing yet: it takes this subject whole. The store writes what changed so far, loads the
    /// subject and pushes the item again.
    Load(SubjectKey),
    /// The snapshot of this id is complete.
    CloseUnseen {
        snapshot: String,
        seq: u64,
        valid_at_ms: i64,
    },
}

impl Fold {
    #[must_use]
    pub fn new(
        subjects: BTreeMap<SubjectKey, Entry>,
        snapshot: Option<OpenSnapshot>,
        sets: HashMap<Digest, Arc<PolicySet>>,
        auditing: bool,
        acked: u64,
        now_ms: i64,
    ) -> Self {
        Self {
            subjects,
            snapshot,
            changes: Changes::default(),
            resync: false,
            sets,
            auditing,
            acked,
            now_ms,
        }
    }

    pub fn push(&mut self, item: &Item) -> Step {
        match &item.body {
            ItemBody::Record { record, policy_set } => self.record(record, policy_set.as_ref()),
            ItemBody::Elision(elision) => {
                self.elision(elision);
                Step::Next
            }
        }
    }

    /// Ends what the snapshot did not see: whole subjects, and single verdicts of subjects that it did see. `stored`
    /// are at least those subjects, whole, as they are after everything so far was written.
    pub fn close_unseen(
        &mut self,
        stored: BTreeMap<SubjectKey, Entry>,
        snapshot: &str,
        seq: u64,
        valid_at_ms: i64,
    ) {
        let moment = Moment { seq, valid_at_ms, coalesced: 1 };
        let keys: Vec<SubjectKey> = stored.keys().cloned().collect();
        self.subjects.extend(stored);
        for key in keys {
            let Some(subject) = self.subjects.get(&key).and_then(|entry| entry.now.as_ref()) else {
                continue;
            };
            if subject.seen_snapshot != snapshot {
                self.end_subject(&key, Reason::Unseen, moment);
                continue;
            }
            let unseen: Vec<_> = subject
                .verdicts
                .iter()
                .filter(|(_, verdict)| verdict.seen_snapshot != snapshot)
                .map(|(binding, _)| binding.clone())
                .collect();
            for binding in unseen {
                self.end_verdict(&key, &binding, Reason::Unseen, moment);
            }
        }
    }

    fn record(&mut self, record: &Record, policy_set: Option<&EncodedPolicySet>) -> Step {
        let header = &record.header;
        match &record.body {
            RecordBody::Verdict(verdict) => return self.verdict(header, verdict),
            RecordBody::SubjectRemoved { subject, uid } => {
                return self.removed(header, subject, uid);
            }
            RecordBody::SnapshotBegin { id, reason } => self.begin(header, id.to_string(), *reason),
            RecordBody::SnapshotEnd(end) => return self.end(header, end),
            RecordBody::Admission(admission) => {
                let verdicts = self.admission_verdicts(header, &admission.verdicts);
                self.changes.admissions.push(AdmissionRow {
                    seq: header.seq,
                    subject: admission.subject.clone(),
                    attributes: admission.attributes.clone(),
                    operation: admission.operation.clone(),
                    user: admission.user,
                    allowed: admission.allowed,
                    verdicts,
                    duration_us: admission.duration_us,
                    coalesced: header.coalesced,
                    valid_at_ms: header.wall_ms,
                });
            }
            RecordBody::Bundle(bundle) => self.bundle(header, bundle, policy_set),
            RecordBody::Trust(trust) => {
                let detail = json!({
                    "rootVersion": trust.root_version,
                    "digest": trust.digest,
                    "detail": trust.detail,
                });
                self.event(header, "trust", trust.event.as_str(), detail);
            }
            RecordBody::Clock { offset_ms, step_ms } => {
                self.event(
                    header,
                    "clock",
                    "step",
                    json!({ "offsetMs": offset_ms, "stepMs": step_ms }),
                );
            }
            RecordBody::Mode(mode) => {
                let detail = json!({ "capability": mode.capability, "detail": mode.detail });
                self.event(header, "mode", mode.event.as_str(), detail);
            }
        }
        Step::Next
    }

    fn elision(&mut self, elision: &Elision) {
        self.void_snapshot("records within it are gone");
        let counts = elision.counts.iter().map(|count| GapCount {
            class: count.class,
            outcome: count.outcome,
            severity: count.severity,
            count: count.count,
        });
        self.changes.gaps.push(DeclaredGap {
            // What was acknowledged before it was shed is not missing here.
            from_seq: elision.from_seq.max(self.acked.saturating_add(1)),
            to_seq: elision.to_seq,
            reason: elision.reason,
            counts: counts.collect(),
        });
    }

    fn removed(&mut self, header: &RecordHeader, subject: &Subject, uid: &str) -> Step {
        if !self.auditing {
            return Step::Next;
        }
        let key = SubjectKey::of(subject);
        let Some(Entry { now, extent: Extent::Whole, .. }) = self.subjects.get(&key) else {
            return Step::Load(key);
        };
        // The removal of an earlier object of that name says nothing about this one.
        let is_meant =
            |now: &CurrentSubject| uid.is_empty() || now.uid.is_empty() || now.uid == uid;
        if now.as_ref().is_some_and(is_meant) {
            self.end_subject(&key, Reason::Removed, Moment::of(header));
        }
        Step::Next
    }

    fn begin(&mut self, header: &RecordHeader, id: String, reason: SnapshotReason) {
        self.void_snapshot("another one began");
        if !self.auditing {
            self.auditing = true;
            self.changes.cluster.auditing = true;
        }
        self.snapshot = Some(OpenSnapshot {
            id,
            begin_seq: header.seq,
            policy_set: header.policy_set,
            reason: reason.as_str().to_owned(),
            begun_at_ms: self.now_ms,
            stated_subjects: 0,
            stated_counts: BTreeMap::new(),
        });
    }

    fn end(&mut self, header: &RecordHeader, end: &SnapshotEnd) -> Step {
        let Some(open) = self.snapshot.take_if(|open| open.id == end.id.to_string()) else {
            self.resync = true;
            return Step::Next;
        };
        if let Some(why) = mismatch(&open, header, end) {
            self.resync = true;
            self.changes.alarms.push(("SNAPSHOT_INCOMPLETE", why.clone()));
            self.changes.ended_snapshots.push((open, SnapshotEnding::Void { why }));
            return Step::Next;
        }
        self.changes.cluster.snapshot = Some((header.wall_ms, end.not_evaluated.clone()));
        self.changes.cluster.policy_set = header.policy_set;
        let step = Step::CloseUnseen {
            snapshot: open.id.clone(),
            seq: header.seq,
            valid_at_ms: header.wall_ms,
        };
        self.changes.ended_snapshots.push((open, SnapshotEnding::Complete { end_seq: header.seq }));
        step
    }

    fn bundle(
        &mut self,
        header: &RecordHeader,
        bundle: &BundleRecord,
        policy_set: Option<&EncodedPolicySet>,
    ) {
        if let Some(encoded) = policy_set {
            self.sets.insert(encoded.digest, Arc::new(encoded.set.clone()));
            self.changes.policy_sets.push(encoded.clone());
            if self.auditing {
                self.changes.cluster.policy_set = Some(encoded.digest);
            }
        }
        if bundle.event != BundleEvent::Refused && self.auditing {
            self.changes.cluster.active = Some((bundle.manifest, bundle.version));
        }
        let detail = json!({
            "channel": bundle.channel,
            "version": bundle.version,
            "manifest": bundle.manifest,
            "policySet": policy_set.map(|encoded| encoded.digest),
            "errors": bundle.errors,
        });
        self.event(header, "bundle", bundle.event.as_str(), detail);
    }

    fn admission_verdicts(
        &mut self,
        header: &RecordHeader,
        verdicts: &[provost_model::record::ReportedVerdict],
    ) -> Vec<AdmissionVerdict> {
        let Some(set) = self.policy_set(header) else { return Vec::new() };
        let named = verdicts.iter().filter_map(|verdict| {
            let entry = set.entries.get(verdict.binding as usize)?;
            Some(AdmissionVerdict {
                policy: entry.policy.clone(),
                binding: entry.binding.clone(),
                outcome: verdict.outcome,
                action: verdict.action,
                severity: verdict.severity,
                findings: verdict.findings.clone(),
                findings_total: verdict.findings_total,
                message: verdict.message.clone(),
                code: verdict.code.clone(),
            })
        });
        named.collect()
    }

    fn event(
        &mut self,
        header: &RecordHeader,
        kind: &'static str,
        event: &str,
        detail: serde_json::Value,
    ) {
        let event = event.to_owned();
        self.changes.events.push(EventRow {
            seq: header.seq,
            kind,
            event,
            detail,
            valid_at_ms: header.wall_ms,
        });
    }

    fn void_snapshot(&mut self, why: &str) {
        if let Some(open) = self.snapshot.take() {
            self.changes.ended_snapshots.push((open, SnapshotEnding::Void { why: why.to_owned() }));
        }
    }

    /// The set that the record's indexes point into; a set nobody sent is an alarm and a resync.
    fn policy_set(&mut self, header: &RecordHeader) -> Option<Arc<PolicySet>> {
        let set = header.policy_set.and_then(|digest| self.sets.get(&digest).cloned());
        if set.is_none() {
            let named =
                header.policy_set.map_or_else(|| "none".to_owned(), |digest| digest.to_string());
            self.invalid(format!(
                "record {} names policy set {named}, which never arrived",
                header.seq
            ));
        }
        set
    }

    fn invalid(&mut self, detail: String) {
        self.resync = true;
        self.changes.alarms.push(("RECORD_INVALID", detail));
    }

    /// Of a subject that is in memory whole: verdicts that are only stored would outlive it.
    fn end_subject(&mut self, key: &SubjectKey, reason: Reason, moment: Moment) {
        let Some(entry) = self.subjects.get(key) else { return };
        debug_assert_eq!(entry.extent, Extent::Whole, "{key:?} ends as far as it is in memory");
        let Some(current) = &entry.now else { return };
        let bindings: Vec<_> = current.verdicts.keys().cloned().collect();
        for binding in bindings {
            self.end_verdict(key, &binding, reason, moment);
        }
        if let Some(entry) = self.subjects.get_mut(key) {
            entry.now = None;
        }
    }

    fn transition(&mut self, transition: Transition) {
        self.changes.transitions.push(transition);
    }
}

/// When, by which record.
#[derive(Clone, Copy, Debug)]
struct Moment {
    seq: u64,
    valid_at_ms: i64,
    coalesced: u32,
}

impl Moment {
    fn of(header: &RecordHeader) -> Self {
        Self { seq: header.seq, valid_at_ms: header.wall_ms, coalesced: header.coalesced }
    }
}

/// Every policy set that the batch's records point into.
#[must_use]
pub fn policy_sets_of(batch: &Batch) -> Vec<Digest> {
    let mut digests: Vec<Digest> =
        records(batch).filter_map(|record| record.header.policy_set).collect();
    digests.sort();
    digests.dedup();
    digests
}

fn records(batch: &Batch) -> impl Iterator<Item = &Record> {
    batch.items.iter().filter_map(|item| match &item.body {
        ItemBody::Record { record, .. } => Some(&**record),
        ItemBody::Elision(_) => None,
    })
}

/// Why the snapshot's end does not fit what arrived.
fn mismatch(open: &OpenSnapshot, header: &RecordHeader, end: &SnapshotEnd) -> Option<String> {
    if header.policy_set != open.policy_set {
        return Some("the policy set changed within the snapshot".to_owned());
    }
    if end.subjects != open.stated_subjects {
        return Some(format!("{} subjects arrived of {}", open.stated_subjects, end.subjects));
    }
    let mut declared: BTreeMap<(u32, Outcome), u64> = BTreeMap::new();
    for count in end.counts.iter().filter(|count| count.count > 0) {
        *declared.entry((count.binding, count.outcome)).or_default() += count.count;
    }
    (declared != open.stated_counts)
        .then(|| "the verdicts that arrived are not those it counts".to_owned())
}

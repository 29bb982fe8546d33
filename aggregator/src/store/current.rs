//! Current state of one cluster's subjects as rows of memory: what `fold` reads and changes, and what a store loads and
//! writes.

use std::collections::BTreeMap;

use provost_model::record::{Class, ElisionReason};
use provost_model::{
    Action, Attributes, BindingId, Digest, Fingerprint, NotEvaluated, Outcome, PolicyId, Severity,
    Subject,
};
use serde::{Deserialize, Serialize};

use super::batch::EncodedPolicySet;

/// First 16 bytes, in hex, of a SHA-256 over a subject's type and identity, each after its length.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SubjectKey(pub String);

/// Key of a verdict within its subject.
pub type BindingKey = (PolicyId, BindingId);
/// Key of a finding within its cluster.
pub type FindingKey = (BindingId, Fingerprint);

#[derive(Clone, Debug, PartialEq)]
pub struct CurrentSubject {
    pub subject: Subject,
    pub uid: String,
    pub attributes: Attributes,
    pub first_seen_at_ms: i64,
    pub updated_at_ms: i64,
    /// Last snapshot during which anything said that the subject exists; empty before the first.
    pub seen_snapshot: String,
    /// Last snapshot that stated it.
    pub stated_snapshot: String,
    pub verdicts: BTreeMap<BindingKey, CurrentVerdict>,
    pub open: BTreeMap<FindingKey, FindingRow>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CurrentVerdict {
    pub outcome: Outcome,
    pub underlying: Option<Outcome>,
    pub action: Action,
    pub severity: Severity,
    pub scored: bool,
    pub findings_total: u32,
    pub code: String,
    pub message: String,
    pub revision: Digest,
    pub since_valid_at_ms: i64,
    pub valid_at_ms: i64,
    pub received_at_ms: i64,
    pub seen_snapshot: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FindingRow {
    pub policy: PolicyId,
    pub subject_key: SubjectKey,
    pub subject: Subject,
    pub attributes: Attributes,
    pub severity: Severity,
    pub action: Action,
    pub outcome: Outcome,
    pub path: String,
    pub message: String,
    /// JSON Patch as text.
    pub patch: Option<String>,
    pub line: Option<u32>,
    pub opened_valid_at_ms: i64,
    pub received_at_ms: i64,
    pub closed: Option<Closed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub valid_at_ms: i64,
    pub at_ms: i64,
    pub reason: Reason,
}

/// Why a verdict changed or a finding closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Evaluation said so.
    Change,
    /// A snapshot stated something else than we had.
    Snapshot,
    /// The binding matches the subject no more.
    Withdrawn,
    /// The subject is gone.
    Removed,
    /// Another subject of the same name took its place.
    Replaced,
    /// A complete snapshot did not state it.
    Unseen,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    pub subject_key: SubjectKey,
    pub policy: PolicyId,
    pub binding: BindingId,
    pub from: Option<Outcome>,
    pub to: Option<Outcome>,
    pub severity: Severity,
    pub reason: Reason,
    pub coalesced: u32,
    pub seq: u64,
    pub valid_at_ms: i64,
}

#[derive(Clone, Debug)]
pub struct AdmissionRow {
    pub seq: u64,
    pub subject: Subject,
    pub attributes: Attributes,
    pub operation: String,
    pub user: Digest,
    pub allowed: bool,
    pub verdicts: Vec<AdmissionVerdict>,
    pub duration_us: u64,
    pub coalesced: u32,
    pub valid_at_ms: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionVerdict {
    pub policy: PolicyId,
    pub binding: BindingId,
    pub outcome: Outcome,
    pub action: Action,
    pub severity: Severity,
    pub findings: Vec<provost_model::Finding>,
    pub findings_total: u32,
    pub message: String,
    pub code: String,
}

#[derive(Clone, Debug)]
pub struct EventRow {
    pub seq: u64,
    pub kind: &'static str,
    pub event: String,
    pub detail: serde_json::Value,
    pub valid_at_ms: i64,
}

#[derive(Clone, Debug)]
pub struct DeclaredGap {
    pub from_seq: u64,
    pub to_seq: u64,
    pub reason: ElisionReason,
    pub counts: Vec<GapCount>,
}

#[derive(Clone, Debug, Serialize)]
pub struct GapCount {
    pub class: Class,
    pub outcome: Option<Outcome>,
    pub severity: Option<Severity>,
    pub count: u64,
}

/// A snapshot of this instance under way.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSnapshot {
    pub id: String,
    pub begin_seq: u64,
    pub policy_set: Option<Digest>,
    pub reason: String,
    pub begun_at_ms: i64,
    pub stated_subjects: u64,
    /// Verdicts stated so far, by binding index and outcome.
    pub stated_counts: BTreeMap<(u32, Outcome), u64>,
}

#[derive(Clone, Debug)]
pub enum SnapshotEnding {
    Complete { end_seq: u64 },
    Void { why: String },
}

/// What of the cluster's own row changed.
#[derive(Clone, Debug, Default)]
pub struct ClusterChange {
    pub auditing: bool,
    pub active: Option<(Digest, u64)>,
    pub policy_set: Option<Digest>,
    /// A snapshot ended, complete: what it said is not evaluated.
    pub snapshot: Option<(i64, Vec<NotEvaluated>)>,
}

/// What a fold changed besides subjects; a store writes and empties it at each flush.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub findings: BTreeMap<FindingKey, FindingRow>,
    pub transitions: Vec<Transition>,
    pub admissions: Vec<AdmissionRow>,
    pub events: Vec<EventRow>,
    pub gaps: Vec<DeclaredGap>,
    pub policy_sets: Vec<EncodedPolicySet>,
    pub ended_snapshots: Vec<(OpenSnapshot, SnapshotEnding)>,
    pub cluster: ClusterChange,
    /// (code, detail) of what an operator should look at.
    pub alarms: Vec<(&'static str, String)>,
}

impl SubjectKey {
    #[must_use]
    pub fn of(subject: &Subject) -> Self {
        let mut bytes = Vec::new();
        let parts = std::iter::once(subject.type_name()).chain(subject.identity());
        for part in parts {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        Self(hex::encode(&Digest::of(&bytes).as_bytes()[..16]))
    }
}

impl Reason {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Snapshot => "snapshot",
            Self::Withdrawn => "withdrawn",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
            Self::Unseen => "unseen",
        }
    }
}

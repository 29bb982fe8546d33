//! Report records: one per subject and change. `proto` turns them into bytes, once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::binding::PolicySet;
use crate::digest::Digest;
use crate::finding::Finding;
use crate::id::{BootId, SnapshotId};
use crate::policy::{Action, Severity, UnknownWord, words};
use crate::subject::{Attributes, Subject};
use crate::verdict::{NotEvaluated, Outcome};

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub header: RecordHeader,
    pub body: RecordBody,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RecordHeader {
    /// From 1, without holes within an epoch.
    pub seq: u64,
    pub class: Class,
    pub boot: BootId,
    /// Since boot.
    pub monotonic_ms: u64,
    /// Unix time, corrected by the measured offset where one is known.
    pub wall_ms: i64,
    pub clock_quality: ClockQuality,
    /// The set that indexes in the body point into; none before the first.
    pub policy_set: Option<Digest>,
    /// How many changes of one key this record stands for, at least 1.
    pub coalesced: u32,
    pub exemption_id: String,
    /// W3C `traceparent`; empty when the change was not traced.
    pub trace_parent: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RecordBody {
    Verdict(VerdictRecord),
    SubjectRemoved { subject: Subject, uid: String },
    SnapshotBegin { id: SnapshotId, reason: SnapshotReason },
    SnapshotEnd(SnapshotEnd),
    Admission(AdmissionRecord),
    Bundle(BundleRecord),
    Trust(TrustRecord),
    Clock { offset_ms: i64, step_ms: i64 },
    Mode(ModeRecord),
}

/// Changed verdicts of one subject, or within a snapshot all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictRecord {
    pub subject: Subject,
    pub attributes: Attributes,
    pub verdicts: Vec<ReportedVerdict>,
    /// Bindings (indexes into the policy set) that pass.
    pub passes: Vec<u32>,
    /// Bindings that match the subject no more.
    pub withdrawn: Vec<u32>,
    /// Set between SnapshotBegin and SnapshotEnd: the record states, rather than changes.
    pub snapshot: Option<SnapshotId>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReportedVerdict {
    /// Index into the policy set.
    pub binding: u32,
    pub outcome: Outcome,
    pub previous: Option<Outcome>,
    pub action: Action,
    pub severity: Severity,
    /// At most [`crate::limits::MAX_FINDINGS_PER_VERDICT`].
    pub findings: Vec<Finding>,
    pub findings_total: u32,
    /// Why the outcome is error or skip.
    pub message: String,
    pub code: String,
    pub underlying: Option<Outcome>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotEnd {
    pub id: SnapshotId,
    pub subjects: u64,
    pub counts: Vec<OutcomeCount>,
    pub not_evaluated: Vec<NotEvaluated>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeCount {
    pub binding: u32,
    pub outcome: Outcome,
    pub count: u64,
}

/// One admission review that was denied, warned about or failed.
#[derive(Clone, Debug, PartialEq)]
pub struct AdmissionRecord {
    pub subject: Subject,
    pub attributes: Attributes,
    pub operation: String,
    /// Of the user name, so that no name leaves the cluster.
    pub user: Digest,
    pub allowed: bool,
    pub verdicts: Vec<ReportedVerdict>,
    pub duration_us: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BundleRecord {
    pub event: BundleEvent,
    pub channel: String,
    pub version: u64,
    pub manifest: Digest,
    /// The set in force from here on, where it changed.
    pub policy_set: Option<PolicySet>,
    pub errors: Vec<FileError>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileError {
    pub path: String,
    /// Stable code.
    pub code: String,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRecord {
    pub event: TrustEvent,
    pub root_version: u64,
    pub digest: Option<Digest>,
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeRecord {
    pub event: ModeEvent,
    pub capability: String,
    pub detail: String,
}

/// Stands in a batch in place of the records `from..=to`, which are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elision {
    pub from_seq: u64,
    pub to_seq: u64,
    pub chain_before: Digest,
    pub chain_after: Digest,
    pub reason: ElisionReason,
    pub counts: Vec<ElisionCount>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElisionCount {
    pub class: Class,
    /// None for records that are no verdicts.
    pub outcome: Option<Outcome>,
    pub severity: Option<Severity>,
    pub count: u64,
}

words!(
    /// What may be shed, and in which order.
    Class {
        /// Enrolment, trust, bundle, gap, clock and mode events: never shed.
        P0 = "P0",
        /// Transitions.
        P1 = "P1",
        /// Snapshots and passes.
        P2 = "P2",
    }
);
words!(ClockQuality { Synced = "synced", Local = "local", Suspect = "suspect" });
words!(SnapshotReason {
    First = "first",
    Activation = "activation",
    Elision = "elision",
    Daily = "daily",
    Requested = "requested",
});
words!(BundleEvent {
    Activated = "activated",
    Refused = "refused",
    PolicySetChanged = "policy-set-changed",
});
words!(TrustEvent {
    Enrolled = "enrolled",
    Renewed = "renewed",
    Reentered = "reentered",
    RootRotated = "root-rotated",
    Granted = "granted",
});
words!(ModeEvent {
    Started = "started",
    Stopped = "stopped",
    Degraded = "degraded",
    Recovered = "recovered",
});
words!(ElisionReason { Cap = "cap", Disk = "disk", Corrupt = "corrupt", Operator = "operator" });

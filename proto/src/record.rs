//! Records, to bytes once and back with every check.

use bytes::Bytes;
use prost::Message as _;
use provost_model::Outcome;
use provost_model::id::{BootId, SnapshotId};
use provost_model::limits::{MAX_MESSAGE_BYTES, MAX_RECORD_BYTES, MAX_SET_RECORD_BYTES};
use provost_model::record::{
    AdmissionRecord, BundleEvent, BundleRecord, Class, ClockQuality, FileError, ModeEvent,
    ModeRecord, OutcomeCount, Record, RecordBody, RecordHeader, SnapshotEnd, SnapshotReason,
    TrustEvent, TrustRecord, VerdictRecord,
};
use v1::record::Body as Wire;

use crate::enums::Word as _;
use crate::fields::{
    MAX_PATH_BYTES, decode as decode_message, digest, digest_bytes, id, optional_digest,
    optional_digest_bytes, required, slug, text, text_up_to, within,
};
use crate::{Error, policy_set, subject, v1, verdict};

/// A `traceparent` is 55 bytes; later versions of it may be somewhat longer.
const MAX_TRACE_PARENT_BYTES: usize = 128;
/// File errors that travel with one refused bundle.
pub const MAX_FILE_ERRORS: usize = 32;

/// The bytes that are hashed, signed, stored and exported. Who makes records keeps them under
/// [`max_bytes`].
#[must_use]
pub fn encode(record: &Record) -> Bytes {
    to_wire(record).encode_to_vec().into()
}

/// Length of [`encode`], without encoding.
#[must_use]
pub fn encoded_len(record: &Record) -> usize {
    to_wire(record).encoded_len()
}

pub fn decode(bytes: &[u8]) -> Result<Record, Error> {
    within("record", bytes.len(), MAX_SET_RECORD_BYTES)?;
    let record = from_wire(decode_message("record", bytes)?)?;
    within("record", bytes.len(), max_bytes(&record.body))?;
    Ok(record)
}

/// How long a record of this kind may be.
#[must_use]
pub const fn max_bytes(body: &RecordBody) -> usize {
    match body {
        RecordBody::Bundle(_) | RecordBody::SnapshotEnd(_) => MAX_SET_RECORD_BYTES,
        _ => MAX_RECORD_BYTES,
    }
}

/// The trace context of an encoded record, without decoding the rest. None: it was not traced.
#[must_use]
pub fn trace_parent(bytes: &[u8]) -> Option<String> {
    /// Fields that it does not name are skipped.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Traced {
        #[prost(string, tag = "10")]
        trace_parent: String,
    }
    let Traced { trace_parent } = Traced::decode(bytes).ok()?;
    let fits = (1..=MAX_TRACE_PARENT_BYTES).contains(&trace_parent.len());
    fits.then_some(trace_parent)
}

fn to_wire(record: &Record) -> v1::Record {
    let RecordHeader {
        seq,
        class,
        boot,
        monotonic_ms,
        wall_ms,
        clock_quality,
        policy_set,
        coalesced,
        exemption_id,
        trace_parent,
    } = &record.header;
    v1::Record {
        seq: *seq,
        class: class.to_wire(),
        boot_id: Bytes::copy_from_slice(boot.as_bytes()),
        monotonic_ms: *monotonic_ms,
        wall_ms: *wall_ms,
        clock_quality: clock_quality.to_wire(),
        policy_set_digest: optional_digest_bytes(policy_set.as_ref()),
        // One is what absence means.
        coalesced: if *coalesced <= 1 { 0 } else { *coalesced },
        exemption_id: exemption_id.clone(),
        trace_parent: trace_parent.clone(),
        body: Some(body_to_wire(&record.body)),
    }
}

fn from_wire(wire: v1::Record) -> Result<Record, Error> {
    if wire.seq == 0 {
        return Err(Error::Missing { field: "record.seq" });
    }
    let header = RecordHeader {
        seq: wire.seq,
        class: Class::required("record.class", wire.class)?,
        boot: id::<BootId>("record.boot_id", &wire.boot_id)?,
        monotonic_ms: wire.monotonic_ms,
        wall_ms: wire.wall_ms,
        clock_quality: ClockQuality::required("record.clock_quality", wire.clock_quality)?,
        policy_set: optional_digest("record.policy_set_digest", &wire.policy_set_digest)?,
        coalesced: wire.coalesced.max(1),
        exemption_id: text("record.exemption_id", wire.exemption_id)?,
        trace_parent: text_up_to("record.trace_parent", wire.trace_parent, MAX_TRACE_PARENT_BYTES)?,
    };
    Ok(Record { header, body: body_from_wire(required("record.body", wire.body)?)? })
}

/// The policy set of an encoded Bundle record as it stands there: the digest of these bytes is its name, whatever a newer
/// agent put into them. None: there is none.
#[must_use]
pub fn policy_set_bytes(record: &Bytes) -> Option<Bytes> {
    match v1::Record::decode(record.clone()).ok()?.body? {
        Wire::Bundle(bundle) => bundle.policy_set,
        _ => None,
    }
}

fn body_to_wire(body: &RecordBody) -> Wire {
    match body {
        RecordBody::Verdict(record) => Wire::Verdict(verdict_to_wire(record)),
        RecordBody::SubjectRemoved { subject, uid } => {
            let subject = Some(subject::to_wire(subject));
            Wire::SubjectRemoved(v1::SubjectRemoved { subject, uid: uid.clone() })
        }
        RecordBody::SnapshotBegin { id, reason } => Wire::SnapshotBegin(v1::SnapshotBegin {
            snapshot_id: snapshot_bytes(*id),
            reason: reason.to_wire(),
        }),
        RecordBody::SnapshotEnd(end) => Wire::SnapshotEnd(snapshot_end_to_wire(end)),
        RecordBody::Admission(record) => Wire::Admission(admission_to_wire(record)),
        RecordBody::Bundle(record) => Wire::Bundle(bundle_to_wire(record)),
        RecordBody::Trust(record) => Wire::Trust(v1::TrustRecord {
            event: record.event.as_str().to_owned(),
            root_version: record.root_version,
            digest: optional_digest_bytes(record.digest.as_ref()),
            detail: record.detail.clone(),
        }),
        RecordBody::Clock { offset_ms, step_ms } => {
            Wire::Clock(v1::ClockRecord { offset_ms: *offset_ms, step_ms: *step_ms })
        }
        RecordBody::Mode(record) => Wire::Mode(v1::ModeRecord {
            event: record.event.as_str().to_owned(),
            capability: record.capability.clone(),
            detail: record.detail.clone(),
        }),
    }
}

fn body_from_wire(body: Wire) -> Result<RecordBody, Error> {
    Ok(match body {
        Wire::Verdict(wire) => RecordBody::Verdict(verdict_from_wire(wire)?),
        Wire::SubjectRemoved(wire) => RecordBody::SubjectRemoved {
            subject: subject::from_wire(wire.subject)?,
            uid: text("subject_removed.uid", wire.uid)?,
        },
        Wire::SnapshotBegin(wire) => RecordBody::SnapshotBegin {
            id: id::<SnapshotId>("snapshot_begin.snapshot_id", &wire.snapshot_id)?,
            reason: SnapshotReason::required("snapshot_begin.reason", wire.reason)?,
        },
        Wire::SnapshotEnd(wire) => RecordBody::SnapshotEnd(snapshot_end_from_wire(wire)?),
        Wire::Admission(wire) => RecordBody::Admission(admission_from_wire(wire)?),
        Wire::Bundle(wire) => RecordBody::Bundle(bundle_from_wire(wire)?),
        Wire::Trust(wire) => RecordBody::Trust(TrustRecord {
            event: slug::<TrustEvent>("trust.event", &wire.event)?,
            root_version: wire.root_version,
            digest: optional_digest("trust.digest", &wire.digest)?,
            detail: text_up_to("trust.detail", wire.detail, MAX_MESSAGE_BYTES)?,
        }),
        Wire::Clock(v1::ClockRecord { offset_ms, step_ms }) => {
            RecordBody::Clock { offset_ms, step_ms }
        }
        Wire::Mode(wire) => RecordBody::Mode(ModeRecord {
            event: slug::<ModeEvent>("mode.event", &wire.event)?,
            capability: text("mode.capability", wire.capability)?,
            detail: text_up_to("mode.detail", wire.detail, MAX_MESSAGE_BYTES)?,
        }),
    })
}

fn verdict_to_wire(record: &VerdictRecord) -> v1::VerdictRecord {
    v1::VerdictRecord {
        subject: Some(subject::to_wire(&record.subject)),
        attributes: Some(subject::attributes_to_wire(&record.attributes)),
        verdicts: record.verdicts.iter().map(verdict::to_wire).collect(),
        passes: record.passes.clone(),
        withdrawn: record.withdrawn.clone(),
        snapshot_id: record.snapshot.map(snapshot_bytes).unwrap_or_default(),
    }
}

fn verdict_from_wire(wire: v1::VerdictRecord) -> Result<VerdictRecord, Error> {
    let snapshot = match wire.snapshot_id.is_empty() {
        true => None,
        false => Some(id::<SnapshotId>("verdict.snapshot_id", &wire.snapshot_id)?),
    };
    Ok(VerdictRecord {
        subject: subject::from_wire(wire.subject)?,
        attributes: subject::attributes_from_wire(wire.attributes)?,
        verdicts: verdict::all_from_wire(wire.verdicts)?,
        passes: wire.passes,
        withdrawn: wire.withdrawn,
        snapshot,
    })
}

fn snapshot_end_to_wire(end: &SnapshotEnd) -> v1::SnapshotEnd {
    let count = |count: &OutcomeCount| v1::OutcomeCount {
        binding: count.binding,
        outcome: count.outcome.to_wire(),
        count: count.count,
    };
    v1::SnapshotEnd {
        snapshot_id: snapshot_bytes(end.id),
        subjects: end.subjects,
        counts: end.counts.iter().map(count).collect(),
        not_evaluated: end.not_evaluated.iter().map(verdict::not_evaluated_to_wire).collect(),
    }
}

fn snapshot_end_from_wire(wire: v1::SnapshotEnd) -> Result<SnapshotEnd, Error> {
    let count = |wire: v1::OutcomeCount| {
        Ok(OutcomeCount {
            binding: wire.binding,
            outcome: Outcome::required("snapshot_end.counts.outcome", wire.outcome)?,
            count: wire.count,
        })
    };
    Ok(SnapshotEnd {
        id: id::<SnapshotId>("snapshot_end.snapshot_id", &wire.snapshot_id)?,
        subjects: wire.subjects,
        counts: wire.counts.into_iter().map(count).collect::<Result<_, Error>>()?,
        not_evaluated: wire
            .not_evaluated
            .into_iter()
            .map(verdict::not_evaluated_from_wire)
            .collect::<Result<_, _>>()?,
    })
}

fn admission_to_wire(record: &AdmissionRecord) -> v1::AdmissionRecord {
    v1::AdmissionRecord {
        subject: Some(subject::to_wire(&record.subject)),
        attributes: Some(subject::attributes_to_wire(&record.attributes)),
        operation: record.operation.clone(),
        user_digest: digest_bytes(&record.user),
        allowed: record.allowed,
        verdicts: record.verdicts.iter().map(verdict::to_wire).collect(),
        duration_us: record.duration_us,
    }
}

fn admission_from_wire(wire: v1::AdmissionRecord) -> Result<AdmissionRecord, Error> {
    Ok(AdmissionRecord {
        subject: subject::from_wire(wire.subject)?,
        attributes: subject::attributes_from_wire(wire.attributes)?,
        operation: text("admission.operation", wire.operation)?,
        user: digest("admission.user_digest", &wire.user_digest)?,
        allowed: wire.allowed,
        verdicts: verdict::all_from_wire(wire.verdicts)?,
        duration_us: wire.duration_us,
    })
}

fn bundle_to_wire(record: &BundleRecord) -> v1::BundleRecord {
    v1::BundleRecord {
        event: record.event.to_wire(),
        channel: record.channel.clone(),
        version: record.version,
        manifest_digest: digest_bytes(&record.manifest),
        policy_set: record.policy_set.as_ref().map(policy_set::encode),
        errors: record.errors.iter().map(file_error_to_wire).collect(),
    }
}

fn bundle_from_wire(wire: v1::BundleRecord) -> Result<BundleRecord, Error> {
    Ok(BundleRecord {
        event: BundleEvent::required("bundle.event", wire.event)?,
        channel: text("bundle.channel", wire.channel)?,
        version: wire.version,
        manifest: digest("bundle.manifest_digest", &wire.manifest_digest)?,
        policy_set: wire.policy_set.map(|bytes| policy_set::decode(&bytes)).transpose()?,
        errors: file_errors_from_wire(wire.errors)?,
    })
}

pub(crate) fn file_error_to_wire(error: &FileError) -> v1::FileError {
    let FileError { path, code, message } = error.clone();
    v1::FileError { path, code, message }
}

pub(crate) fn file_errors_from_wire(wire: Vec<v1::FileError>) -> Result<Vec<FileError>, Error> {
    within("file_errors", wire.len(), MAX_FILE_ERRORS)?;
    let read = |wire: v1::FileError| {
        Ok(FileError {
            path: text_up_to("file_error.path", wire.path, MAX_PATH_BYTES)?,
            code: text("file_error.code", wire.code)?,
            message: text_up_to("file_error.message", wire.message, MAX_MESSAGE_BYTES)?,
        })
    };
    wire.into_iter().map(read).collect()
}

fn snapshot_bytes(id: SnapshotId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

//! One of each: what the tests of the wire encode.

use bytes::Bytes;
use provost_model::binding::Origin;
use provost_model::finding::{Finding, Fingerprint};
use provost_model::id::{BootId, SnapshotId};
use provost_model::policy::{Action, Checkpoint, FailMode, Severity};
use provost_model::record::*;
use provost_model::subject::{Attributes, Controller, Location, ResourceRef, Source, Subject};
use provost_model::verdict::{NotEvaluated, NotEvaluatedReason, Outcome};
use provost_model::{ClusterId, Digest, InstanceId, Path, PolicySet, PolicySetEntry, Segment};
use provost_proto::batch::{Batch, Item};
use provost_proto::record;
use provost_trust::chain;

pub fn header() -> RecordHeader {
    RecordHeader {
        seq: 42,
        class: Class::P1,
        boot: BootId::from_bytes([2; 16]),
        monotonic_ms: 1_000,
        wall_ms: 1_800_000_000_123,
        clock_quality: ClockQuality::Synced,
        policy_set: Some(Digest::of(b"set")),
        coalesced: 3,
        exemption_id: String::new(),
        trace_parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
    }
}

pub fn subject() -> Subject {
    Subject::Kubernetes(ResourceRef {
        group: "apps".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "shop".to_owned(),
        name: "cart".to_owned(),
    })
}

pub fn attributes() -> Attributes {
    Attributes {
        checkpoint: Checkpoint::Run,
        api_version: "apps/v1".to_owned(),
        uid: "0d5e".to_owned(),
        resource_version: "77".to_owned(),
        controller: Some(Controller {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            name: "cart".to_owned(),
        }),
        owner: "team-shop".to_owned(),
        labels: [("app".to_owned(), "cart".to_owned()), ("tier".to_owned(), "web".to_owned())]
            .into(),
        source: Some(Source {
            tool: "flux".to_owned(),
            kind: "Kustomization".to_owned(),
            namespace: "flux-system".to_owned(),
            name: "shop".to_owned(),
        }),
        location: Some(Location {
            repository: "git@example".to_owned(),
            revision: "abc".to_owned(),
            file: "a.yaml".to_owned(),
            line: 7,
        }),
    }
}

pub fn verdict() -> ReportedVerdict {
    ReportedVerdict {
        binding: 4,
        outcome: Outcome::Fail,
        previous: Some(Outcome::Pass),
        action: Action::Deny,
        severity: Severity::High,
        findings: vec![Finding {
            fingerprint: Fingerprint::from_bytes([5; 16]),
            path: Path(vec![Segment::Key("spec".to_owned()), Segment::Index(0)]),
            message: "container web runs as root".to_owned(),
            patch: Some(serde_json::json!([{"op": "add", "path": "/spec/x", "value": true}])),
            line: Some(12),
        }],
        findings_total: 21,
        message: String::new(),
        code: String::new(),
        underlying: None,
    }
}

pub fn entry(policy: &str, binding: &str) -> PolicySetEntry {
    PolicySetEntry {
        policy: policy.parse().unwrap(),
        binding: binding.parse().unwrap(),
        revision: Digest::of(policy.as_bytes()),
        action: Action::Warn,
        fail_mode: FailMode::Closed,
        severity: Severity::Critical,
        scored: true,
        origin: Origin::Bundle(Digest::of(b"manifest")),
        title: "No root".to_owned(),
        code: "A01".to_owned(),
        category: "security".to_owned(),
    }
}

pub fn bodies() -> Vec<RecordBody> {
    let not_evaluated = NotEvaluated {
        policy: "image-registry".parse().unwrap(),
        binding: "default".parse().unwrap(),
        group: String::new(),
        kind: "Pod".to_owned(),
        reason: NotEvaluatedReason::Inactive,
        detail: "registries".to_owned(),
    };
    let set =
        PolicySet { entries: vec![entry("a", "default"), entry("a", "strict"), entry("b", "x")] };
    vec![
        RecordBody::Verdict(VerdictRecord {
            subject: subject(),
            attributes: attributes(),
            verdicts: vec![verdict()],
            passes: vec![0, 1, 7],
            withdrawn: vec![2],
            snapshot: Some(SnapshotId::from_bytes([6; 16])),
        }),
        RecordBody::SubjectRemoved { subject: subject(), uid: "0d5e".to_owned() },
        RecordBody::SnapshotBegin {
            id: SnapshotId::from_bytes([6; 16]),
            reason: SnapshotReason::Activation,
        },
        RecordBody::SnapshotEnd(SnapshotEnd {
            id: SnapshotId::from_bytes([6; 16]),
            subjects: 9,
            counts: vec![OutcomeCount { binding: 4, outcome: Outcome::Fail, count: 2 }],
            not_evaluated: vec![not_evaluated],
        }),
        RecordBody::Admission(AdmissionRecord {
            subject: Subject::File { path: "a/b.yaml".to_owned() },
            attributes: Attributes::at(Checkpoint::Deploy),
            operation: "CREATE".to_owned(),
            user: Digest::of(b"alice"),
            allowed: false,
            verdicts: vec![verdict()],
            duration_us: 812,
        }),
        RecordBody::Bundle(BundleRecord {
            event: BundleEvent::Activated,
            channel: "stable".to_owned(),
            version: 3,
            manifest: Digest::of(b"manifest"),
            policy_set: Some(set),
            errors: Vec::new(),
        }),
        RecordBody::Bundle(BundleRecord {
            event: BundleEvent::Refused,
            channel: "stable".to_owned(),
            version: 4,
            manifest: Digest::of(b"other"),
            policy_set: None,
            errors: vec![FileError {
                path: "p.rego".to_owned(),
                code: "DIGEST_MISMATCH".to_owned(),
                message: "altered".to_owned(),
            }],
        }),
        RecordBody::Trust(TrustRecord {
            event: TrustEvent::RootRotated,
            root_version: 2,
            digest: Some(Digest::of(b"root")),
            detail: String::new(),
        }),
        RecordBody::Clock { offset_ms: -5, step_ms: 90_000 },
        RecordBody::Mode(ModeRecord {
            event: ModeEvent::Degraded,
            capability: "watch".to_owned(),
            detail: "forbidden".to_owned(),
        }),
    ]
}

pub fn records() -> Vec<Record> {
    let with = |(position, body)| {
        let seq = 42 + position as u64;
        Record { header: RecordHeader { seq, ..header() }, body }
    };
    bodies().into_iter().enumerate().map(with).collect()
}

pub fn sample_batch() -> Batch {
    let encoded: Vec<Bytes> = records().iter().map(record::encode).collect();
    let prev_head = Digest::of(b"before");
    let carried = Digest::of(b"carried");
    let head = chain::extend(carried, encoded.iter().map(|bytes| &bytes[..]));
    let elision = Elision {
        from_seq: 40,
        to_seq: 41,
        chain_before: prev_head,
        chain_after: carried,
        reason: ElisionReason::Cap,
        counts: vec![ElisionCount {
            class: Class::P1,
            outcome: Some(Outcome::Fail),
            severity: Some(Severity::Low),
            count: 2,
        }],
    };
    let mut items = vec![Item::Elision(elision)];
    items.extend(encoded.into_iter().map(Item::Record));
    Batch {
        cluster: ClusterId::from_bytes([7; 16]),
        instance: InstanceId::from_bytes([8; 16]),
        epoch: 1,
        prev_head,
        head,
        first_seq: 40,
        last_seq: 51,
        items,
    }
}

//! An instance's report chain, made and signed as an agent does it.

use provost_aggregator::store::batch::Batch;
use provost_model::id::{BootId, SnapshotId};
use provost_model::policy::{FailMode, Severity};
use provost_model::record::{
    BundleEvent, BundleRecord, Class, ClockQuality, Elision, ElisionReason, OutcomeCount,
    RecordHeader, ReportedVerdict, SnapshotEnd, SnapshotReason, VerdictRecord,
};
use provost_model::{
    Action, Attributes, Checkpoint, ClusterId, Digest, Finding, Fingerprint, InstanceId,
    NotEvaluated, Outcome, Path, PolicySet, PolicySetEntry, Record, RecordBody, ResourceRef,
    Subject,
};
use provost_proto::batch::Item;
use provost_proto::{batch, envelope, policy_set, record, v1};
use provost_trust::dsse::payload_type;
use provost_trust::{Envelope, KeyPair, chain};

/// Policies of the set that tests report on, in its order.
pub const POLICIES: [&str; 3] = ["host-path", "privileged-container", "resource-limits"];

#[derive(Debug)]
pub struct Chain {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub key: KeyPair,
    pub epoch: u64,
    pub seq: u64,
    pub head: Digest,
    pub set: Option<Digest>,
    /// Corrected agent time of the next record.
    pub wall_ms: i64,
}

impl Chain {
    pub fn new(cluster: ClusterId, instance: InstanceId, key: KeyPair) -> Self {
        Self {
            cluster,
            instance,
            key,
            epoch: 1,
            seq: 0,
            head: chain::GENESIS,
            set: None,
            wall_ms: 1_000,
        }
    }

    /// A copy that goes on from the same point: what a clone would do.
    pub fn fork(&self) -> Self {
        let key = KeyPair::from_seed(&self.key.to_seed()[..]).unwrap();
        Self { key, ..*self }
    }

    /// Signs one batch of these bodies.
    pub fn batch(&mut self, bodies: Vec<RecordBody>) -> v1::Batch {
        let items = bodies.into_iter().map(|body| Step::Record(Box::new(body))).collect();
        self.batch_of(items)
    }

    pub fn batch_of(&mut self, steps: Vec<Step>) -> v1::Batch {
        let (first_seq, prev_head) = (self.seq + 1, self.head);
        let items = steps.into_iter().map(|step| self.item(step)).collect();
        let payload = batch::encode(&batch::Batch {
            cluster: self.cluster,
            instance: self.instance,
            epoch: self.epoch,
            prev_head,
            head: self.head,
            first_seq,
            last_seq: self.seq,
            items,
        });
        let envelope = Envelope::sign(payload_type::BATCH, payload.unwrap(), &[&self.key]);
        v1::Batch { envelope: envelope::encode(envelope) }
    }

    /// The batch as the store takes it.
    pub fn stored(&mut self, bodies: Vec<RecordBody>) -> Batch {
        decoded(self.batch(bodies))
    }

    fn item(&mut self, step: Step) -> Item {
        match step {
            Step::Elision(length) => {
                let elision = Elision {
                    from_seq: self.seq + 1,
                    to_seq: self.seq + length,
                    chain_before: self.head,
                    chain_after: Digest::of(format!("gone {}", self.seq).as_bytes()),
                    reason: ElisionReason::Cap,
                    counts: Vec::new(),
                };
                self.seq = elision.to_seq;
                self.head = elision.chain_after;
                Item::Elision(elision)
            }
            Step::Record(body) => {
                if let RecordBody::Bundle(BundleRecord { policy_set: Some(set), .. }) = &*body {
                    self.set = Some(policy_set::digest(set));
                }
                self.seq += 1;
                self.wall_ms += 1;
                let bytes = record::encode(&Record { header: self.header(), body: *body });
                self.head = chain::next(&self.head, &chain::leaf(&bytes));
                Item::Record(bytes)
            }
        }
    }

    fn header(&self) -> RecordHeader {
        RecordHeader {
            seq: self.seq,
            class: Class::P1,
            boot: BootId::from_bytes([1; 16]),
            monotonic_ms: self.seq,
            wall_ms: self.wall_ms,
            clock_quality: ClockQuality::Synced,
            policy_set: self.set,
            coalesced: 1,
            exemption_id: String::new(),
            trace_parent: String::new(),
        }
    }
}

/// One item of a batch to be.
pub enum Step {
    Record(Box<RecordBody>),
    /// That many records are gone.
    Elision(u64),
}

pub fn decoded(wire: v1::Batch) -> Batch {
    Batch::decode(wire.envelope).unwrap()
}

pub fn record(body: RecordBody) -> Step {
    Step::Record(Box::new(body))
}

/// The set of [`POLICIES`]: the first unscored, severities low, critical, medium.
pub fn policy_set() -> PolicySet {
    let severities = [Severity::Low, Severity::Critical, Severity::Medium];
    let entries = POLICIES.iter().zip(severities).enumerate().map(|(index, (policy, severity))| {
        PolicySetEntry {
            policy: policy.parse().unwrap(),
            binding: "default".parse().unwrap(),
            revision: Digest::of(policy.as_bytes()),
            action: Action::Audit,
            fail_mode: FailMode::Open,
            severity,
            scored: index != 0,
            origin: provost_model::binding::Origin::Bundle(Digest::of(b"manifest")),
            title: policy.to_uppercase(),
            code: format!("T0{index}"),
            category: "security".to_owned(),
        }
    });
    PolicySet { entries: entries.collect() }
}

pub fn activated() -> RecordBody {
    RecordBody::Bundle(BundleRecord {
        event: BundleEvent::Activated,
        channel: "stable".to_owned(),
        version: 1,
        manifest: Digest::of(b"manifest"),
        policy_set: Some(policy_set()),
        errors: Vec::new(),
    })
}

pub fn pod(name: &str) -> Subject {
    Subject::Kubernetes(ResourceRef {
        group: String::new(),
        kind: "Pod".to_owned(),
        namespace: format!("team-{}", name.len() % 2),
        name: name.to_owned(),
    })
}

/// A verdict of policy `index` on the pod: failing with that many findings, or passing without.
pub fn says(name: &str, index: u32, findings: usize) -> ReportedVerdict {
    let policy = POLICIES[index as usize].parse().unwrap();
    let finding = |number: usize| {
        let path = Path::from_pointer(&format!("/spec/containers/{number}")).unwrap();
        Finding {
            fingerprint: Fingerprint::new(&policy, &pod(name), &path.to_pointer(), 0),
            path,
            message: format!("container {number}"),
            patch: None,
            line: Some(3),
        }
    };
    ReportedVerdict {
        binding: index,
        outcome: if findings == 0 { Outcome::Pass } else { Outcome::Fail },
        previous: None,
        action: Action::Audit,
        severity: policy_set().entries[index as usize].severity,
        findings: (0..findings).map(finding).collect(),
        findings_total: u32::try_from(findings).unwrap(),
        message: String::new(),
        code: String::new(),
        underlying: None,
    }
}

/// A change of one pod.
pub fn change(name: &str, verdicts: Vec<ReportedVerdict>) -> RecordBody {
    verdict(name, "", verdicts, None)
}

pub fn verdict(
    name: &str,
    uid: &str,
    verdicts: Vec<ReportedVerdict>,
    snapshot: Option<SnapshotId>,
) -> RecordBody {
    let (passing, others): (Vec<_>, Vec<_>) =
        verdicts.into_iter().partition(|v| v.outcome == Outcome::Pass);
    RecordBody::Verdict(VerdictRecord {
        subject: pod(name),
        attributes: Attributes { uid: uid.to_owned(), ..Attributes::at(Checkpoint::Run) },
        verdicts: others,
        passes: passing.iter().map(|verdict| verdict.binding).collect(),
        withdrawn: Vec::new(),
        snapshot,
    })
}

pub fn removed(name: &str) -> RecordBody {
    RecordBody::SubjectRemoved { subject: pod(name), uid: String::new() }
}

/// A whole snapshot of pods with their verdicts.
pub fn snapshot(
    number: u8,
    pods: &[(&str, Vec<ReportedVerdict>)],
    not_evaluated: Vec<NotEvaluated>,
) -> Vec<RecordBody> {
    let id = SnapshotId::from_bytes([number; 16]);
    let mut counts = std::collections::BTreeMap::new();
    for verdict in pods.iter().flat_map(|(_, verdicts)| verdicts) {
        *counts.entry((verdict.binding, verdict.outcome)).or_insert(0) += 1;
    }
    let mut bodies = vec![RecordBody::SnapshotBegin { id, reason: SnapshotReason::Activation }];
    bodies
        .extend(pods.iter().map(|(name, verdicts)| verdict(name, "", verdicts.clone(), Some(id))));
    bodies.push(RecordBody::SnapshotEnd(SnapshotEnd {
        id,
        subjects: pods.len() as u64,
        counts: counts
            .into_iter()
            .map(|((binding, outcome), count)| OutcomeCount { binding, outcome, count })
            .collect(),
        not_evaluated,
    }));
    bodies
}

//! Batches of an agent that reports whatever it is told to.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use provost_model::binding::Origin;
use provost_model::id::{BootId, SnapshotId};
use provost_model::policy::FailMode;
use provost_model::record::{
    BundleEvent, BundleRecord, Class, ClockQuality, Elision, ElisionReason, OutcomeCount,
    RecordHeader, ReportedVerdict, SnapshotEnd, SnapshotReason, VerdictRecord,
};
use provost_model::{
    Action, Attributes, Checkpoint, ClusterId, Digest, Finding, Fingerprint, InstanceId, Outcome,
    Path, PolicyId, PolicySet, PolicySetEntry, Record, RecordBody, ResourceRef, Severity, Subject,
};

use crate::store::batch::{Batch, EncodedPolicySet, Item, ItemBody};
use crate::store::current::SubjectKey;

pub const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const INSTANCE: InstanceId = InstanceId::from_bytes([2; 16]);
/// Of each set: much more than most records name.
const BINDINGS: u32 = 9;

#[derive(Clone, Debug)]
pub enum Op {
    Say {
        subject: u8,
        uid: &'static str,
        /// Binding and findings; none is a pass.
        verdicts: Vec<(u32, u8)>,
        withdrawn: Vec<u32>,
        /// As a statement of the open snapshot.
        is_stated: bool,
    },
    Remove {
        subject: u8,
        uid: &'static str,
    },
    Begin,
    /// With its true counts, or not.
    End {
        is_true: bool,
    },
    /// A policy set that is sent, or one that never arrives.
    Activate {
        set: u8,
        is_sent: bool,
    },
    Elide,
}

pub fn op() -> impl Strategy<Value = Op> {
    let uid = || prop::sample::select(vec!["", "one", "one", "one", "two"]);
    // Beyond the set now and then.
    let binding = || 0..=BINDINGS;
    let verdicts = prop::collection::vec((binding(), 0_u8..3), 0..4);
    let say = (0_u8..4, uid(), verdicts, prop::collection::vec(binding(), 0..2), any::<bool>());
    prop_oneof![
        16 => say.prop_map(|(subject, uid, verdicts, withdrawn, is_stated)| {
            Op::Say { subject, uid, verdicts, withdrawn, is_stated }
        }),
        3 => (0_u8..4, uid()).prop_map(|(subject, uid)| Op::Remove { subject, uid }),
        2 => Just(Op::Begin),
        2 => prop::bool::weighted(0.8).prop_map(|is_true| Op::End { is_true }),
        1 => (0_u8..3, prop::bool::weighted(0.8)).prop_map(|(set, is_sent)| Op::Activate { set, is_sent }),
        1 => Just(Op::Elide),
    ]
}

#[derive(Default)]
pub struct World {
    seq: u64,
    set: Option<Digest>,
    set_number: u8,
    snapshots: u8,
    snapshot: Option<Snapshot>,
    uids: BTreeMap<u8, &'static str>,
}

struct Snapshot {
    id: SnapshotId,
    stated: BTreeSet<u8>,
    subjects: u64,
    counts: BTreeMap<(u32, Outcome), u64>,
}

impl World {
    /// The first one begins with a policy set.
    pub fn batch(&mut self, ops: &[Op]) -> Batch {
        let first_seq = self.seq + 1;
        let begin = (self.set.is_none()).then_some(Op::Activate { set: 0, is_sent: true });
        let items = begin.iter().chain(ops).map(|op| self.item(op)).collect();
        Batch {
            cluster: CLUSTER,
            instance: INSTANCE,
            epoch: 1,
            prev_head: Digest::of(b""),
            head: Digest::of(b""),
            first_seq,
            last_seq: self.seq,
            items,
            envelope: Bytes::new(),
        }
    }

    fn item(&mut self, op: &Op) -> Item {
        self.seq += 1;
        let mut policy_set = None;
        let body = match op {
            Op::Say { subject, uid, verdicts, withdrawn, is_stated } => {
                RecordBody::Verdict(self.say(*subject, uid, verdicts, withdrawn, *is_stated))
            }
            Op::Remove { subject, uid } => self.remove(*subject, uid),
            Op::Begin => self.begin(),
            Op::End { is_true } => self.end(*is_true),
            Op::Activate { set, is_sent } => {
                let encoded = encoded(*set, *is_sent);
                self.set = Some(encoded.digest);
                self.set_number = *set;
                policy_set = is_sent.then_some(encoded);
                bundle()
            }
            Op::Elide => return self.elide(),
        };
        let record = Box::new(Record { header: self.header(), body });
        self.wrap(ItemBody::Record { record, policy_set })
    }

    fn wrap(&self, body: ItemBody) -> Item {
        Item { first_seq: self.seq, last_seq: self.seq, after: Digest::of(b""), body }
    }

    fn say(
        &mut self,
        subject: u8,
        uid: &'static str,
        verdicts: &[(u32, u8)],
        withdrawn: &[u32],
        is_stated: bool,
    ) -> VerdictRecord {
        let known = self.uids.insert(subject, uid).unwrap_or_default();
        let is_replaced = !known.is_empty() && !uid.is_empty() && known != uid;
        let mut snapshot = None;
        if let Some(open) = &mut self.snapshot {
            if is_replaced {
                open.stated.remove(&subject);
            }
            if is_stated {
                snapshot = Some(open.id);
                open.state(subject, verdicts);
            }
        }
        let passing = verdicts.iter().filter(|(_, findings)| *findings == 0);
        let failing = verdicts.iter().filter(|(_, findings)| *findings > 0);
        let fails = |(binding, findings): &(u32, u8)| {
            fails(subject, &policy(self.set_number, *binding), *binding, *findings)
        };
        VerdictRecord {
            subject: object(subject),
            attributes: Attributes { uid: uid.to_owned(), ..Attributes::at(Checkpoint::Run) },
            verdicts: failing.map(fails).collect(),
            passes: passing.map(|(binding, _)| *binding).collect(),
            withdrawn: withdrawn.to_vec(),
            snapshot,
        }
    }

    fn remove(&mut self, subject: u8, uid: &'static str) -> RecordBody {
        let known = self.uids.get(&subject).copied().unwrap_or_default();
        if uid.is_empty() || known.is_empty() || known == uid {
            self.uids.remove(&subject);
            if let Some(open) = &mut self.snapshot {
                open.stated.remove(&subject);
            }
        }
        RecordBody::SubjectRemoved { subject: object(subject), uid: uid.to_owned() }
    }

    fn begin(&mut self) -> RecordBody {
        self.snapshots += 1;
        let id = SnapshotId::from_bytes([self.snapshots; 16]);
        let (stated, counts) = (BTreeSet::new(), BTreeMap::new());
        self.snapshot = Some(Snapshot { id, stated, subjects: 0, counts });
        RecordBody::SnapshotBegin { id, reason: SnapshotReason::Activation }
    }

    /// Of the open snapshot, or of one that never began.
    fn end(&mut self, is_true: bool) -> RecordBody {
        let open = self.snapshot.take();
        let id = open.as_ref().map_or(SnapshotId::from_bytes([0; 16]), |open| open.id);
        let (subjects, counts) = open.map(|open| (open.subjects, open.counts)).unwrap_or_default();
        let count = |((binding, outcome), count)| OutcomeCount { binding, outcome, count };
        RecordBody::SnapshotEnd(SnapshotEnd {
            id,
            subjects: subjects + u64::from(!is_true),
            counts: counts.into_iter().map(count).collect(),
            not_evaluated: Vec::new(),
        })
    }

    fn elide(&mut self) -> Item {
        self.snapshot = None;
        self.wrap(ItemBody::Elision(Elision {
            from_seq: self.seq,
            to_seq: self.seq,
            chain_before: Digest::of(b""),
            chain_after: Digest::of(b""),
            reason: ElisionReason::Cap,
            counts: Vec::new(),
        }))
    }

    fn header(&self) -> RecordHeader {
        RecordHeader {
            seq: self.seq,
            class: Class::P1,
            boot: BootId::from_bytes([1; 16]),
            monotonic_ms: self.seq,
            wall_ms: i64::try_from(self.seq).unwrap(),
            clock_quality: ClockQuality::Synced,
            policy_set: self.set,
            coalesced: 1,
            exemption_id: String::new(),
            trace_parent: String::new(),
        }
    }
}

impl Snapshot {
    fn state(&mut self, subject: u8, verdicts: &[(u32, u8)]) {
        self.subjects += u64::from(self.stated.insert(subject));
        for (binding, findings) in verdicts {
            let outcome = if *findings == 0 { Outcome::Pass } else { Outcome::Fail };
            *self.counts.entry((*binding, outcome)).or_default() += 1;
        }
    }
}

pub fn key(subject: u8) -> SubjectKey {
    SubjectKey::of(&object(subject))
}

fn object(subject: u8) -> Subject {
    Subject::Kubernetes(ResourceRef {
        group: String::new(),
        kind: "Pod".to_owned(),
        namespace: format!("team-{}", subject % 2),
        name: format!("pod-{subject}"),
    })
}

/// Sets share policies, at other indexes and in other revisions; every second one has its own binding.
fn encoded(number: u8, is_sent: bool) -> EncodedPolicySet {
    let entry = |index: u32| PolicySetEntry {
        policy: policy(number, index),
        binding: if index.is_multiple_of(2) { "default" } else { "strict" }.parse().unwrap(),
        revision: Digest::of(&[number]),
        action: Action::Audit,
        fail_mode: FailMode::Open,
        severity: Severity::Low,
        scored: !index.is_multiple_of(3),
        origin: Origin::Bundle(Digest::of(b"manifest")),
        title: String::new(),
        code: String::new(),
        category: String::new(),
    };
    EncodedPolicySet {
        digest: Digest::of(&[number, u8::from(is_sent)]),
        encoded: Bytes::new(),
        set: PolicySet { entries: (0..BINDINGS).map(entry).collect() },
    }
}

fn bundle() -> RecordBody {
    RecordBody::Bundle(BundleRecord {
        event: BundleEvent::Activated,
        channel: "stable".to_owned(),
        version: 1,
        manifest: Digest::of(b"manifest"),
        policy_set: None,
        errors: Vec::new(),
    })
}

fn policy(set: u8, binding: u32) -> PolicyId {
    format!("policy-{}", binding + u32::from(set)).parse().unwrap()
}

fn fails(subject: u8, policy: &PolicyId, binding: u32, findings: u8) -> ReportedVerdict {
    let finding = |number: u8| {
        let path = Path::from_pointer(&format!("/spec/containers/{number}")).unwrap();
        Finding {
            fingerprint: Fingerprint::new(policy, &object(subject), &path.to_pointer(), 0),
            path,
            message: format!("container {number}"),
            patch: None,
            line: None,
        }
    };
    ReportedVerdict {
        binding,
        outcome: Outcome::Fail,
        previous: None,
        action: Action::Audit,
        severity: Severity::Low,
        findings: (0..findings).map(finding).collect(),
        findings_total: u32::from(findings),
        message: String::new(),
        code: String::new(),
        underlying: None,
    }
}

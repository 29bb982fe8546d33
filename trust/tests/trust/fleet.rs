//! A small fleet's keys and objects, all from fixed seeds, so that every byte is the same each time.

use provost_model::{Digest, Labels};
use provost_trust::assignment::{AssignedAction, Assignment, Nonce};
use provost_trust::files::{FileEntry, FileKind, content_digest};
use provost_trust::grant::{Grant, GrantedInstance};
use provost_trust::manifest::{EngineNeeds, EngineVersion, Limits, PolicyManifest};
use provost_trust::root::{Role, Root};
use provost_trust::{Envelope, Error, KeyPair, Timestamp, TrustedRoot};

pub const CREATED: &str = "2026-11-22T05:00:00Z";
pub const NOW: &str = "2026-12-01T00:00:00Z";
pub const EXPIRES: &str = "2027-02-22T05:00:00Z";

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn key(seed: u8) -> KeyPair {
    KeyPair::from_seed(&[seed; 32]).unwrap()
}

pub fn root_key() -> KeyPair {
    key(1)
}
pub fn policy_key() -> KeyPair {
    key(2)
}
pub fn second_policy_key() -> KeyPair {
    key(3)
}
pub fn director_key() -> KeyPair {
    key(4)
}
pub fn operator_key() -> KeyPair {
    key(5)
}
pub fn exemption_key() -> KeyPair {
    key(6)
}
pub fn stranger() -> KeyPair {
    key(99)
}

pub fn root() -> Root {
    let mut root = Root::first(at(CREATED), at("2027-11-22T05:00:00Z"));
    for (role, key, name) in [
        (Role::Root, root_key(), "Ada"),
        (Role::Policy, policy_key(), "release team"),
        (Role::Policy, second_policy_key(), ""),
        (Role::Director, director_key(), "hub"),
        (Role::Operator, operator_key(), "Grace"),
        (Role::Exemption, exemption_key(), "risk office"),
    ] {
        root.add_key(role, key.public(), name);
    }
    root
}

pub fn signed_root(root: &Root, keys: &[KeyPair]) -> Envelope {
    signed(root.to_unsigned(), keys)
}

pub fn trusted() -> TrustedRoot {
    TrustedRoot::from_operator(&signed_root(&root(), &[root_key()])).unwrap()
}

/// The fleet's root with both policy keys needed.
pub fn trusted_with_threshold_two() -> TrustedRoot {
    let mut root = root();
    root.role_mut(Role::Policy).threshold = 2;
    TrustedRoot::from_operator(&signed_root(&root, &[root_key()])).unwrap()
}

pub fn signed(unsigned: Result<Envelope, Error>, keys: &[KeyPair]) -> Envelope {
    let mut envelope = unsigned.unwrap();
    for key in keys {
        envelope.add_signature(key);
    }
    envelope
}

pub const FILES: [(&str, &str); 2] = [
    ("lib/pods.rego", "package provost.lib.pods\n"),
    ("pods/x/policy.rego", "package provost.pods.x\n"),
];

pub fn manifest() -> PolicyManifest {
    let entry = |(path, text): (&str, &str)| FileEntry {
        path: path.to_owned(),
        size: text.len() as u64,
        sha256: Digest::of(text.as_bytes()),
        kind: if path.starts_with("lib/") { FileKind::Library } else { FileKind::Policy },
    };
    let files: Vec<FileEntry> = FILES.into_iter().map(entry).collect();
    PolicyManifest {
        channel: "stable".to_owned(),
        version: 7,
        floor_version: 3,
        revoked_versions: vec![5],
        created: at(CREATED),
        expires: at(EXPIRES),
        scope: provost_model::LabelSelector::default(),
        rings: Vec::new(),
        engine: EngineNeeds {
            minimum: EngineVersion { major: 0, minor: 1, patch: 0 },
            builtins: Vec::new(),
        },
        limits: Limits::default(),
        content_digest: content_digest(&files),
        files,
    }
}

pub fn signed_manifest(manifest: &PolicyManifest) -> Envelope {
    signed(manifest.to_unsigned(), &[policy_key()])
}

pub fn cluster_id() -> provost_model::ClusterId {
    provost_model::ClusterId::from_bytes([0xc1; 16])
}

pub fn instance_id(byte: u8) -> provost_model::InstanceId {
    provost_model::InstanceId::from_bytes([byte; 16])
}

pub fn nonce() -> Nonce {
    Nonce::from_bytes([7; 32])
}

pub fn assignment() -> Assignment {
    Assignment {
        cluster_id: cluster_id(),
        nonce: nonce(),
        channel: "stable".to_owned(),
        version: 7,
        digest: signed_manifest(&manifest()).payload_digest(),
        action: AssignedAction::Activate,
        rollout_id: String::new(),
        issued: at("2026-11-30T12:00:00Z"),
        expires: at("2026-12-01T12:00:00Z"),
    }
}

pub fn grant() -> Grant {
    Grant {
        cluster_id: cluster_id(),
        trust_domain: "fleet.example.org".to_owned(),
        version: 2,
        identity_key: key(20).public(),
        instances: vec![GrantedInstance {
            instance_id: instance_id(1),
            report_key: key(21).public(),
        }],
        labels: labels(&[("tier", "edge")]),
        issued: at(CREATED),
    }
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

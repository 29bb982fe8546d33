//! What people and the director sign in the tests: roots, bundles and assignments.

use std::collections::BTreeMap;

use bytes::Bytes;
use provost_bundle::{Contents, Header};
use provost_model::{ClusterId, Digest, LabelSelector};
use provost_proto::session::Assignment;
use provost_trust::assignment::{AssignedAction, Assignment as Assigned, Nonce};
use provost_trust::{Envelope, KeyPair, Role, Root, Timestamp};

/// The tests' now.
pub const NOW_S: i64 = 1_800_000_000;
pub const DAY_S: i64 = 86_400;

pub struct Keys {
    pub root: KeyPair,
    pub policy: KeyPair,
    pub director: KeyPair,
}

impl Keys {
    pub fn make() -> Self {
        let key = || KeyPair::generate().unwrap();
        Self { root: key(), policy: key(), director: key() }
    }

    /// Version 2 of the root: another policy key in place of the first.
    pub fn rotated(&self, policy: &KeyPair) -> Envelope {
        let first = Root::parse(&self.root().payload).unwrap();
        let mut root = first.successor(at(10), at(3650 * DAY_S));
        for role in [Role::Policy, Role::Exemption] {
            root.remove_key(role, self.policy.id());
            root.add_key(role, policy.public(), "new policy");
        }
        let mut envelope = root.to_unsigned().unwrap();
        envelope.add_signature(&self.root);
        envelope
    }

    /// Version 2 of the root, with the same keys, which has expired.
    pub fn expired(&self) -> Envelope {
        let first = Root::parse(&self.root().payload).unwrap();
        let mut envelope = first.successor(at(-100), at(-1)).to_unsigned().unwrap();
        envelope.add_signature(&self.root);
        envelope
    }

    pub fn root(&self) -> Envelope {
        let mut root = Root::first(at(0), at(3650 * DAY_S));
        root.add_key(Role::Root, self.root.public(), "root");
        root.add_key(Role::Policy, self.policy.public(), "policy");
        root.add_key(Role::Exemption, self.policy.public(), "policy");
        root.add_key(Role::Director, self.director.public(), "director");
        root.add_key(Role::Operator, self.root.public(), "root");
        let mut envelope = root.to_unsigned().unwrap();
        envelope.add_signature(&self.root);
        envelope
    }
}

/// `seconds` after the tests' now.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_s(NOW_S + seconds)
}

pub fn assigned(
    nonce: [u8; 32],
    cluster: ClusterId,
    manifest: &Envelope,
    version: u64,
) -> Assigned {
    Assigned {
        cluster_id: cluster,
        nonce: Nonce::from_bytes(nonce),
        channel: "stable".to_owned(),
        version,
        digest: manifest.payload_digest(),
        action: AssignedAction::Activate,
        rollout_id: String::new(),
        issued: at(0),
        expires: at(DAY_S),
    }
}

pub fn sign_assignment(keys: &Keys, assigned: &Assigned, manifest: &Envelope) -> Assignment {
    let mut assignment = assigned.to_unsigned().unwrap();
    assignment.add_signature(&keys.director);
    Assignment { assignment, roots: Vec::new(), manifest: Some(manifest.clone()), grant: None }
}

/// A bundle of one policy: pods need a label `team`; `note` tells versions apart.
pub fn contents(note: &str) -> Contents {
    let policy = format!(
        r#"# METADATA
# title: Pods name their team
# description: {note}
# custom:
#   id: team-label
#   severity: low
#   category: standards
#   kinds: [{{group: "", kinds: [Pod]}}]
#   action: warn
#   failMode: open
#   remediation: Set metadata.labels.team.
package provost.governance.team_label

import rego.v1

violation contains {{"msg": "no team", "path": ["metadata", "labels"]}} if {{
	not input.review.object.metadata.labels.team
}}
"#
    );
    let pod = |labels: &str| {
        format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {labels}\n")
    };
    let files: BTreeMap<String, Bytes> = [
        ("governance/team-label/policy.rego", policy),
        ("governance/team-label/examples/pass/with.yaml", pod("{team: x}")),
        ("governance/team-label/examples/fail/without.yaml", pod("{}")),
    ]
    .map(|(path, text)| (path.to_owned(), Bytes::from(text)))
    .into();
    let source = provost_bundle::source::from_files("test", &files);
    provost_bundle::contents::pack(&source.unwrap_or_else(|problems| panic!("{problems:?}")))
}

pub fn header(version: u64) -> Header {
    Header {
        channel: "stable".to_owned(),
        version,
        floor_version: 0,
        revoked_versions: Vec::new(),
        created: at(-60),
        expires: at(90 * DAY_S),
        scope: LabelSelector::default(),
        rings: Vec::new(),
    }
}

pub fn sign_manifest(keys: &[&KeyPair], contents: &Contents, header: Header) -> Envelope {
    let mut envelope = contents.manifest(header).to_unsigned().unwrap();
    for key in keys {
        envelope.add_signature(key);
    }
    envelope
}

pub fn blobs(contents: &Contents) -> BTreeMap<Digest, Bytes> {
    contents.files.values().map(|bytes| (Digest::of(bytes), bytes.clone())).collect()
}

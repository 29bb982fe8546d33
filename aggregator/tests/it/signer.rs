//! The operators' side: a root, a policy signer, and bundles of the library's own policies.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use provost_aggregator::bundles::publish::{PublishRequest, Published, publish};
use provost_aggregator::hub::Hub;
use provost_aggregator::refusal::Refusal;
use provost_aggregator::store::Actor;
use provost_bundle::Bundle;
use provost_bundle::contents::{Contents, Header};
use provost_model::{Digest, LabelSelector};
use provost_trust::root::Role;
use provost_trust::{Envelope, KeyPair, PolicyManifest, PublicKey, Root, Timestamp};

pub struct Signer {
    root_key: KeyPair,
    policy_key: KeyPair,
    pub operator_key: KeyPair,
    pub root: Envelope,
    now: Timestamp,
}

impl Signer {
    pub fn new(director: PublicKey, now_ms: i64) -> Self {
        let (root_key, policy_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let operator_key = KeyPair::generate().unwrap();
        let now = Timestamp::from_unix_ms(now_ms);
        let mut root = Root::first(now, now.plus_s(365 * 86_400));
        root.add_key(Role::Root, root_key.public(), "root");
        root.add_key(Role::Policy, policy_key.public(), "policy");
        root.add_key(Role::Operator, operator_key.public(), "operator");
        root.add_key(Role::Director, director, "director");
        let mut root = root.to_unsigned().unwrap();
        root.add_signature(&root_key);
        Self { root_key, policy_key, operator_key, root, now }
    }

    /// Version 1 and so many after it.
    pub fn rotated(&self, times: usize) -> Vec<Envelope> {
        let mut chain = vec![self.root.clone()];
        let mut root = Root::parse(&self.root.payload).unwrap();
        for _ in 0..times {
            root = root.successor(self.now, root.expires);
            let mut envelope = root.to_unsigned().unwrap();
            envelope.add_signature(&self.root_key);
            chain.push(envelope);
        }
        chain
    }

    pub fn root_digest(&self) -> Digest {
        self.root.payload_digest()
    }

    pub fn manifest(&self, contents: &Contents, version: u64) -> PolicyManifest {
        contents.manifest(Header {
            channel: "stable".to_owned(),
            version,
            floor_version: 0,
            revoked_versions: Vec::new(),
            created: self.now,
            expires: self.now.plus_s(30 * 86_400),
            scope: LabelSelector::default(),
            rings: Vec::new(),
        })
    }

    pub fn sign(&self, manifest: &PolicyManifest) -> Envelope {
        let mut envelope = manifest.to_unsigned().unwrap();
        envelope.add_signature(&self.policy_key);
        envelope
    }

    pub fn request(&self, contents: &Contents, version: u64) -> PublishRequest {
        PublishRequest {
            roots: vec![self.root.clone()],
            manifest: self.sign(&self.manifest(contents, version)),
            blobs: contents.files.values().cloned().collect(),
            plan_only: false,
        }
    }

    pub async fn publish(
        &self,
        hub: &Arc<Hub>,
        contents: &Contents,
        version: u64,
    ) -> Result<Published, Refusal> {
        publish(hub, self.request(contents, version), &Actor::token("tester")).await
    }
}

/// These policies of the library, as a bundle's files.
pub fn contents(policies: &[&str]) -> Contents {
    Contents::of(&library(policies))
}

pub fn library(policies: &[&str]) -> Bundle {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("policies");
    let ids: Vec<_> = policies.iter().map(|id| id.parse().unwrap()).collect();
    provost_bundle::source::read_dir(&folder).unwrap().into_bundle().narrowed_to(&ids)
}

/// The same files, one of them with other content.
pub fn altered(contents: &Contents, ends_with: &str, change: impl Fn(&str) -> String) -> Contents {
    let mut contents = contents.clone();
    let path = contents.files.keys().find(|path| path.ends_with(ends_with)).unwrap().clone();
    let text = String::from_utf8(contents.files[&path].to_vec()).unwrap();
    contents.files.insert(path, Bytes::from(change(&text)));
    contents
}

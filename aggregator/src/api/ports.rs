//! What the API asks of the hub's other parts, as traits: who is heard, and what operators may do.
//!
//! Every operation writes its audit row in the transaction of its change; a refused one leaves a
//! row too. The API checks the role before it calls.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use provost_model::{ClusterId, Digest, InstanceId, Labels};
use provost_trust::Envelope;
use serde::Serialize;

use super::problem::Problem;
use crate::store::Actor;
use crate::store::identity::Cluster;

/// Who was heard within its time. The hub's monotonic clock decides, not the store.
pub trait Liveness: Send + Sync {
    fn is_fresh(&self, cluster: ClusterId) -> bool;
}

/// What an operator may do to the fleet.
#[async_trait]
pub trait Operate: Send + Sync {
    fn facts(&self) -> HubFacts;

    async fn create_enrol_token(
        &self,
        request: EnrolTokenRequest,
        actor: &Actor,
    ) -> Result<IssuedEnrolToken, Problem>;

    /// A `grant` signed by an operator replaces the one that the director would sign.
    async fn approve(&self, approval: ApproveRequest, actor: &Actor) -> Result<Cluster, Problem>;

    /// Rejects a pending cluster, revokes any other; its streams end within five seconds.
    async fn dismiss(
        &self,
        cluster: ClusterId,
        reason: &str,
        actor: &Actor,
    ) -> Result<Cluster, Problem>;

    /// Lifts the quarantine of an instance.
    async fn release(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
        actor: &Actor,
    ) -> Result<(), Problem>;

    /// Verifies, compiles and self-tests; stores and offers unless `plan` is set.
    async fn publish(
        &self,
        request: PublishRequest,
        plan: bool,
        actor: &Actor,
    ) -> Result<PublishAnswer, Problem>;
}

/// What everybody who enrols a cluster or makes a root must know of this hub.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HubFacts {
    pub version: String,
    pub trust_domain: String,
    /// SHA-256 of the CA certificate (DER), lower-case hex.
    pub ca_digest: String,
    /// Raw Ed25519 public key of the director, as `provost root add-key` takes it.
    pub director_key: String,
    /// Where agents reach the hub, as `https://host:port`.
    pub agent_urls: Vec<String>,
    /// Version of the newest root; none before the first publication.
    pub root_version: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct EnrolTokenRequest {
    /// Empty: the agent's own name.
    pub display_name: String,
    pub labels: Labels,
    /// None: the longest.
    pub life_s: Option<u64>,
}

pub struct IssuedEnrolToken {
    /// In clear, this once.
    pub secret: String,
    pub expires_at_ms: i64,
}

#[derive(Clone, Debug)]
pub struct ApproveRequest {
    pub cluster: ClusterId,
    pub display_name: Option<String>,
    /// None: those of the enrolment token.
    pub labels: Option<Labels>,
    pub grant: Option<Envelope>,
}

#[derive(Clone, Debug)]
pub struct PublishRequest {
    pub manifest: Envelope,
    /// Oldest first; those that the hub holds already may be among them.
    pub roots: Vec<Envelope>,
    pub blobs: BTreeMap<Digest, Bytes>,
}

/// What a publication changes, or would change.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishAnswer {
    pub channel: String,
    pub version: u64,
    pub manifest_digest: String,
    pub content_digest: String,
    /// False under `plan`, and where the same bundle was published before.
    pub published: bool,
    pub policies: u64,
    /// How many tests and examples ran.
    pub tests: u64,
    /// Approved clusters whose labels are in the bundle's scope.
    pub clusters: u64,
    /// Against the channel's newest published bundle.
    pub changes: Vec<BundleChange>,
    /// What its publisher may not have meant: it is for nobody, or expires soon.
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BundleChange {
    /// `added`, `removed`, `changed`.
    pub change: String,
    /// `policy`, `binding`, `library`.
    pub what: String,
    pub id: String,
    pub detail: String,
}

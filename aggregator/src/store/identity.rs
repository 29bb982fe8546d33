//! Who may speak: enrolment tokens, clusters, instances and their certificates.

use async_trait::async_trait;
use provost_model::{ClusterId, Digest, InstanceId, Labels};
use serde::Serialize;

use super::{Actor, Result};

#[async_trait]
pub trait Identity: Send + Sync {
    /// The value that was stored first under `name`: `value` if there was none.
    async fn meta_once(&self, name: &str, value: &str) -> Result<String>;

    async fn create_token(&self, token: &NewToken, actor: &Actor, now_ms: i64) -> Result<()>;
    async fn tokens(&self) -> Result<Vec<TokenRow>>;

    /// Uses the token and makes cluster and instance in one transaction. When the identity key is already enrolled
    /// with this token and this instance, the answer is that enrolment again (the agent lost our answer), as long as
    /// the token lives and until the instance was first heard in a session.
    async fn enrol(&self, request: &NewEnrolment, now_ms: i64) -> Result<Enrolled>;

    /// Checks and advances the instance's join counter, keeps its report key, admits a further instance, and uses up
    /// the nonce; one transaction.
    async fn reenter(&self, request: &Reentry, now_ms: i64) -> Result<Reentered>;

    /// PENDING to APPROVED (or APPROVED again, with other labels or grant), with the grant that says so.
    async fn approve(&self, approval: &Approval, actor: &Actor, now_ms: i64) -> Result<Cluster>;
    /// To REJECTED (from PENDING) or REVOKED (from any other).
    async fn dismiss(
        &self,
        cluster: ClusterId,
        reason: &str,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<Cluster>;
    /// Lifts an instance's quarantine; its next epoch must be a new one, and its next re-entry may bring any join
    /// counter, once: the agent that an operator lets back in may not be the one that was given the newest.
    async fn release(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<()>;
    async fn quarantine(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
        code: &str,
        detail: &str,
        now_ms: i64,
    ) -> Result<()>;

    async fn cluster(&self, id: ClusterId) -> Result<Option<Cluster>>;
    async fn cluster_by_identity(&self, identity_key: &[u8; 32]) -> Result<Option<Cluster>>;
    async fn clusters(&self) -> Result<Vec<Cluster>>;
    async fn instance(&self, cluster: ClusterId, instance: InstanceId) -> Result<Option<Instance>>;
    async fn instances(&self, cluster: ClusterId) -> Result<Vec<Instance>>;

    /// With its audit row where it renews one: enrolment and re-entry have theirs.
    async fn certificate_issued(&self, certificate: &IssuedCertificate) -> Result<()>;
    async fn certificate(&self, serial: &str) -> Result<Option<CertificateRow>>;
    async fn certificates(&self, cluster: ClusterId) -> Result<Vec<CertificateRow>>;

    /// Facts of a Hello; also counts as heard.
    async fn hello(&self, hello: &HelloFacts, now_ms: i64) -> Result<()>;
}

#[derive(Clone, Debug)]
pub struct NewToken {
    /// SHA-256 of the secret.
    pub token: Digest,
    pub display_name: String,
    pub labels: Labels,
    pub expires_at_ms: i64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRow {
    pub token: Digest,
    pub display_name: String,
    pub labels: Labels,
    pub created_at_ms: i64,
    pub created_by: String,
    pub expires_at_ms: i64,
    pub used_at_ms: Option<i64>,
    pub used_by: Option<ClusterId>,
}

#[derive(Clone, Debug)]
pub struct NewEnrolment {
    pub token: Digest,
    /// Drawn by the caller; kept only if the token is good.
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub identity_key: [u8; 32],
    pub report_key: [u8; 32],
    /// The agent's own; the token's display name wins where it has one.
    pub display_name: String,
    pub cluster_uid: String,
    pub server_version: String,
    pub version_hash: String,
}

#[derive(Clone, Debug)]
pub enum Enrolled {
    /// Cluster and instance exist now, PENDING.
    New(Box<Cluster>),
    /// The same agent asked again.
    Again(Box<Cluster>),
    TokenUnknown,
    TokenUsed,
    TokenExpired {
        expired_at_ms: i64,
    },
    /// The identity key belongs to an enrolled cluster: re-enter instead.
    KeyInUse,
}

#[derive(Clone, Debug)]
pub struct Reentry {
    pub identity_key: [u8; 32],
    pub instance: InstanceId,
    pub report_key: [u8; 32],
    pub join_counter: u64,
    pub nonce: Digest,
    /// An instance unknown so far is admitted only where this is set (certificates expired for too long need approval).
    pub admit_new_instance: bool,
}

#[derive(Clone, Debug)]
pub enum Reentered {
    /// With the instance's new join counter.
    Ok {
        cluster: Box<Cluster>,
        join_counter: u64,
    },
    Unknown,
    Replayed,
    /// The counter is not the one we gave last: two parties hold the key. Quarantined now.
    Forked {
        expected: u64,
    },
}

#[derive(Clone, Debug)]
pub struct Approval {
    pub cluster: ClusterId,
    pub display_name: Option<String>,
    pub labels: Labels,
    /// Grant envelope as DSSE JSON, and its version (higher than the one before).
    pub grant: String,
    pub grant_version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClusterStatus {
    Pending,
    Approved,
    Rejected,
    Revoked,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    pub id: ClusterId,
    pub display_name: String,
    pub status: ClusterStatus,
    pub labels: Labels,
    /// DSSE JSON.
    #[serde(skip)]
    pub grant: Option<String>,
    pub grant_version: u64,
    #[serde(skip)]
    pub identity_key: [u8; 32],
    pub cluster_uid: String,
    pub server_version: String,
    pub enrolled_at_ms: i64,
    pub decided_at_ms: Option<i64>,
    pub decided_by: Option<String>,
    pub last_heard_at_ms: Option<i64>,
    pub auditing_instance: Option<InstanceId>,
    /// The instance that audits is quarantined: nothing it says is taken.
    #[serde(skip)]
    pub quarantined: bool,
    pub agent_version: String,
    pub clock_offset_ms: i64,
    pub active_manifest: Option<Digest>,
    pub active_version: Option<u64>,
    pub policy_set: Option<Digest>,
    /// When the last complete snapshot ended; none until the first.
    pub snapshot_at_ms: Option<i64>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    pub cluster: ClusterId,
    pub id: InstanceId,
    #[serde(skip)]
    pub report_key: [u8; 32],
    pub join_counter: u64,
    pub enrolled_at_ms: i64,
    pub last_heard_at_ms: Option<i64>,
    /// Set while quarantined.
    pub quarantine: Option<String>,
    pub quarantined_at_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// Lower-case hex.
    pub serial: String,
    pub cluster: ClusterId,
    pub instance: InstanceId,
    /// Of the subject public key info.
    pub spki: Digest,
    pub issued_at_ms: i64,
    pub not_after_ms: i64,
    /// Asked for with one that still held.
    pub renews: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRow {
    pub serial: String,
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub spki: Digest,
    pub issued_at_ms: i64,
    pub not_after_ms: i64,
    pub revoked_at_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct HelloFacts {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub agent_version: String,
    pub server_version: String,
    pub node_versions: Vec<String>,
    pub clock_offset_ms: i64,
}

impl ClusterStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
            Self::Revoked => "REVOKED",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Approved, Self::Rejected, Self::Revoked]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

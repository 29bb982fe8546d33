//! Roots, published bundles, blobs, and what each instance said to them.

use async_trait::async_trait;
use bytes::Bytes;
use provost_model::record::FileError;
use provost_model::{ClusterId, Digest, InstanceId, PolicyMeta};
use serde::Serialize;

use super::{Actor, Result};

#[async_trait]
pub trait Bundles: Send + Sync {
    /// Root envelopes newer than `version`, oldest first.
    async fn roots_after(&self, version: u64) -> Result<Vec<RootRow>>;
    /// Roots, blobs, bundle and policies in one transaction, with its audit row. A version that exists with another
    /// digest is a conflict; with the same one nothing changes.
    async fn publish(&self, publication: &Publication, actor: &Actor, now_ms: i64) -> Result<()>;
    /// A refused publication leaves its audit row.
    async fn publish_refused(
        &self,
        target: &str,
        code: &str,
        detail: &str,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<()>;
    /// Newest version of a channel.
    async fn newest_bundle(&self, channel: &str) -> Result<Option<BundleRow>>;
    async fn bundle(&self, manifest: Digest) -> Result<Option<BundleRow>>;
    /// Newest first.
    async fn bundles(&self) -> Result<Vec<BundleRow>>;
    async fn bundle_files(&self, manifest: Digest) -> Result<Vec<FileRow>>;
    async fn blob(&self, digest: Digest) -> Result<Option<Bytes>>;
    /// Which of these the store lacks.
    async fn missing_blobs(&self, digests: &[Digest]) -> Result<Vec<Digest>>;
    /// Whether an instance of the cluster was offered a bundle that lists the blob.
    async fn blob_was_offered(&self, cluster: ClusterId, blob: Digest) -> Result<bool>;
    /// Bundles that list the blob, newest first: what is not published is not handed out.
    async fn bundles_with_blob(&self, blob: Digest) -> Result<Vec<BundleRow>>;
    async fn bundle_answer(&self, answer: &BundleAnswer, now_ms: i64) -> Result<()>;
    async fn bundle_answers(&self, manifest: Digest) -> Result<Vec<BundleAnswerRow>>;
}

#[derive(Clone, Debug)]
pub struct RootRow {
    pub version: u64,
    pub payload_digest: Digest,
    /// DSSE JSON.
    pub envelope: String,
}

#[derive(Clone, Debug)]
pub struct Publication {
    /// Roots not stored yet, oldest first.
    pub roots: Vec<RootRow>,
    pub bundle: BundleRow,
    pub files: Vec<FileRow>,
    pub blobs: Vec<(Digest, Bytes)>,
    pub policies: Vec<PublishedPolicy>,
}

#[derive(Clone, Debug)]
pub struct PublishedPolicy {
    pub meta: PolicyMeta,
    /// Rego text.
    pub source: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleRow {
    pub channel: String,
    pub version: u64,
    pub manifest: Digest,
    pub content: Digest,
    /// DSSE JSON.
    #[serde(skip)]
    pub envelope: String,
    pub floor_version: u64,
    pub created_at_ms: i64,
    pub expires_at_ms: i64,
    pub policies: u64,
    pub published_at_ms: i64,
    pub published_by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileRow {
    pub path: String,
    pub digest: Digest,
    pub size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BundleStatus {
    Offered,
    Active,
    Refused,
}

#[derive(Clone, Debug)]
pub struct BundleAnswer {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub manifest: Digest,
    pub version: u64,
    pub status: BundleStatus,
    /// Under REFUSED.
    pub code: String,
    pub errors: Vec<FileError>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleAnswerRow {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub status: BundleStatus,
    pub code: String,
    pub errors: Vec<FileError>,
    pub at_ms: i64,
}

impl BundleStatus {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offered => "OFFERED",
            Self::Active => "ACTIVE",
            Self::Refused => "REFUSED",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Offered, Self::Active, Self::Refused].into_iter().find(|s| s.as_str() == text)
    }
}

//! Findings as rows: filtered, counted, grouped by cause, paged.
//!
//! Invariants: only APPROVED clusters count; a count and the rows behind it come from one filter,
//! so that every number opens rows with the same total; pages go by key, never by offset, so that
//! a change between two pages neither repeats nor skips a row that stayed. Who is stale is not the
//! store's to know: it is passed in.

use async_trait::async_trait;
use provost_model::{Action, BindingId, ClusterId, Fingerprint, Outcome, PolicyId, Severity};
use serde::{Deserialize, Serialize};

use super::Result;

#[async_trait]
pub trait Findings: Send + Sync {
    /// In order of severity (worst first), policy, template, key. `stale`: clusters not heard.
    async fn findings(
        &self,
        filter: &FindingFilter,
        stale: &[ClusterId],
        after: Option<&FindingPosition>,
        limit: u32,
    ) -> Result<Vec<FindingRow>>;

    async fn count_findings(&self, filter: &FindingFilter, stale: &[ClusterId]) -> Result<u64>;

    /// The worst first, at most `limit`, and how many there are in all.
    async fn causes(
        &self,
        filter: &FindingFilter,
        stale: &[ClusterId],
        limit: u32,
    ) -> Result<(Vec<CauseRow>, u64)>;

    async fn finding(
        &self,
        cluster: ClusterId,
        binding: &BindingId,
        fingerprint: Fingerprint,
    ) -> Result<Option<FindingRow>>;

    /// Open findings per cluster and severity.
    async fn open_by_cluster(&self) -> Result<Vec<OpenCount>>;
}

/// State of a finding. `Stale`: open in a cluster that is not heard.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum FindingState {
    Fail,
    Warn,
    Exempt,
    Stale,
    /// Mended, or its subject is gone.
    Closed,
}

impl FindingState {
    /// What `open` stands for.
    pub const OPEN: [Self; 3] = [Self::Fail, Self::Warn, Self::Stale];
}

/// Which findings; every part that is set must hold. No state means every open one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingFilter {
    pub states: Vec<FindingState>,
    /// None means every cluster; an empty list matches nothing.
    pub clusters: Option<Vec<ClusterId>>,
    pub severities: Vec<Severity>,
    pub policy: Option<String>,
    pub binding: Option<String>,
    pub category: Option<String>,
    /// The empty text means cluster-scoped.
    pub namespace: Option<String>,
    pub kind: Option<String>,
    pub template: Option<String>,
    pub fingerprint: Option<String>,
    /// Part of name, message or path.
    pub text: Option<String>,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingPosition {
    /// [`severity_rank`].
    pub rank: i64,
    pub policy: PolicyId,
    pub template: String,
    pub cluster: ClusterId,
    pub binding: BindingId,
    pub fingerprint: Fingerprint,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FindingRow {
    pub cluster: ClusterId,
    pub cluster_name: String,
    pub binding: BindingId,
    pub fingerprint: Fingerprint,
    pub policy: PolicyId,
    pub policy_title: String,
    pub policy_code: String,
    pub category: String,
    pub subject_key: String,
    pub subject_type: String,
    pub group: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub severity: Severity,
    pub action: Action,
    pub outcome: Outcome,
    /// JSON Pointer.
    pub path: String,
    pub message: String,
    /// JSON Patch as text.
    pub patch: Option<String>,
    pub line: Option<i64>,
    /// Attributes as JSON text.
    pub attributes: String,
    /// `Kind name` of the controller, or of the subject where it has none.
    pub template: String,
    pub first_valid_at_ms: i64,
    pub opened_valid_at_ms: i64,
    pub received_at_ms: i64,
    pub closed_valid_at_ms: Option<i64>,
    pub close_reason: Option<String>,
}

/// Findings of one policy and one owning template.
#[derive(Clone, Debug, PartialEq)]
pub struct CauseRow {
    pub policy: PolicyId,
    pub policy_title: String,
    pub policy_code: String,
    pub template: String,
    /// The first by name; `namespaces` says how many there are.
    pub namespace: String,
    pub namespaces: u64,
    pub owner: String,
    pub severity: Severity,
    pub findings: u64,
    /// How many of `findings` stand under a binding that does not deny.
    pub unenforced: u64,
    /// How many of `findings` are in stale clusters.
    pub stale: u64,
    pub subjects: u64,
    pub clusters: u64,
    /// The newest.
    pub opened_valid_at_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCount {
    pub cluster: ClusterId,
    pub severity: Severity,
    pub outcome: Outcome,
    pub findings: u64,
}

impl FindingRow {
    #[must_use]
    pub fn position(&self) -> FindingPosition {
        FindingPosition {
            rank: severity_rank(self.severity),
            policy: self.policy.clone(),
            template: self.template.clone(),
            cluster: self.cluster,
            binding: self.binding.clone(),
            fingerprint: self.fingerprint,
        }
    }
}

/// 0 is the worst.
#[must_use]
pub const fn severity_rank(severity: Severity) -> i64 {
    match severity {
        Severity::Critical => 0,
        Severity::High => 1,
        Severity::Medium => 2,
        Severity::Low => 3,
        Severity::Info => 4,
    }
}

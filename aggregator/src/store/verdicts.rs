//! Verdicts as rows: current state, filtered, counted, paged. Only APPROVED clusters count.

use async_trait::async_trait;
use provost_model::{Action, BindingId, ClusterId, Outcome, PolicyId, Severity};
use serde::{Deserialize, Serialize};

use super::Result;

#[async_trait]
pub trait Verdicts: Send + Sync {
    /// In key order.
    async fn verdicts(
        &self,
        filter: &VerdictFilter,
        after: Option<&VerdictPosition>,
        limit: u32,
    ) -> Result<Vec<VerdictRow>>;

    async fn count_verdicts(&self, filter: &VerdictFilter) -> Result<u64>;

    /// How many subjects have a verdict, by cluster.
    async fn subjects_by_cluster(&self) -> Result<Vec<(ClusterId, u64)>>;
}

/// Which verdicts; every part that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictFilter {
    pub outcomes: Vec<Outcome>,
    /// None means every cluster; an empty list matches nothing.
    pub clusters: Option<Vec<ClusterId>>,
    pub severities: Vec<Severity>,
    pub policy: Option<String>,
    pub category: Option<String>,
    /// The empty text means cluster-scoped.
    pub namespace: Option<String>,
    pub kind: Option<String>,
    /// Part of the name.
    pub text: Option<String>,
    /// Only verdicts that count in the score.
    pub scored: bool,
}

/// Where a page ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictPosition {
    pub cluster: ClusterId,
    pub subject: String,
    pub policy: PolicyId,
    pub binding: BindingId,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VerdictRow {
    pub cluster: ClusterId,
    pub cluster_name: String,
    pub subject_key: String,
    pub subject_type: String,
    pub group: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub policy: PolicyId,
    pub policy_title: String,
    pub policy_code: String,
    pub binding: BindingId,
    pub outcome: Outcome,
    pub underlying: Option<Outcome>,
    pub action: Action,
    pub severity: Severity,
    pub scored: bool,
    pub findings_total: u64,
    pub code: String,
    pub message: String,
    pub since_valid_at_ms: i64,
    pub received_at_ms: i64,
}

impl VerdictRow {
    #[must_use]
    pub fn position(&self) -> VerdictPosition {
        VerdictPosition {
            cluster: self.cluster,
            subject: self.subject_key.clone(),
            policy: self.policy.clone(),
            binding: self.binding.clone(),
        }
    }
}

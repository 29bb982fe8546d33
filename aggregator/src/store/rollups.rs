//! Maintained counts, as rows: `tally` adds them up with who is stale.

use std::collections::BTreeMap;

use async_trait::async_trait;
use provost_model::policy::ControlRef;
use provost_model::{BindingId, ClusterId, NotEvaluatedReason, Outcome, PolicyId, Severity};

use super::Result;

#[async_trait]
pub trait Rollups: Send + Sync {
    /// Verdict counts by cluster, policy, binding, severity and outcome; of one cluster or of all.
    async fn policy_counts(&self, cluster: Option<ClusterId>) -> Result<Vec<PolicyCount>>;
    /// Verdict counts by namespace, policy, severity and outcome.
    async fn namespace_counts(&self, cluster: Option<ClusterId>) -> Result<Vec<NamespaceCount>>;
    /// What gives no verdict: rows, not verdicts.
    async fn not_evaluated(&self, cluster: Option<ClusterId>) -> Result<Vec<NotEvaluatedRow>>;
    async fn policies(&self) -> Result<BTreeMap<PolicyId, PolicyRow>>;
    /// The same counts made from the state rows themselves; a test holds the two together.
    async fn recount(&self) -> Result<(Vec<PolicyCount>, Vec<NamespaceCount>)>;
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyCount {
    pub cluster: ClusterId,
    pub policy: PolicyId,
    pub binding: BindingId,
    pub severity: Severity,
    /// Unscored bindings stay out of the score.
    pub scored: bool,
    pub outcome: Outcome,
    pub verdicts: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamespaceCount {
    pub cluster: ClusterId,
    /// Empty: cluster-scoped objects.
    pub namespace: String,
    pub policy: PolicyId,
    pub severity: Severity,
    pub scored: bool,
    pub outcome: Outcome,
    pub verdicts: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotEvaluatedRow {
    pub cluster: ClusterId,
    pub policy: PolicyId,
    pub binding: BindingId,
    pub group: String,
    pub kind: String,
    pub reason: NotEvaluatedReason,
    pub detail: String,
}

/// What is known of a policy.
#[derive(Clone, Debug)]
pub struct PolicyRow {
    pub id: PolicyId,
    pub code: String,
    pub title: String,
    pub category: String,
    pub severity: Severity,
    /// The controls that it checks, as the newest published bundle with the policy maps them.
    pub controls: Vec<ControlRef>,
}

//! What happened: changes of verdicts, admission reviews, agent events, gaps of every cluster.

use async_trait::async_trait;
use provost_model::{BindingId, ClusterId, PolicyId};

use super::Result;
use super::reports::GapRow;

/// Gaps of every cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GapCounts {
    pub declared: u64,
    pub undeclared: u64,
    /// How many of `undeclared` are not resolved.
    pub open: u64,
}

#[async_trait]
pub trait History: Send + Sync {
    /// Changes of one verdict, newest first.
    async fn transitions(
        &self,
        cluster: ClusterId,
        subject_key: &str,
        policy: &PolicyId,
        binding: &BindingId,
        limit: u32,
    ) -> Result<Vec<TransitionRow>>;

    /// Newest first; of one cluster or of all, of one object or of all.
    async fn admissions(
        &self,
        cluster: Option<ClusterId>,
        object: Option<&ObjectName>,
        limit: u32,
    ) -> Result<Vec<AdmissionRow>>;

    /// Bundle, trust, clock and mode records of a cluster, newest first.
    async fn events(&self, cluster: ClusterId, limit: u32) -> Result<Vec<EventRow>>;

    /// Gaps of every cluster with their ids, newest first, from below `before` on.
    async fn all_gaps(&self, before: Option<i64>, limit: u32) -> Result<Vec<(i64, GapRow)>>;

    async fn count_gaps(&self) -> Result<GapCounts>;

    /// Metadata of a policy as JSON; none where the hub knows only its name.
    async fn policy_meta(&self, policy: &str) -> Result<Option<String>>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransitionRow {
    pub id: i64,
    /// None: there was no verdict.
    pub from_outcome: Option<String>,
    /// None: the verdict ended.
    pub to_outcome: Option<String>,
    pub reason: String,
    /// How many changes the record stood for.
    pub coalesced: u64,
    pub valid_at_ms: i64,
    pub received_at_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    pub group: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionRow {
    pub id: i64,
    pub cluster: ClusterId,
    pub object: ObjectName,
    pub operation: String,
    pub allowed: bool,
    /// JSON list.
    pub verdicts: String,
    pub coalesced: u64,
    pub valid_at_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    pub id: i64,
    /// `bundle`, `trust`, `clock`, `mode`.
    pub kind: String,
    pub event: String,
    /// JSON.
    pub detail: String,
    pub valid_at_ms: i64,
}

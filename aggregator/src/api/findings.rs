//! Findings, causes and verdicts by API.

use axum::Json;
use axum::extract::State;
use provost_model::{BindingId, ClusterId, Fingerprint, Outcome, Path};
use serde::{Deserialize, Serialize};

use super::cursor::Scope;
use super::hub::Hub;
use super::page::{Page, Paging, PathOf, Query};
use super::problem::Problem;
use super::query::RowQuery;
use crate::stamp::Stamp;
use crate::store::findings::{CauseRow, FindingRow};
use crate::store::verdicts::VerdictRow;

const MAX_TRANSITIONS: u32 = 100;

/// One violation of one object, open or closed.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingJson {
    pub cluster: String,
    pub cluster_name: String,
    pub binding: String,
    pub fingerprint: String,
    /// fail, warn, exempt, stale or closed.
    pub state: String,
    /// What the cluster last said: under `stale` and `closed` it differs from `state`.
    pub outcome: String,
    /// The cluster was not heard within its time.
    pub stale: bool,
    pub policy: String,
    pub code: String,
    pub title: String,
    pub category: String,
    pub severity: String,
    pub action: String,
    pub subject: SubjectJson,
    /// JSON Pointer into the object.
    pub path: String,
    /// The same for people: `spec.containers[0].image`.
    pub path_text: String,
    pub message: String,
    /// JSON Patch that repairs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub patch: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<i64>,
    /// Checkpoint, API version, controller, owner, labels, source and location, as reported.
    #[schema(value_type = Object)]
    pub attributes: serde_json::Value,
    pub template: String,
    pub first_seen: Stamp,
    pub opened: Stamp,
    pub received: Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_reason: Option<String>,
}

/// What a verdict or finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubjectJson {
    /// kubernetes, terraform or file.
    #[serde(rename = "type")]
    pub kind_of_subject: String,
    pub group: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

/// Findings of one policy and one owning template.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CauseJson {
    pub policy: String,
    pub code: String,
    pub title: String,
    pub template: String,
    pub namespace: String,
    pub namespaces: u64,
    pub owner: String,
    pub severity: String,
    pub findings: u64,
    /// How many of `findings` stand under a binding that does not deny.
    pub unenforced: u64,
    /// How many of `findings` are in clusters that are stale.
    pub stale: u64,
    pub subjects: u64,
    pub clusters: u64,
    pub newest: Stamp,
}

/// One binding's verdict on one object.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerdictJson {
    pub cluster: String,
    pub cluster_name: String,
    pub subject: SubjectJson,
    pub policy: String,
    pub code: String,
    pub title: String,
    pub binding: String,
    pub outcome: String,
    pub stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub underlying: Option<String>,
    pub action: String,
    pub severity: String,
    pub scored: bool,
    pub findings: u64,
    /// Under error and skip.
    pub reason_code: String,
    pub message: String,
    pub since: Stamp,
    pub received: Stamp,
}

/// One change of a verdict.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransitionJson {
    /// Missing: there was no verdict.
    pub from: Option<String>,
    /// Missing: the verdict ended.
    pub to: Option<String>,
    pub reason: String,
    pub coalesced: u64,
    /// Corrected agent time.
    pub valid: Stamp,
    pub received: Stamp,
}

/// A finding with what happened to its verdict.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingDetail {
    pub finding: FindingJson,
    pub history: Vec<TransitionJson>,
    /// Open findings with the same fingerprint, in this cluster and others.
    pub same_fingerprint: u64,
}

#[utoipa::path(get, path = "/api/v1/findings", tag = "findings", params(RowQuery, Paging),
    responses((status = 200, body = Page<FindingJson>), (status = "default", body = Problem)))]
pub async fn findings(
    State(hub): State<Hub>,
    Query(query): Query<RowQuery>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<FindingJson>>, Problem> {
    let (clusters, stale) = hub.approved().await?;
    let filter = query.normalised()?.finding_filter(&clusters)?;
    let scope = Scope::new("findings", &filter);
    let (limit, after) = (paging.limit()?, paging.position(&scope)?);
    let total = hub.store.count_findings(&filter, &stale).await?;
    let rows = hub.store.findings(&filter, &stale, after.as_ref(), limit + 1).await?;
    let show = |row| FindingJson::new(row, &stale);
    Ok(Json(Page::cut(rows, limit, total, &scope, FindingRow::position, show)))
}

#[utoipa::path(get, path = "/api/v1/causes", tag = "findings", params(RowQuery, Paging),
    responses((status = 200, body = Page<CauseJson>), (status = "default", body = Problem)))]
pub async fn causes(
    State(hub): State<Hub>,
    Query(query): Query<RowQuery>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<CauseJson>>, Problem> {
    let (clusters, stale) = hub.approved().await?;
    let filter = query.normalised()?.finding_filter(&clusters)?;
    let scope = Scope::new("causes", &filter);
    // Causes are far fewer than findings, and counting them groups them all anyway.
    let (rows, _) = hub.store.causes(&filter, &stale, u32::MAX).await?;
    let key = |row: &CauseRow| (row.policy.to_string(), row.template.clone());
    Page::of_whole(rows, &paging, &scope, key, CauseJson::from).map(Json)
}

#[utoipa::path(get, path = "/api/v1/findings/{cluster}/{binding}/{fingerprint}", tag = "findings",
    params(("cluster" = String, Path), ("binding" = String, Path), ("fingerprint" = String, Path)),
    responses((status = 200, body = FindingDetail), (status = "default", body = Problem)))]
pub async fn finding(
    State(hub): State<Hub>,
    PathOf(key): PathOf<FindingKey>,
) -> Result<Json<FindingDetail>, Problem> {
    let (_, stale) = hub.approved().await?;
    let row = key.find(&hub).await?;
    let history = hub
        .store
        .transitions(row.cluster, &row.subject_key, &row.policy, &row.binding, MAX_TRANSITIONS)
        .await?;
    let same = crate::store::findings::FindingFilter {
        fingerprint: Some(row.fingerprint.to_string()),
        ..Default::default()
    };
    let same_fingerprint = hub.store.count_findings(&same, &stale).await?;
    let history = history
        .into_iter()
        .map(|t| TransitionJson {
            from: t.from_outcome,
            to: t.to_outcome,
            reason: t.reason,
            coalesced: t.coalesced,
            valid: Stamp(t.valid_at_ms),
            received: Stamp(t.received_at_ms),
        })
        .collect();
    let finding = FindingJson::new(row, &stale);
    Ok(Json(FindingDetail { finding, history, same_fingerprint }))
}

#[utoipa::path(get, path = "/api/v1/verdicts", tag = "findings", params(RowQuery, Paging),
    responses((status = 200, body = Page<VerdictJson>), (status = "default", body = Problem)))]
pub async fn verdicts(
    State(hub): State<Hub>,
    Query(query): Query<RowQuery>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<VerdictJson>>, Problem> {
    let (clusters, stale) = hub.approved().await?;
    let filter = query.normalised()?.verdict_filter(&clusters, &stale)?;
    let scope = Scope::new("verdicts", &filter);
    let (limit, after) = (paging.limit()?, paging.position(&scope)?);
    let total = hub.store.count_verdicts(&filter).await?;
    let rows = hub.store.verdicts(&filter, after.as_ref(), limit + 1).await?;
    let show = |row| VerdictJson::new(row, &stale);
    Ok(Json(Page::cut(rows, limit, total, &scope, VerdictRow::position, show)))
}

/// A finding's key in the hub.
#[derive(Clone, Debug, Deserialize)]
pub struct FindingKey {
    pub cluster: ClusterId,
    pub binding: BindingId,
    pub fingerprint: Fingerprint,
}

impl FindingKey {
    pub async fn find(&self, hub: &Hub) -> Result<FindingRow, Problem> {
        let found = hub.store.finding(self.cluster, &self.binding, self.fingerprint).await?;
        found.ok_or_else(|| Problem::not_found("finding"))
    }
}

/// The state of a finding, from its row and who is stale.
#[must_use]
pub fn state_of(row: &FindingRow, stale: bool) -> &'static str {
    match (row.closed_valid_at_ms, row.outcome) {
        (Some(_), _) => "closed",
        (None, Outcome::Fail | Outcome::Warn) if stale => "stale",
        (None, outcome) => outcome.as_str(),
    }
}

impl FindingJson {
    #[must_use]
    pub fn new(row: FindingRow, stale: &[ClusterId]) -> Self {
        let stale = stale.contains(&row.cluster);
        Self {
            state: state_of(&row, stale).to_owned(),
            cluster: row.cluster.to_string(),
            cluster_name: row.cluster_name,
            binding: row.binding.to_string(),
            fingerprint: row.fingerprint.to_string(),
            outcome: row.outcome.to_string(),
            stale,
            policy: row.policy.to_string(),
            code: row.policy_code,
            title: row.policy_title,
            category: row.category,
            severity: row.severity.to_string(),
            action: row.action.to_string(),
            subject: SubjectJson {
                kind_of_subject: row.subject_type,
                group: row.group,
                kind: row.kind,
                namespace: row.namespace,
                name: row.name,
            },
            path_text: path_text(&row.path),
            path: row.path,
            message: row.message,
            patch: row.patch.and_then(|text| serde_json::from_str(&text).ok()),
            line: row.line,
            attributes: serde_json::from_str(&row.attributes).unwrap_or_default(),
            template: row.template,
            first_seen: Stamp(row.first_valid_at_ms),
            opened: Stamp(row.opened_valid_at_ms),
            received: Stamp(row.received_at_ms),
            closed: row.closed_valid_at_ms.map(Stamp),
            close_reason: row.close_reason,
        }
    }
}

/// The path as people read it; one that is no JSON Pointer as it came.
#[must_use]
pub fn path_text(pointer: &str) -> String {
    Path::from_pointer(pointer).map_or_else(|_| pointer.to_owned(), |path| path.to_string())
}

impl From<CauseRow> for CauseJson {
    fn from(row: CauseRow) -> Self {
        Self {
            policy: row.policy.to_string(),
            code: row.policy_code,
            title: row.policy_title,
            template: row.template,
            namespace: row.namespace,
            namespaces: row.namespaces,
            owner: row.owner,
            severity: row.severity.to_string(),
            findings: row.findings,
            unenforced: row.unenforced,
            stale: row.stale,
            subjects: row.subjects,
            clusters: row.clusters,
            newest: Stamp(row.opened_valid_at_ms),
        }
    }
}

impl VerdictJson {
    fn new(row: VerdictRow, stale: &[ClusterId]) -> Self {
        Self {
            stale: stale.contains(&row.cluster),
            cluster: row.cluster.to_string(),
            cluster_name: row.cluster_name,
            subject: SubjectJson {
                kind_of_subject: row.subject_type,
                group: row.group,
                kind: row.kind,
                namespace: row.namespace,
                name: row.name,
            },
            policy: row.policy.to_string(),
            code: row.policy_code,
            title: row.policy_title,
            binding: row.binding.to_string(),
            outcome: row.outcome.to_string(),
            underlying: row.underlying.map(|outcome| outcome.to_string()),
            action: row.action.to_string(),
            severity: row.severity.to_string(),
            scored: row.scored,
            findings: row.findings_total,
            reason_code: row.code,
            message: row.message,
            since: Stamp(row.since_valid_at_ms),
            received: Stamp(row.received_at_ms),
        }
    }
}

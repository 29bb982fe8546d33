//! Clusters by API: the list, one with everything known of it, and the decisions of operators.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use provost_model::{ClusterId, InstanceId, Labels, Severity};
use provost_trust::Envelope;
use serde::{Deserialize, Serialize};

use super::cursor::Scope;
use super::hub::Hub;
use super::page::{Body, Page, Paging, PathOf, Query};
use super::ports::ApproveRequest;
use super::problem::Problem;
use super::view::{ClusterView, FleetView};
use crate::auth::Principal;
use crate::stamp::Stamp;
use crate::store::identity::Cluster;
use crate::tally::States;

/// A cluster with its numbers.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterJson {
    pub id: String,
    pub name: String,
    /// PENDING, APPROVED, REJECTED or REVOKED.
    pub status: String,
    pub labels: Labels,
    /// Heard within its time.
    pub fresh: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<Stamp>,
    pub enrolled: Stamp,
    pub agent_version: String,
    pub server_version: String,
    pub clock_offset_ms: i64,
    /// Digest of the active policy manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_version: Option<u64>,
    /// When the last complete snapshot ended; numbers before the first are partial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Stamp>,
    /// pass / (pass + fail), 0 to 1; null while away or where nothing is scored.
    pub score: Option<f64>,
    pub coverage: Option<f64>,
    pub states: States,
    /// Open findings by severity.
    pub open: BTreeMap<String, u64>,
}

/// Which clusters.
#[derive(Clone, Debug, Default, Serialize, Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ClusterQuery {
    /// Part of the name.
    pub name: Option<String>,
    /// `key=value`, several separated by commas; all must hold.
    pub label: Option<String>,
    /// pending, approved, rejected, revoked, fresh, stale.
    pub state: Option<String>,
}

/// An operator's decision to let a cluster in.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApproveBody {
    #[serde(default)]
    pub display_name: Option<String>,
    /// Missing: those of the enrolment token.
    #[serde(default)]
    pub labels: Option<Labels>,
    /// A grant signed by an operator (DSSE JSON), in place of the director's.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub grant: Option<Box<serde_json::value::RawValue>>,
}

#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DismissBody {
    /// Stands in the audit log.
    #[serde(default)]
    pub reason: String,
}

#[utoipa::path(get, path = "/api/v1/clusters", tag = "clusters", params(ClusterQuery, Paging),
    responses((status = 200, body = Page<ClusterJson>), (status = "default", body = Problem)))]
pub async fn clusters(
    State(hub): State<Hub>,
    Query(query): Query<ClusterQuery>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<ClusterJson>>, Problem> {
    let scope = Scope::new("clusters", &query);
    let limit = paging.limit()?;
    let after: Option<(String, ClusterId)> = paging.position(&scope)?;
    let fleet = FleetView::load(&hub).await?;
    let mut rows = query.select(&fleet)?;
    let total = u64::try_from(rows.len()).unwrap_or(u64::MAX);
    if let Some(after) = after {
        rows.retain(|row| row.position() > after);
    }
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1));
    let page = Page::cut(rows, limit, total, &scope, |c| c.position(), ClusterJson::from);
    Ok(Json(page))
}

#[utoipa::path(get, path = "/api/v1/clusters/{cluster}", tag = "clusters",
    params(("cluster" = String, Path)),
    responses((status = 200, body = super::cluster_detail::ClusterDetail), (status = "default", body = Problem)))]
pub async fn cluster(
    State(hub): State<Hub>,
    PathOf(id): PathOf<ClusterId>,
) -> Result<Json<super::cluster_detail::ClusterDetail>, Problem> {
    super::cluster_detail::load(&hub, id).await.map(Json)
}

#[utoipa::path(post, path = "/api/v1/clusters/{cluster}/approve", tag = "clusters",
    params(("cluster" = String, Path)), request_body = ApproveBody,
    responses((status = 200, body = ClusterJson), (status = "default", body = Problem)))]
pub async fn approve(
    State(hub): State<Hub>,
    principal: Principal,
    PathOf(cluster): PathOf<ClusterId>,
    Body(body): Body<ApproveBody>,
) -> Result<Json<ClusterJson>, Problem> {
    let read = |text: &serde_json::value::RawValue| {
        Envelope::from_json(text.get().as_bytes())
            .map_err(|error| Problem::new(error.code(), format!("grant: {error}")))
    };
    let grant = body.grant.as_deref().map(read).transpose()?;
    let request = ApproveRequest {
        cluster,
        display_name: body.display_name.filter(|name| !name.is_empty()),
        labels: body.labels,
        grant,
    };
    let cluster = hub.operate.approve(request, &principal.actor()).await?;
    one(&hub, cluster).await
}

#[utoipa::path(post, path = "/api/v1/clusters/{cluster}/revoke", tag = "clusters",
    params(("cluster" = String, Path)), request_body = DismissBody,
    responses((status = 200, body = ClusterJson), (status = "default", body = Problem)))]
pub async fn revoke(
    State(hub): State<Hub>,
    principal: Principal,
    PathOf(cluster): PathOf<ClusterId>,
    Body(body): Body<DismissBody>,
) -> Result<Json<ClusterJson>, Problem> {
    let cluster = hub.operate.dismiss(cluster, &body.reason, &principal.actor()).await?;
    one(&hub, cluster).await
}

#[utoipa::path(post, path = "/api/v1/clusters/{cluster}/instances/{instance}/release",
    tag = "clusters", params(("cluster" = String, Path), ("instance" = String, Path)),
    responses((status = 204), (status = "default", body = Problem)))]
pub async fn release(
    State(hub): State<Hub>,
    principal: Principal,
    PathOf((cluster, instance)): PathOf<(ClusterId, InstanceId)>,
) -> Result<axum::http::StatusCode, Problem> {
    hub.operate.release(cluster, instance, &principal.actor()).await?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}

async fn one(hub: &Hub, cluster: Cluster) -> Result<Json<ClusterJson>, Problem> {
    let view = ClusterView::load(hub, cluster).await?;
    Ok(Json(ClusterJson::from(&view)))
}

impl ClusterQuery {
    /// In order of name and id.
    pub fn select<'a>(&self, fleet: &'a FleetView) -> Result<Vec<&'a ClusterView>, Problem> {
        let labels = self.labels()?;
        let state = self.state.as_deref().map(str::trim).filter(|s| !s.is_empty());
        let known = ["pending", "approved", "rejected", "revoked", "fresh", "stale"];
        if let Some(state) = state.filter(|state| !known.contains(state)) {
            let known = known.join(", ");
            return Err(Problem::invalid(format!(
                "state: unknown word {state:?}: expected one of {known}"
            )));
        }
        let name = self.name.as_deref().unwrap_or_default().trim().to_lowercase();
        let wanted = |view: &&ClusterView| {
            let cluster = &view.cluster;
            (name.is_empty() || cluster.display_name.to_lowercase().contains(&name))
                && labels.iter().all(|(key, value)| {
                    cluster.labels.get(*key).map(String::as_str) == Some(*value)
                })
                && state.is_none_or(|state| view.is_in(state))
        };
        Ok(fleet.clusters.iter().filter(wanted).collect())
    }

    fn labels(&self) -> Result<Vec<(&str, &str)>, Problem> {
        let text = self.label.as_deref().unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                pair.split_once('=').ok_or_else(|| {
                    Problem::invalid(format!("label: {pair:?} is not of the form key=value"))
                })
            })
            .collect()
    }
}

impl From<&ClusterView> for ClusterJson {
    fn from(view: &ClusterView) -> Self {
        let cluster = &view.cluster;
        Self {
            id: cluster.id.to_string(),
            name: cluster.display_name.clone(),
            status: cluster.status.as_str().to_owned(),
            labels: cluster.labels.clone(),
            fresh: view.fresh,
            last_heard: cluster.last_heard_at_ms.map(Stamp),
            enrolled: Stamp(cluster.enrolled_at_ms),
            agent_version: cluster.agent_version.clone(),
            server_version: cluster.server_version.clone(),
            clock_offset_ms: cluster.clock_offset_ms,
            bundle: cluster.active_manifest.map(|digest| digest.to_string()),
            bundle_version: cluster.active_version,
            snapshot: cluster.snapshot_at_ms.map(Stamp),
            score: view.tally.score(),
            coverage: view.tally.coverage(),
            states: view.tally.states,
            open: Severity::ALL
                .iter()
                .map(|severity| (severity.to_string(), view.open_of(*severity)))
                .collect(),
        }
    }
}

//! The fleet in numbers: what `provost fleet status` and the first page say.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::cluster_detail::{GapJson, NotEvaluatedJson, not_evaluated};
use super::cursor::Scope;
use super::findings::CauseJson;
use super::hub::Hub;
use super::page::{Page, Paging, Query};
use super::ports::HubFacts;
use super::problem::Problem;
use super::view::FleetView;
use crate::stamp::Stamp;
use crate::store::findings::FindingFilter;
use crate::store::identity::ClusterStatus;
use crate::tally::States;

/// Of this answer's shape.
const VERSION: u32 = 1;
const WORST_CAUSES: u32 = 10;

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FleetJson {
    pub version: u32,
    pub as_of: Stamp,
    pub clusters: ClusterCounts,
    pub states: States,
    /// pass / (pass + fail), 0 to 1, over clusters that are heard; null where nothing is scored.
    pub score: Option<f64>,
    /// Evaluated of expected.
    pub coverage: Option<f64>,
    /// Share of approved clusters heard within their time.
    pub freshness: Option<f64>,
    /// fail and warn, also in clusters that are away.
    pub open_findings: u64,
    pub causes: u64,
    /// Undeclared gaps that nothing has resolved.
    pub undeclared_gaps: u64,
    /// Clusters that are away or quarantined, longest unheard first.
    pub away: Vec<AwayJson>,
    /// Clusters that are heard and cannot read, evaluate or record everything.
    pub impaired: Vec<ImpairedJson>,
    /// The ten worst causes.
    pub worst: Vec<CauseJson>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCounts {
    pub approved: u64,
    pub fresh: u64,
    pub stale: u64,
    /// Approved and heard, but no complete snapshot has come yet: nothing is known of them.
    pub without_snapshot: u64,
    /// Heard, and their agents cannot read, evaluate or record everything: what is green may not be all.
    pub impaired: u64,
    pub pending: u64,
    pub rejected: u64,
    pub revoked: u64,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AwayJson {
    pub id: String,
    pub name: String,
    /// It talks, and nothing it says is taken until an operator releases it.
    pub quarantined: bool,
    /// Missing: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<i64>,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImpairedJson {
    pub id: String,
    pub name: String,
    /// `watch`, `evaluate` or `spool`.
    pub capability: String,
    /// As the agent says it.
    pub detail: String,
}

#[utoipa::path(get, path = "/api/v1/fleet", tag = "fleet",
    responses((status = 200, body = FleetJson), (status = "default", body = Problem)))]
pub async fn fleet(State(hub): State<Hub>) -> Result<Json<FleetJson>, Problem> {
    load(&hub).await.map(|(json, _)| Json(json))
}

#[utoipa::path(get, path = "/api/v1/hub", tag = "fleet",
    responses((status = 200, body = HubFacts), (status = "default", body = Problem)))]
pub async fn facts(State(hub): State<Hub>) -> Json<HubFacts> {
    Json(hub.operate.facts())
}

#[utoipa::path(get, path = "/api/v1/gaps", tag = "fleet",
    params(Paging),
    responses((status = 200, body = Page<GapJson>), (status = "default", body = Problem)))]
pub async fn gaps(
    State(hub): State<Hub>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<GapJson>>, Problem> {
    let scope = Scope::new("gaps", &());
    let (limit, before) = (paging.limit()?, paging.position(&scope)?);
    let counts = hub.store.count_gaps().await?;
    let rows = hub.store.all_gaps(before, limit + 1).await?;
    let total = counts.declared + counts.undeclared;
    let show = |(_, row)| GapJson::from(row);
    Ok(Json(Page::cut(rows, limit, total, &scope, |(id, _)| *id, show)))
}

/// Which cluster.
#[derive(Clone, Debug, Default, Serialize, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfCluster {
    /// Its id. Default: every approved cluster that is heard.
    pub cluster: Option<String>,
}

impl OfCluster {
    pub fn id(&self) -> Result<Option<provost_model::ClusterId>, Problem> {
        let id = self.cluster.as_deref().filter(|text| !text.is_empty()).map(str::parse);
        id.transpose().map_err(|_| Problem::invalid("cluster: that is not the id of a cluster"))
    }
}

#[utoipa::path(get, path = "/api/v1/not-evaluated", tag = "findings",
    params(OfCluster, Paging),
    responses((status = 200, body = Page<NotEvaluatedJson>), (status = "default", body = Problem)))]
pub async fn without_verdict(
    State(hub): State<Hub>,
    Query(of): Query<OfCluster>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<NotEvaluatedJson>>, Problem> {
    let rows = not_evaluated(&hub, of.id()?).await?;
    let key = |row: &NotEvaluatedJson| {
        let NotEvaluatedJson { cluster, policy, binding, group, kind, .. } = row;
        [cluster, policy, binding, group, kind].map(Clone::clone)
    };
    Page::of_whole(rows, &paging, &Scope::new("not-evaluated", &of), key, |row| row).map(Json)
}

/// The numbers, and the clusters they were made from.
pub async fn load(hub: &Hub) -> Result<(FleetJson, FleetView), Problem> {
    let view = FleetView::load(hub).await?;
    let stale = view.stale_ids();
    let open = FindingFilter::default();
    let (worst, causes) = hub.store.causes(&open, &stale, WORST_CAUSES).await?;
    let gaps = hub.store.count_gaps().await?;
    let tally = view.tally();
    let json = FleetJson {
        version: VERSION,
        as_of: view.now,
        clusters: counts(&view),
        states: tally.states,
        score: tally.score(),
        coverage: tally.coverage(),
        freshness: view.freshness(),
        open_findings: view.open_findings(),
        causes,
        undeclared_gaps: gaps.open,
        away: away(&view),
        impaired: impaired(&view),
        worst: worst.into_iter().map(CauseJson::from).collect(),
    };
    Ok((json, view))
}

fn counts(view: &FleetView) -> ClusterCounts {
    let with = |status| view.count(|v| v.cluster.status == status);
    let approved = with(ClusterStatus::Approved);
    let fresh = view.count(|v| v.fresh);
    ClusterCounts {
        approved,
        fresh,
        stale: approved - fresh,
        without_snapshot: view.count(|v| v.fresh && v.cluster.snapshot_at_ms.is_none()),
        impaired: view.count(|v| !v.impaired.is_empty()),
        pending: with(ClusterStatus::Pending),
        rejected: with(ClusterStatus::Rejected),
        revoked: with(ClusterStatus::Revoked),
    }
}

fn impaired(view: &FleetView) -> Vec<ImpairedJson> {
    let parts = view.approved().flat_map(|v| v.impaired.iter().map(move |part| (v, part)));
    parts
        .map(|(v, part)| ImpairedJson {
            id: v.cluster.id.to_string(),
            name: v.cluster.display_name.clone(),
            capability: part.capability.clone(),
            detail: part.detail.clone(),
        })
        .collect()
}

fn away(view: &FleetView) -> Vec<AwayJson> {
    let mut away: Vec<_> = view.approved().filter(|v| !v.fresh).collect();
    away.sort_by_key(|v| v.cluster.last_heard_at_ms.unwrap_or(i64::MIN));
    away.into_iter()
        .map(|v| AwayJson {
            id: v.cluster.id.to_string(),
            name: v.cluster.display_name.clone(),
            quarantined: v.cluster.quarantined,
            last_heard: v.cluster.last_heard_at_ms.map(Stamp),
            age_ms: v.cluster.last_heard_at_ms.map(|at| view.now.0.saturating_sub(at)),
        })
        .collect()
}

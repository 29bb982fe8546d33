//! What an auditor takes away: batches, heartbeats, grants, roots and manifests byte for byte; and the audit log.
//!
//! `provost fleet export` writes them to a folder, `provost verify-reports` checks that folder
//! without a hub.

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use provost_model::{ClusterId, InstanceId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::cursor::Scope;
use super::hub::Hub;
use super::page::{Paging, PathOf, Query};
use super::problem::Problem;
use crate::stamp::Stamp;

/// An accepted batch.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchJson {
    pub cluster: String,
    pub instance: String,
    pub epoch: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    pub received: Stamp,
    /// `provost.v1.Envelope`, encoded, in base64: the bytes that the agent sent.
    pub envelope: String,
}

/// Batches of one cluster in chain order.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct BatchPage {
    pub items: Vec<BatchJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The newest heartbeat of an instance.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatJson {
    pub cluster: String,
    pub instance: String,
    pub epoch: u64,
    /// End of the agent's chain, whether sent or not.
    pub last_seq: u64,
    pub received: Stamp,
    /// `provost.v1.Envelope`, encoded, in base64: the bytes that the agent sent.
    pub envelope: String,
}

/// A signed object as DSSE JSON, and whose it is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SignedJson {
    /// Cluster id, root version, or manifest digest.
    pub name: String,
    #[schema(value_type = Object)]
    pub envelope: Box<RawValue>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditJson {
    pub id: i64,
    pub at: Stamp,
    pub actor: String,
    pub action: String,
    pub target: String,
    /// `ok`, or the code of the refusal.
    pub result: String,
    pub detail: String,
}

/// Newest first.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AuditPage {
    pub items: Vec<AuditJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct BatchPosition(InstanceId, u64, u64);

#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/batches", tag = "evidence",
    params(("cluster" = String, Path), Paging),
    responses((status = 200, body = BatchPage), (status = "default", body = Problem)))]
pub async fn batches(
    State(hub): State<Hub>,
    PathOf(cluster): PathOf<ClusterId>,
    Query(paging): Query<Paging>,
) -> Result<Json<BatchPage>, Problem> {
    let scope = Scope::new("batches", &cluster);
    let limit = paging.limit()?;
    let after: Option<BatchPosition> = paging.position(&scope)?;
    let after = after.map(|BatchPosition(instance, epoch, seq)| (instance, epoch, seq));
    let mut rows = hub.store.batches(cluster, after, limit + 1).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|row| scope.encode(&BatchPosition(row.instance, row.epoch, row.last_seq)));
    let items = rows
        .into_iter()
        .map(|row| BatchJson {
            cluster: row.cluster.to_string(),
            instance: row.instance.to_string(),
            epoch: row.epoch,
            first_seq: row.first_seq,
            last_seq: row.last_seq,
            received: Stamp(row.received_at_ms),
            envelope: STANDARD.encode(&row.envelope),
        })
        .collect();
    Ok(Json(BatchPage { items, next }))
}

/// One for each instance that was heard; take them before the batches, so that what they name as
/// acknowledged is among those.
#[utoipa::path(get, path = "/api/v1/clusters/{cluster}/heartbeats", tag = "evidence",
    params(("cluster" = String, Path)),
    responses((status = 200, body = Vec<HeartbeatJson>), (status = "default", body = Problem)))]
pub async fn heartbeats(
    State(hub): State<Hub>,
    PathOf(cluster): PathOf<ClusterId>,
) -> Result<Json<Vec<HeartbeatJson>>, Problem> {
    let mut heartbeats = Vec::new();
    for instance in hub.store.instances(cluster).await? {
        let Some(row) = hub.store.heartbeat_of(cluster, instance.id).await? else { continue };
        heartbeats.push(HeartbeatJson {
            cluster: row.cluster.to_string(),
            instance: row.instance.to_string(),
            epoch: row.epoch,
            last_seq: row.last_seq,
            received: Stamp(row.received_at_ms),
            envelope: STANDARD.encode(&row.envelope),
        });
    }
    Ok(Json(heartbeats))
}

#[utoipa::path(get, path = "/api/v1/grants", tag = "evidence",
    responses((status = 200, body = Vec<SignedJson>), (status = "default", body = Problem)))]
pub async fn grants(State(hub): State<Hub>) -> Result<Json<Vec<SignedJson>>, Problem> {
    let clusters = hub.store.clusters().await?;
    let granted = clusters.into_iter().filter_map(|c| Some((c.id.to_string(), c.grant?)));
    granted.map(|(name, text)| signed(name, &text)).collect::<Result<_, _>>().map(Json)
}

#[utoipa::path(get, path = "/api/v1/roots", tag = "evidence",
    responses((status = 200, body = Vec<SignedJson>), (status = "default", body = Problem)))]
pub async fn roots(State(hub): State<Hub>) -> Result<Json<Vec<SignedJson>>, Problem> {
    let roots = hub.store.roots_after(0).await?;
    let roots = roots.into_iter().map(|root| signed(root.version.to_string(), &root.envelope));
    roots.collect::<Result<_, _>>().map(Json)
}

#[utoipa::path(get, path = "/api/v1/manifests", tag = "evidence",
    responses((status = 200, body = Vec<SignedJson>), (status = "default", body = Problem)))]
pub async fn manifests(State(hub): State<Hub>) -> Result<Json<Vec<SignedJson>>, Problem> {
    let bundles = hub.store.bundles().await?;
    let bundles = bundles.into_iter().map(|b| signed(b.manifest.to_string(), &b.envelope));
    bundles.collect::<Result<_, _>>().map(Json)
}

#[utoipa::path(get, path = "/api/v1/audit", tag = "evidence", params(Paging),
    responses((status = 200, body = AuditPage), (status = "default", body = Problem)))]
pub async fn audit(
    State(hub): State<Hub>,
    Query(paging): Query<Paging>,
) -> Result<Json<AuditPage>, Problem> {
    audit_page(&hub, &paging).await.map(Json)
}

pub async fn audit_page(hub: &Hub, paging: &Paging) -> Result<AuditPage, Problem> {
    let scope = Scope::new("audit", &());
    let limit = paging.limit()?;
    let before: Option<i64> = paging.position(&scope)?;
    let mut rows = hub.store.audit_log(before, limit + 1).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(id, _)| scope.encode(id));
    let items = rows
        .into_iter()
        .map(|(id, entry)| AuditJson {
            id,
            at: Stamp(entry.at_ms),
            actor: entry.actor.0,
            action: entry.action,
            target: entry.target,
            result: entry.result,
            detail: entry.detail,
        })
        .collect();
    Ok(AuditPage { items, next })
}

fn signed(name: String, text: &str) -> Result<SignedJson, Problem> {
    let envelope = RawValue::from_string(text.trim_end().to_owned())
        .map_err(|error| Problem::internal(&error))?;
    Ok(SignedJson { name, envelope })
}

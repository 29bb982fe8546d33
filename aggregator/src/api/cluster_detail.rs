//! Everything known of one cluster.

use provost_model::ClusterId;
use serde::Serialize;

use super::clusters::ClusterJson;
use super::hub::Hub;
use super::problem::Problem;
use super::view::ClusterView;
use crate::stamp::Stamp;
use crate::store::reports::{AlarmRow, CapabilityHealth, GapRow, HeartbeatRow};
use crate::store::rollups::NotEvaluatedRow;
use crate::tally::{States, by_namespace};

const MAX_EVENTS: u32 = 50;

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDetail {
    pub cluster: ClusterJson,
    pub trust: TrustJson,
    /// Parts of its agent without which not everything is read, evaluated or recorded; of one that is heard.
    pub impaired: Vec<HealthJson>,
    pub instances: Vec<InstanceJson>,
    /// One row a namespace, one cell a category; the empty namespace is cluster-scoped.
    pub namespaces: Vec<NamespaceJson>,
    pub not_evaluated: Vec<NotEvaluatedJson>,
    pub gaps: Vec<GapJson>,
    pub alarms: Vec<AlarmJson>,
    pub events: Vec<EventJson>,
}

/// By whose word the cluster is who it is.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrustJson {
    pub cluster_uid: String,
    /// Raw Ed25519 public key, lower-case hex.
    pub identity_key: String,
    pub grant_version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_set: Option<String>,
    /// The newest of its certificates that is not revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_until: Option<Stamp>,
}

/// One agent's data folder.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceJson {
    pub id: String,
    /// Raw Ed25519 public key, lower-case hex: what a grant names.
    pub report_key: String,
    /// Its verdicts are the cluster's.
    pub auditing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<Stamp>,
    /// Set while its batches are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<HeartbeatJson>,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatJson {
    pub received: Stamp,
    pub epoch: u64,
    pub last_seq: u64,
    pub spool_records: u64,
    pub spool_bytes: u64,
    pub spool_oldest_age_ms: u64,
    pub health: Vec<HealthJson>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct HealthJson {
    pub capability: String,
    pub healthy: bool,
    pub detail: String,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceJson {
    pub namespace: String,
    pub cells: Vec<CellJson>,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CellJson {
    pub category: String,
    pub states: States,
    pub score: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotEvaluatedJson {
    pub cluster: String,
    pub policy: String,
    pub binding: String,
    /// Group and kind empty: every kind.
    pub group: String,
    pub kind: String,
    pub reason: String,
    pub detail: String,
}

/// A run of records that is gone.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GapJson {
    pub cluster: String,
    pub instance: String,
    pub epoch: u64,
    pub from_seq: u64,
    pub to_seq: u64,
    /// Signed by the agent; an undeclared gap is an alarm.
    pub declared: bool,
    pub reason: String,
    /// What was lost, by class, outcome and severity.
    #[schema(value_type = Object)]
    pub counts: serde_json::Value,
    pub detected: Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Stamp>,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlarmJson {
    pub instance: String,
    pub code: String,
    pub detail: String,
    pub times: u64,
    pub raised: Stamp,
    pub last: Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Stamp>,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventJson {
    pub kind: String,
    pub event: String,
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    pub valid: Stamp,
}

/// What a policy without a known category counts under.
pub const NO_CATEGORY: &str = "other";

pub async fn load(hub: &Hub, id: ClusterId) -> Result<ClusterDetail, Problem> {
    let found = hub.store.cluster(id).await?;
    let cluster = found.ok_or_else(|| Problem::not_found("cluster"))?;
    let view = ClusterView::load(hub, cluster).await?;
    let events = hub.store.events(id, MAX_EVENTS).await?.into_iter().map(|event| EventJson {
        kind: event.kind,
        event: event.event,
        detail: serde_json::from_str(&event.detail).unwrap_or_default(),
        valid: Stamp(event.valid_at_ms),
    });
    Ok(ClusterDetail {
        trust: trust(hub, &view).await?,
        instances: instances(hub, &view).await?,
        namespaces: namespaces(hub, &view).await?,
        not_evaluated: not_evaluated(hub, Some(id)).await?,
        gaps: hub.store.gaps(id).await?.into_iter().map(GapJson::from).collect(),
        alarms: hub.store.alarms(Some(id)).await?.into_iter().map(AlarmJson::from).collect(),
        events: events.collect(),
        impaired: view.impaired.iter().cloned().map(HealthJson::from).collect(),
        cluster: ClusterJson::from(&view),
    })
}

async fn trust(hub: &Hub, view: &ClusterView) -> Result<TrustJson, Problem> {
    let cluster = &view.cluster;
    let certificates = hub.store.certificates(cluster.id).await?;
    let live = certificates.iter().filter(|c| c.revoked_at_ms.is_none());
    Ok(TrustJson {
        cluster_uid: cluster.cluster_uid.clone(),
        identity_key: hex::encode(cluster.identity_key),
        grant_version: cluster.grant_version,
        decided: cluster.decided_at_ms.map(Stamp),
        decided_by: cluster.decided_by.clone(),
        policy_set: cluster.policy_set.map(|digest| digest.to_string()),
        certificate_until: live.map(|c| Stamp(c.not_after_ms)).max(),
    })
}

async fn instances(hub: &Hub, view: &ClusterView) -> Result<Vec<InstanceJson>, Problem> {
    let mut instances = Vec::new();
    for instance in hub.store.instances(view.cluster.id).await? {
        let heartbeat = hub.store.heartbeat_of(view.cluster.id, instance.id).await?;
        instances.push(InstanceJson {
            id: instance.id.to_string(),
            report_key: hex::encode(instance.report_key),
            auditing: view.cluster.auditing_instance == Some(instance.id),
            last_heard: instance.last_heard_at_ms.map(Stamp),
            quarantine: instance.quarantine,
            heartbeat: heartbeat.map(HeartbeatJson::from),
        });
    }
    Ok(instances)
}

async fn namespaces(hub: &Hub, view: &ClusterView) -> Result<Vec<NamespaceJson>, Problem> {
    let policies = hub.store.policies().await?;
    let counts = hub.store.namespace_counts(Some(view.cluster.id)).await?;
    let category = |count: &crate::store::rollups::NamespaceCount| {
        let known = policies.get(&count.policy).map(|policy| policy.category.as_str());
        known.filter(|text| !text.is_empty()).unwrap_or(NO_CATEGORY).to_owned()
    };
    let rows = by_namespace(&counts, view.fresh, category);
    Ok(rows
        .into_iter()
        .map(|(namespace, cells)| NamespaceJson {
            namespace,
            cells: cells
                .into_iter()
                .map(|(category, tally)| CellJson {
                    category,
                    states: tally.states,
                    score: tally.score(),
                })
                .collect(),
        })
        .collect())
}

/// Of one cluster, or of every approved one that is heard.
pub async fn not_evaluated(
    hub: &Hub,
    cluster: Option<ClusterId>,
) -> Result<Vec<NotEvaluatedJson>, Problem> {
    let mut rows = hub.store.not_evaluated(cluster).await?;
    if cluster.is_none() {
        let (approved, stale) = hub.approved().await?;
        rows.retain(|row| {
            approved.iter().any(|c| c.id == row.cluster) && !stale.contains(&row.cluster)
        });
    }
    let mut rows: Vec<_> = rows.into_iter().map(NotEvaluatedJson::from).collect();
    rows.sort();
    Ok(rows)
}

impl From<NotEvaluatedRow> for NotEvaluatedJson {
    fn from(row: NotEvaluatedRow) -> Self {
        Self {
            cluster: row.cluster.to_string(),
            policy: row.policy.to_string(),
            binding: row.binding.to_string(),
            group: row.group,
            kind: row.kind,
            reason: row.reason.to_string(),
            detail: row.detail,
        }
    }
}

impl From<CapabilityHealth> for HealthJson {
    fn from(part: CapabilityHealth) -> Self {
        Self { capability: part.capability, healthy: part.healthy, detail: part.detail }
    }
}

impl From<HeartbeatRow> for HeartbeatJson {
    fn from(row: HeartbeatRow) -> Self {
        Self {
            received: Stamp(row.received_at_ms),
            epoch: row.epoch,
            last_seq: row.last_seq,
            spool_records: row.spool_records,
            spool_bytes: row.spool_bytes,
            spool_oldest_age_ms: row.spool_oldest_age_ms,
            health: row.health.unwrap_or_default().into_iter().map(HealthJson::from).collect(),
        }
    }
}

impl From<GapRow> for GapJson {
    fn from(row: GapRow) -> Self {
        Self {
            cluster: row.cluster.to_string(),
            instance: row.instance.to_string(),
            epoch: row.epoch,
            from_seq: row.from_seq,
            to_seq: row.to_seq,
            declared: row.declared,
            reason: row.reason,
            counts: serde_json::from_str(&row.counts).unwrap_or_default(),
            detected: Stamp(row.detected_at_ms),
            resolved: row.resolved_at_ms.map(Stamp),
        }
    }
}

impl From<AlarmRow> for AlarmJson {
    fn from(row: AlarmRow) -> Self {
        Self {
            instance: row.instance.to_string(),
            code: row.code,
            detail: row.detail,
            times: row.times,
            raised: Stamp(row.raised_at_ms),
            last: Stamp(row.last_at_ms),
            resolved: row.resolved_at_ms.map(Stamp),
        }
    }
}

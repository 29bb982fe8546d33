//! What operators decide about clusters: to let one in, to turn it away, to end an instance's quarantine.
//!
//! Invariant: every decision has its audit row.

use std::sync::Arc;

use provost_model::{ClusterId, Code, InstanceId, Labels};
use provost_trust::grant::Grant;
use provost_trust::{Envelope, Timestamp};

use super::grant::{
    check_replaceable, director_grant, granted_instances, is_directors, operator_grant,
};
use crate::bundles::roots;
use crate::hub::Hub;
use crate::refusal::{Refusal, Result};
use crate::store::Actor;
use crate::store::identity::{Approval, Cluster, ClusterStatus};

/// Instances of one cluster that come at the same time each make a grant of their own; every round lets one through.
const GRANT_ATTEMPTS: u32 = 32;

#[derive(Clone, Debug, Default)]
pub struct ApprovalRequest {
    pub display_name: Option<String>,
    /// None: those of the token, or of the last approval.
    pub labels: Option<Labels>,
    /// A grant that an operator signed, in place of one by the director.
    pub grant: Option<Envelope>,
}

/// Lets a cluster in, or gives it other labels. Under an expired root agents take no new labels: neither do we.
pub async fn approve(
    hub: &Arc<Hub>,
    id: ClusterId,
    request: ApprovalRequest,
    actor: &Actor,
) -> Result<Cluster> {
    let unknown = || Refusal::new(Code::NotFound, format!("cluster {id} does not exist"));
    let cluster = hub.store.cluster(id).await?.ok_or_else(unknown)?;
    let ApprovalRequest { display_name, labels, grant } = request;
    let (grant, version, labels) = match grant {
        Some(envelope) => operator_grant(hub, &cluster, &envelope).await?,
        None => {
            check_replaceable(hub, &cluster)?;
            let relabels = labels.as_ref().is_some_and(|labels| *labels != cluster.labels);
            if relabels
                && cluster.status == ClusterStatus::Approved
                && let Some(root) = roots::newest(hub).await?
            {
                root.check_expiry(Timestamp::from_unix_ms(hub.clock.wall_ms()))?;
            }
            director_grant(hub, &cluster, labels.unwrap_or_else(|| cluster.labels.clone())).await?
        }
    };
    let approval = Approval { cluster: id, display_name, labels, grant, grant_version: version };
    let cluster = hub.store.approve(&approval, actor, hub.clock.wall_ms()).await?;
    hub.published.send_modify(|generation| *generation += 1);
    Ok(cluster)
}

/// Turns a PENDING cluster down, or throws an enrolled one out: its sessions end within 5 s.
pub async fn dismiss(
    hub: &Arc<Hub>,
    id: ClusterId,
    reason: &str,
    actor: &Actor,
) -> Result<Cluster> {
    let cluster = hub.store.dismiss(id, reason, actor, hub.clock.wall_ms()).await?;
    hub.sessions.end_cluster(id);
    Ok(cluster)
}

/// Ends an instance's quarantine. It goes on in a new epoch.
pub async fn release(
    hub: &Arc<Hub>,
    id: ClusterId,
    instance: InstanceId,
    actor: &Actor,
) -> Result<()> {
    hub.store.release(id, instance, actor, hub.clock.wall_ms()).await?;
    hub.sessions.end_cluster(id);
    Ok(())
}

/// Brings the director's grant up to the instances that exist now. Others may do so at the same time: whoever comes
/// second looks again.
pub(super) async fn grant_instances(hub: &Arc<Hub>, mut cluster: Cluster) -> Result<Cluster> {
    let mut attempts = GRANT_ATTEMPTS;
    loop {
        let approved = cluster.status == ClusterStatus::Approved;
        let Some(json) = cluster.grant.as_ref().filter(|_| approved) else { return Ok(cluster) };
        let envelope = Envelope::from_json(json.as_bytes())?;
        let granted = Grant::parse(&envelope.payload)?.instances;
        if granted == granted_instances(hub, cluster.id).await? || !is_directors(hub, &envelope) {
            return Ok(cluster);
        }
        attempts -= 1;
        match approve(hub, cluster.id, ApprovalRequest::default(), &Actor::hub()).await {
            Err(refusal) if refusal.code == Code::Conflict && attempts > 0 => {
                let unknown =
                    || Refusal::new(Code::NotFound, format!("cluster {} is gone", cluster.id));
                cluster = hub.store.cluster(cluster.id).await?.ok_or_else(unknown)?;
            }
            other => return other,
        }
    }
}

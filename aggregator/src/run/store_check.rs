//! Readiness follows the database, and so does the count of clusters.

use std::sync::Arc;
use std::time::Duration;

use provost_runtime::admin::Health;
use provost_runtime::shutdown::Shutdown;

use crate::hub::Hub;
use crate::metrics::Clusters;
use crate::store::identity::{Cluster, ClusterStatus};

const EVERY: Duration = Duration::from_secs(10);

/// Ready while the database answers.
pub async fn watch(hub: Arc<Hub>, health: Health, shutdown: Shutdown) {
    loop {
        match hub.store.clusters().await {
            Ok(clusters) => {
                health.set("store", true, "");
                count(&hub, &clusters);
            }
            Err(error) => health.set("store", false, error.to_string()),
        }
        if shutdown.or(tokio::time::sleep(EVERY)).await.is_none() {
            break;
        }
    }
}

fn count(hub: &Hub, clusters: &[Cluster]) {
    let Clusters { fresh, stale, pending, rejected, revoked } = &hub.metrics.clusters;
    let of = |status| clusters.iter().filter(move |cluster| cluster.status == status);
    let size = |status| of(status).count() as u64;
    let approved = of(ClusterStatus::Approved);
    let heard = approved.filter(|cluster| hub.liveness.is_fresh(cluster.id)).count() as u64;
    fresh.set_size(heard);
    stale.set_size(size(ClusterStatus::Approved) - heard);
    pending.set_size(size(ClusterStatus::Pending));
    rejected.set_size(size(ClusterStatus::Rejected));
    revoked.set_size(size(ClusterStatus::Revoked));
}

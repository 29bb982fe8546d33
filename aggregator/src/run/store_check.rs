//! Readiness follows the database, and so does the count of clusters; and a clock that is behind is said.

use std::sync::Arc;
use std::time::Duration;

use provost_runtime::admin::Health;
use provost_runtime::shutdown::Shutdown;

use crate::hub::Hub;
use crate::metrics::Clusters;
use crate::store::Result;
use crate::store::identity::{Cluster, ClusterStatus};

const EVERY: Duration = Duration::from_secs(10);

/// What was signed may be dated ahead by so much.
const CLOCK_TOLERANCE_MS: u64 = 5 * 60 * 1000;

/// Ready while the database answers and can be written.
pub async fn watch(hub: Arc<Hub>, health: Health, shutdown: Shutdown) {
    let (mut is_behind, mut was_well) = (false, true);
    loop {
        is_behind = tell_clock(&hub, &health, is_behind);
        let clusters = hub.store.clusters().await;
        if let Ok(clusters) = &clusters {
            count(&hub, clusters);
        }
        let checked = clusters.map(drop).and(hub.store.check_write().await);
        was_well = tell_store(&health, checked, was_well);
        if shutdown.or(tokio::time::sleep(EVERY)).await.is_none() {
            break;
        }
    }
}

/// True: it answers, and takes what is written.
fn tell_store(health: &Health, checked: Result<()>, was_well: bool) -> bool {
    let error = checked.err().map(|error| format!("{:#}", anyhow::Error::from(error)));
    if let Some(error) = error.as_ref().filter(|_| was_well) {
        tracing::error!(error, "the database cannot be used: nothing is acknowledged");
    }
    health.set("store", error.is_none(), error.clone().unwrap_or_default());
    error.is_none()
}

/// No reason not to be ready: time goes on from the newest date that was signed. True: the clock is behind it.
fn tell_clock(hub: &Hub, health: &Health, was_behind: bool) -> bool {
    let behind_ms = hub.floor.behind_ms();
    let is_behind = behind_ms > CLOCK_TOLERANCE_MS;
    let minutes = behind_ms / 60_000;
    let detail = format!(
        "this machine's clock is {minutes} min behind what has been signed: set it right; until then time goes on from there"
    );
    if is_behind && !was_behind {
        tracing::error!(minutes, "{detail}");
    }
    health.set_optional("clock", !is_behind, if is_behind { detail } else { String::new() });
    is_behind
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

//! What every handler holds: store, clock, who is heard, and what operators may do.

use std::sync::Arc;

use provost_model::ClusterId;
use provost_runtime::clock::SharedClock;

use super::ports::{Liveness, Operate};
use super::problem::Problem;
use crate::auth::cookie::Transport;
use crate::stamp::Stamp;
use crate::store::identity::{Cluster, ClusterStatus};
use crate::store::{self, Store};

/// Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    pub store: Arc<dyn Store>,
    pub clock: SharedClock,
    pub liveness: Arc<dyn Liveness>,
    pub operate: Arc<dyn Operate>,
    /// Of the listener that serves this router.
    pub transport: Transport,
}

impl Hub {
    #[must_use]
    pub fn now(&self) -> Stamp {
        Stamp(self.clock.wall_ms())
    }

    /// Approved clusters, and which of them are stale.
    pub async fn approved(&self) -> Result<(Vec<Cluster>, Vec<ClusterId>), store::Error> {
        let mut clusters = self.store.clusters().await?;
        clusters.retain(|cluster| cluster.status == ClusterStatus::Approved);
        let stale = self.stale_among(&clusters);
        Ok((clusters, stale))
    }

    #[must_use]
    pub fn stale_among(&self, clusters: &[Cluster]) -> Vec<ClusterId> {
        clusters.iter().filter(|cluster| !self.is_fresh(cluster)).map(|c| c.id).collect()
    }

    /// Approved, heard within its time, and what it says is taken: a quarantined one talks in vain.
    #[must_use]
    pub fn is_fresh(&self, cluster: &Cluster) -> bool {
        cluster.status == ClusterStatus::Approved
            && !cluster.quarantined
            && self.liveness.is_fresh(cluster.id)
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        use provost_model::Code;
        match error {
            store::Error::NotFound { what } => {
                Self::new(Code::NotFound, format!("{what} does not exist"))
            }
            store::Error::Conflict { detail } => Self::new(Code::Conflict, detail),
            other => Self::internal(&other),
        }
    }
}

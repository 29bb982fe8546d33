//! Who was heard from, by this process's monotonic clock.
//!
//! A cluster is fresh only if something of it was authenticated within three heartbeat intervals since this hub
//! started. After a restart everything is stale until heard; its age then comes from the stored time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use provost_model::ClusterId;
use provost_runtime::clock::SharedClock;
use serde::Serialize;

use crate::store::identity::Cluster;

/// Missed heartbeats after which a cluster is stale.
const INTERVALS: u32 = 3;

#[derive(Debug)]
pub struct Liveness {
    clock: SharedClock,
    stale_after: Duration,
    heard: Mutex<HashMap<ClusterId, Duration>>,
}

/// How long ago a cluster was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Freshness {
    #[serde(rename_all = "camelCase")]
    Fresh { age_ms: u64 },
    /// `age_ms` is none where it was never heard.
    #[serde(rename_all = "camelCase")]
    Stale { age_ms: Option<u64> },
}

impl Liveness {
    #[must_use]
    pub fn new(clock: SharedClock, heartbeat_interval: Duration) -> Self {
        Self { clock, stale_after: heartbeat_interval * INTERVALS, heard: Mutex::default() }
    }

    #[must_use]
    pub const fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// A message of the cluster was authenticated.
    pub fn heard(&self, cluster: ClusterId) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(cluster, self.clock.monotonic());
    }

    #[must_use]
    pub fn freshness(&self, cluster: &Cluster) -> Freshness {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&cluster.id).copied();
        if let Some(heard) = heard {
            let age = self.clock.monotonic().saturating_sub(heard);
            let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            return if age <= self.stale_after {
                Freshness::Fresh { age_ms }
            } else {
                Freshness::Stale { age_ms: Some(age_ms) }
            };
        }
        let stored = |at_ms: i64| u64::try_from(self.clock.wall_ms().saturating_sub(at_ms)).unwrap_or(0);
        Freshness::Stale { age_ms: cluster.last_heard_at_ms.map(stored) }
    }

    #[must_use]
    pub fn is_fresh(&self, cluster: &Cluster) -> bool {
        matches!(self.freshness(cluster), Freshness::Fresh { .. })
    }

    /// Those of `clusters` that are stale, for queries.
    #[must_use]
    pub fn stale<'a>(&self, clusters: impl IntoIterator<Item = &'a Cluster>) -> Vec<ClusterId> {
        clusters.into_iter().filter(|cluster| !self.is_fresh(cluster)).map(|cluster| cluster.id).collect()
    }
}

//! Who was heard from, by this process's monotonic clock.
//!
//! A cluster is fresh only if something of it was authenticated within three heartbeat intervals
//! since this hub started. After a restart everything is stale until heard.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use provost_model::ClusterId;
use provost_runtime::clock::SharedClock;

/// Missed heartbeats after which a cluster is stale.
const INTERVALS: u32 = 3;

#[derive(Debug)]
pub struct Liveness {
    clock: SharedClock,
    stale_after: Duration,
    heard: Mutex<HashMap<ClusterId, Duration>>,
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
        self.lock().insert(cluster, self.clock.monotonic());
    }

    #[must_use]
    pub fn is_fresh(&self, cluster: ClusterId) -> bool {
        let heard = self.lock().get(&cluster).copied();
        heard.is_some_and(|heard| self.clock.monotonic().saturating_sub(heard) <= self.stale_after)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClusterId, Duration>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use provost_runtime::clock::Manual;

    use super::*;

    #[test]
    fn three_intervals_of_silence_are_stale_whatever_the_wall_clock_does() {
        let clock = Manual::at(1_800_000_000_000);
        let liveness = Liveness::new(clock.clone(), Duration::from_secs(30));
        let cluster = ClusterId::from_bytes([1; 16]);
        assert!(!liveness.is_fresh(cluster), "nobody is fresh before being heard");
        liveness.heard(cluster);
        clock.advance(Duration::from_secs(90));
        clock.set_wall_ms(0);
        assert!(liveness.is_fresh(cluster));
        clock.advance(Duration::from_millis(1));
        assert!(!liveness.is_fresh(cluster));
    }
}

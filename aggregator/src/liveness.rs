//! Who was heard from, by this process's monotonic clock.
//!
//! A cluster is fresh only if something of it was authenticated within three heartbeat intervals
//! since this hub started. After a restart everything is stale until heard. While the hub turns
//! agents away because too many come at once, nobody becomes stale, for a minute at most: that
//! silence is its own doing, and longer than that it is not known whose.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use provost_model::ClusterId;
use provost_runtime::clock::SharedClock;

/// Missed heartbeats after which a cluster is stale.
const INTERVALS: u32 = 3;
/// Turned-away agents come back within this; then the load is shed no more.
const SHEDDING_LASTS: Duration = Duration::from_secs(15);
/// Staleness is put off by no more than this in a row.
const LONGEST_FREEZE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Liveness {
    clock: SharedClock,
    stale_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    heard: HashMap<ClusterId, Duration>,
    shedding: Option<Shedding>,
}

/// Monotonic times of the first and the last agent that was turned away.
#[derive(Clone, Copy, Debug)]
struct Shedding {
    since: Duration,
    last: Duration,
}

impl Liveness {
    #[must_use]
    pub fn new(clock: SharedClock, heartbeat_interval: Duration) -> Self {
        Self { clock, stale_after: heartbeat_interval * INTERVALS, state: Mutex::default() }
    }

    #[must_use]
    pub const fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// A message of the cluster was authenticated.
    pub fn heard(&self, cluster: ClusterId) {
        self.lock().heard.insert(cluster, self.clock.monotonic());
    }

    /// An agent was turned away.
    pub fn shed(&self) {
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let since = state.shedding_at(now).map_or(now, |shedding| shedding.since);
        state.shedding = Some(Shedding { since, last: now });
    }

    #[must_use]
    pub fn is_fresh(&self, cluster: ClusterId) -> bool {
        let now = self.clock.monotonic();
        let state = self.lock();
        let now = state.shedding_at(now).map_or(now, |shedding| shedding.judged_at(now));
        let heard = state.heard.get(&cluster).copied();
        heard.is_some_and(|heard| now.saturating_sub(heard) <= self.stale_after)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shedding {
    /// The time that silences are measured by: it stands still, then goes on that much behind.
    fn judged_at(self, now: Duration) -> Duration {
        self.since.max(now.saturating_sub(LONGEST_FREEZE))
    }
}

impl State {
    fn shedding_at(&self, now: Duration) -> Option<Shedding> {
        self.shedding.filter(|shedding| now.saturating_sub(shedding.last) <= SHEDDING_LASTS)
    }
}

#[cfg(test)]
mod tests {
    use provost_runtime::clock::Manual;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    #[test]
    fn three_intervals_of_silence_are_stale_whatever_the_wall_clock_does() {
        let clock = Manual::at(1_800_000_000_000);
        let liveness = Liveness::new(clock.clone(), INTERVAL);
        let cluster = ClusterId::from_bytes([1; 16]);
        assert!(!liveness.is_fresh(cluster), "nobody is fresh before being heard");
        liveness.heard(cluster);
        clock.advance(INTERVAL * 3);
        clock.set_wall_ms(0);
        assert!(liveness.is_fresh(cluster));
        clock.advance(Duration::from_millis(1));
        assert!(!liveness.is_fresh(cluster));
    }

    #[test]
    fn a_hub_that_turns_agents_away_calls_nobody_stale_for_it() {
        let clock = Manual::at(1_800_000_000_000);
        let liveness = Liveness::new(clock.clone(), INTERVAL);
        let (heard, silent) = (ClusterId::from_bytes([1; 16]), ClusterId::from_bytes([2; 16]));
        liveness.heard(silent);
        clock.advance(INTERVAL * 4);
        liveness.heard(heard);
        for _ in 0..13 {
            liveness.shed();
            clock.advance(Duration::from_secs(10));
        }
        assert!(liveness.is_fresh(heard), "heard when the storm began");
        assert!(!liveness.is_fresh(silent), "stale before it");
        clock.advance(SHEDDING_LASTS);
        assert!(!liveness.is_fresh(heard), "the storm is over and it was not heard again");
    }

    #[test]
    fn turning_agents_away_without_end_keeps_nobody_fresh() {
        let clock = Manual::at(1_800_000_000_000);
        let liveness = Liveness::new(clock.clone(), INTERVAL);
        let cluster = ClusterId::from_bytes([1; 16]);
        liveness.heard(cluster);
        for second in 0..=150 {
            liveness.shed();
            assert!(liveness.is_fresh(cluster), "{second} s");
            clock.advance(Duration::from_secs(1));
        }
        liveness.shed();
        assert!(!liveness.is_fresh(cluster), "three intervals and the longest freeze are over");
    }
}

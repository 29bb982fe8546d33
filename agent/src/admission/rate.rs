//! How often something may happen: a burst, and after it so many a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub(super) struct Rate {
    burst: Duration,
    /// What one costs, in time that has to pass.
    each: Duration,
    state: Mutex<State>,
}

struct State {
    /// Never more than `burst`.
    saved: Duration,
    at: Duration,
}

impl Rate {
    pub(super) fn new(burst: u32, per_second: u32, now: Duration) -> Self {
        let each = Duration::from_secs(1) / per_second.max(1);
        let burst = each * burst.max(1);
        Self { burst, each, state: Mutex::new(State { saved: burst, at: now }) }
    }

    /// True: it may happen now, and counts.
    pub(super) fn take(&self, now: Duration) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_sub(state.at);
        state.saved = state.saved.saturating_add(passed).min(self.burst);
        state.at = state.at.max(now);
        let left = state.saved.checked_sub(self.each);
        state.saved = left.unwrap_or(state.saved);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_burst_the_rate_holds() {
        let start = Duration::from_secs(100);
        let rate = Rate::new(3, 2, start);
        let taken = |now: Duration| (0..10).filter(|_| rate.take(now)).count();
        assert_eq!(taken(start), 3);
        assert_eq!(taken(start + Duration::from_millis(499)), 0);
        assert_eq!(taken(start + Duration::from_millis(500)), 1);
        assert_eq!(taken(start + Duration::from_secs(1)), 1);
        assert_eq!(taken(start + Duration::from_secs(3600)), 3);
        assert_eq!(taken(start), 0);
    }
}

//! Waiting in tests: for a condition, with a bound, never for a time that should do.

use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Until `look` gives something, or for `limit`.
///
/// # Panics
/// When the time is over: with `what`, and what `look` said last.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(said) => {
                assert!(begun.elapsed() < limit, "waited {limit:?} until {what}; last: {said}");
            }
        }
        pause(LOOK);
    }
}

/// Lets other processes run for a while: to give a fault time to happen, never as the proof of anything.
#[expect(clippy::disallowed_methods, reason = "tests of processes wait outside any runtime")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[must_use]
#[expect(clippy::disallowed_methods, reason = "how long something took, on this machine")]
pub fn now() -> Instant {
    Instant::now()
}

//! How many agents the hub lets in at once when all come back together.
//!
//! Two buckets of tokens that refill with time: sessions take from one, after their certificate was checked, enrolments and
//! re-entries from the other, because anybody can send those. Who finds its bucket empty is told when to come again, spread
//! out. Staleness decisions freeze only while known agents are turned away.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Per second, and at once.
const RATE: u32 = 200;
/// Refused callers come back within this, each at its own time.
const RETRY_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Intake {
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Intake {
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { bucket: Mutex::new(Bucket { tokens: f64::from(RATE), at: now }) }
    }

    /// Lets one more in, or says when to try again. `draw` is uniform in 0..1.
    pub fn admit(&self, now: Duration, draw: f64) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let refill = now.saturating_sub(bucket.at).as_secs_f64() * f64::from(RATE);
        bucket.tokens = (bucket.tokens + refill).min(f64::from(RATE));
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs(1) + RETRY_WITHIN.mul_f64(draw.clamp(0.0, 1.0)));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_let_in_at_its_rate() {
        let start = Duration::from_secs(100);
        let intake = Intake::new(start);
        let admitted = |at| (0..500).filter(|_| intake.admit(at, 0.5).is_ok()).count();
        assert_eq!(admitted(start), 200);
        assert_eq!(intake.admit(start, 0.5), Err(Duration::from_secs(6)));
        assert_eq!(admitted(start + Duration::from_millis(500)), 100);
        assert_eq!(
            admitted(start + Duration::from_secs(60)),
            200,
            "it never holds more than a second's worth"
        );
    }
}

//! How long to wait before the next attempt, so that a fleet that lost its hub does not return
//! as one.
//!
//! The first delay is uniform over `first`; then full jitter: uniform over `first * 2^n`, capped.
//! What the other side asked for (`retry-after`) is a floor, with jitter on top.

use std::time::Duration;

/// The longest delay between two attempts.
pub const CAP: Duration = Duration::from_secs(300);

#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// `first`: the window of the first delay.
    #[must_use]
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, attempt: 0 }
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// How many delays were drawn since the last success.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Draws the next delay.
    pub fn next_delay(&mut self, retry_after: Option<Duration>) -> Duration {
        self.delay_at(rand::random::<f64>(), retry_after)
    }

    /// As [`Self::next_delay`], with the draw from 0 to 1 given.
    pub fn delay_at(&mut self, draw: f64, retry_after: Option<Duration>) -> Duration {
        let factor = 2_u32.saturating_pow(self.attempt.min(31));
        let window = self.first.saturating_mul(factor).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        let draw = window.mul_f64(draw.clamp(0.0, 1.0));
        match retry_after {
            Some(asked) => asked.min(self.cap).saturating_add(draw.min(asked)),
            None => draw,
        }
    }
}

/// `period` shortened or lengthened by at most `part` of itself, for things that must not beat together.
#[must_use]
pub fn jittered(period: Duration, part: f64) -> Duration {
    let draw = rand::random::<f64>().mul_add(2.0, -1.0);
    period.mul_f64((part.clamp(0.0, 1.0)).mul_add(draw, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_doubles_to_the_cap_and_falls_back() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let windows: Vec<u64> = (0..5).map(|_| backoff.delay_at(1.0, None).as_secs()).collect();
        assert_eq!(windows, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.delay_at(0.0, None), Duration::ZERO);
        backoff.reset();
        assert_eq!(backoff.delay_at(0.5, None), Duration::from_millis(500));
    }

    #[test]
    fn what_was_asked_for_is_a_floor_under_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let asked = Some(Duration::from_secs(10));
        assert_eq!(backoff.delay_at(0.0, asked), Duration::from_secs(10));
        assert!(backoff.delay_at(1.0, asked) <= Duration::from_secs(20));
        assert_eq!(backoff.delay_at(0.0, Some(Duration::MAX)), Duration::from_secs(60));
    }

    #[test]
    fn many_attempts_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_secs(1), CAP);
        for _ in 0..100 {
            assert!(backoff.next_delay(None) <= CAP);
        }
    }

    #[test]
    fn jitter_stays_in_its_part() {
        for _ in 0..100 {
            let delay = jittered(Duration::from_secs(10), 0.1);
            assert!((9.0..=11.0).contains(&delay.as_secs_f64()), "{delay:?}");
        }
    }
}

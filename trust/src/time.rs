//! Times in signed objects, and the agent's lower bound on what time it is.
//!
//! Trusted time is at least the newest date of an object that offline keys signed, and at least the hub's
//! time at the last nonce plus what the monotonic clock counted since. The wall clock counts only
//! while it is within five minutes of that. So a wrong clock of the machine, early or late, changes
//! nothing; a hub with a wrong clock is forgotten at its next reading, since only offline keys raise
//! the floor. It is a lower bound: it can tell what has expired, and a ring waits for it.

use std::fmt;
use std::str::FromStr;

use provost_model::record::ClockQuality;
use serde::{Deserialize, Serialize};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::error::Error;

/// Seconds since 1970 UTC; as text RFC 3339 in one form only: `2026-11-22T05:00:00Z`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct Timestamp(i64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a time: expected UTC to the second, such as 2026-11-22T05:00:00Z")]
pub struct NotATime;

/// 9999-12-31T23:59:59Z, the last that four digits of a year can write.
const LAST_UNIX_S: i64 = 253_402_300_799;
const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

impl Timestamp {
    /// Out of 1970..=9999 it is moved to the nearer end.
    #[must_use]
    pub fn from_unix_s(seconds: i64) -> Self {
        Self(seconds.clamp(0, LAST_UNIX_S))
    }

    #[must_use]
    pub fn from_unix_ms(milliseconds: i64) -> Self {
        Self::from_unix_s(milliseconds.div_euclid(1000))
    }

    #[must_use]
    pub const fn unix_s(self) -> i64 {
        self.0
    }

    #[must_use]
    pub const fn unix_ms(self) -> i64 {
        self.0 * 1000
    }

    #[must_use]
    pub fn plus_s(self, seconds: i64) -> Self {
        Self::from_unix_s(self.0.saturating_add(seconds))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp(self.0).map_err(|_| fmt::Error)?;
        f.write_str(&time.format(FORMAT).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let time = PrimitiveDateTime::parse(text, FORMAT).map_err(|_| NotATime)?;
        let seconds = time.assume_utc().unix_timestamp();
        let timestamp = Self::from_unix_s(seconds);
        // One time has one text: nothing that only parses leniently.
        if timestamp.0 != seconds || timestamp.to_string() != text {
            return Err(NotATime);
        }
        Ok(timestamp)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = NotATime;

    fn try_from(text: String) -> Result<Self, NotATime> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.to_string()
    }
}

/// How far a date may be ahead of the clock of who checks it.
const MAX_AHEAD_S: i64 = 5 * 60;

pub(crate) fn check_not_ahead(
    what: &'static str,
    created: Timestamp,
    now: Timestamp,
) -> Result<(), Error> {
    if created > now.plus_s(MAX_AHEAD_S) {
        return Err(Error::Ahead { what, created, now });
    }
    Ok(())
}

/// Pure: readings go in, the bound comes out. Kept per boot; the floor alone outlives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrustedTime {
    floor: Timestamp,
    hub: Option<HubReading>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HubReading {
    hub_ms: i64,
    monotonic_ms: u64,
}

/// How far the wall clock may be from the hub's estimate and still count.
const WALL_TOLERANCE_MS: u64 = 5 * 60 * 1000;

impl TrustedTime {
    /// At start, with the floor that was stored.
    #[must_use]
    pub const fn new(floor: Timestamp) -> Self {
        Self { floor, hub: None }
    }

    #[must_use]
    pub const fn floor(&self) -> Timestamp {
        self.floor
    }

    /// `time` stands in an object that offline keys signed (its `created`).
    pub fn raise_floor(&mut self, time: Timestamp) {
        self.floor = self.floor.max(time);
    }

    /// The hub's time, bound to a nonce of this session, when the monotonic clock of this boot
    /// stood at `monotonic_ms`. The newest reading counts, also when it is earlier than the last.
    pub fn hub_reading(&mut self, hub_ms: i64, monotonic_ms: u64) {
        self.hub = Some(HubReading { hub_ms, monotonic_ms });
    }

    /// The time is at least this.
    #[must_use]
    pub fn now(&self, monotonic_ms: u64, wall_ms: i64) -> Timestamp {
        let Some(estimate_ms) = self.hub_estimate_ms(monotonic_ms) else { return self.floor };
        let near = estimate_ms.abs_diff(wall_ms) <= WALL_TOLERANCE_MS;
        let best_ms = if near { estimate_ms.max(wall_ms) } else { estimate_ms };
        self.floor.max(Timestamp::from_unix_ms(best_ms))
    }

    /// How good the wall clock is.
    #[must_use]
    pub fn quality(&self, monotonic_ms: u64, wall_ms: i64) -> ClockQuality {
        match self.hub_estimate_ms(monotonic_ms) {
            Some(estimate_ms) if estimate_ms.abs_diff(wall_ms) <= WALL_TOLERANCE_MS => {
                ClockQuality::Synced
            }
            Some(_) => ClockQuality::Suspect,
            None if Timestamp::from_unix_ms(wall_ms) < self.floor => ClockQuality::Suspect,
            None => ClockQuality::Local,
        }
    }

    fn hub_estimate_ms(&self, monotonic_ms: u64) -> Option<i64> {
        let HubReading { hub_ms, monotonic_ms: then_ms } = self.hub?;
        let elapsed_ms = monotonic_ms.saturating_sub(then_ms);
        Some(hub_ms.saturating_add(i64::try_from(elapsed_ms).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3600 * 1000;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn one_time_has_one_text() {
        let time = at("2026-11-22T05:00:00Z");
        assert_eq!(time.unix_s(), 1_795_323_600);
        assert_eq!(time.to_string(), "2026-11-22T05:00:00Z");
        for other in [
            "2026-11-22T05:00:00+00:00",
            "2026-11-22T05:00:00.0Z",
            "2026-11-22t05:00:00z",
            "2026-11-22 05:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-02-30T00:00:00Z",
            "+02026-11-22T05:00:00Z",
            "",
        ] {
            assert_eq!(other.parse::<Timestamp>(), Err(NotATime), "{other}");
        }
        assert_eq!(Timestamp::from_unix_s(i64::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(Timestamp::from_unix_ms(-1).unix_s(), 0);
    }

    #[test]
    fn without_a_hub_only_the_floor_counts() {
        let floor = at("2026-01-01T00:00:00Z");
        let time = TrustedTime::new(floor);
        for wall_ms in [0, floor.unix_ms() + 4000 * DAY_MS] {
            assert_eq!(time.now(0, wall_ms), floor);
        }
        assert_eq!(time.quality(0, 0), ClockQuality::Suspect);
        assert_eq!(time.quality(0, floor.unix_ms() + 1), ClockQuality::Local);
    }

    #[test]
    fn the_wall_clock_counts_only_near_the_hub() {
        let mut time = TrustedTime::new(Timestamp::default());
        let hub_ms = at("2026-11-22T05:00:00Z").unix_ms();
        time.hub_reading(hub_ms, 1_000);
        let hour_later = 1_000 + 3_600_000;
        let estimate_ms = hub_ms + 3_600_000;
        for (wall_ms, expected_ms, quality) in [
            (estimate_ms, estimate_ms, ClockQuality::Synced),
            (estimate_ms + 299_000, estimate_ms + 299_000, ClockQuality::Synced),
            (estimate_ms - 299_000, estimate_ms, ClockQuality::Synced),
            (estimate_ms + 301_000, estimate_ms, ClockQuality::Suspect),
            (estimate_ms + 4000 * DAY_MS, estimate_ms, ClockQuality::Suspect),
            (0, estimate_ms, ClockQuality::Suspect),
            (i64::MIN, estimate_ms, ClockQuality::Suspect),
        ] {
            assert_eq!(time.now(hour_later, wall_ms), Timestamp::from_unix_ms(expected_ms));
            assert_eq!(time.quality(hour_later, wall_ms), quality);
        }
    }

    #[test]
    fn a_hub_with_a_wrong_clock_is_forgotten_at_its_next_reading() {
        let mut time = TrustedTime::new(at("2026-01-01T00:00:00Z"));
        time.hub_reading(at("2099-01-01T00:00:00Z").unix_ms(), 10);
        assert_eq!(time.now(10, 0), at("2099-01-01T00:00:00Z"));
        time.hub_reading(at("2026-11-22T05:00:00Z").unix_ms(), 20);
        assert_eq!(time.now(20, 0), at("2026-11-22T05:00:00Z"));
        time.raise_floor(at("2027-01-01T00:00:00Z"));
        time.raise_floor(at("2026-06-01T00:00:00Z"));
        assert_eq!(time.now(20, 0), at("2027-01-01T00:00:00Z"));
        // A reading cannot count backwards when the monotonic clock does.
        assert_eq!(time.now(0, 0), at("2027-01-01T00:00:00Z"));
    }
}

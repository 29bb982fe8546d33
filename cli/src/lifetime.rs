//! How long a signed object lives, as people write it: `90d`, `12h`, `30m`, `10s`.

use provost_runtime::clock::{Clock as _, System};
use provost_trust::Timestamp;

/// A number of seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(i64);

impl Lifetime {
    pub const fn seconds(self) -> i64 {
        self.0
    }

    pub fn after(self, created: Timestamp) -> Timestamp {
        created.plus_s(self.0)
    }
}

/// The machine's time: commands have no better one.
pub fn now() -> Timestamp {
    Timestamp::from_unix_ms(System::new().wall_ms())
}

impl std::str::FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no lifetime: write a number and d, h, m or s, as in 90d");
        let (number, unit) =
            text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
        let unit_s = match unit {
            "d" => 24 * 3600,
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            _ => return Err(wrong()),
        };
        let number: i64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(unit_s).filter(|seconds| *seconds > 0).map(Self).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_a_unit() {
        for (text, seconds) in [("90d", 7_776_000), ("12h", 43_200), ("1m", 60), ("10s", 10)] {
            assert_eq!(text.parse(), Ok(Lifetime(seconds)));
        }
        for text in ["", "d", "10", "0d", "-1d", "1w", "9223372036854775807d", "1é"] {
            assert!(text.parse::<Lifetime>().is_err(), "{text}");
        }
    }
}

//! Times as people and programs read them: RFC 3339 in JSON, clock and age on pages. UTC throughout.

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Unix time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub i64);

const ISO: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const CLOCK: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second]");
const DAY: &[BorrowedFormatItem<'_>] = format_description!("[day padding:none] [month repr:short]");
const FULL: &[BorrowedFormatItem<'_>] =
    format_description!("[day padding:none] [month repr:short] [year] [hour]:[minute]:[second]");

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

impl Stamp {
    fn format(self, format: &[BorrowedFormatItem<'_>]) -> String {
        let nanos = i128::from(self.0) * 1_000_000;
        OffsetDateTime::from_unix_timestamp_nanos(nanos)
            .ok()
            .and_then(|time| time.format(format).ok())
            // A year that no clock shows: the number itself says more than nothing.
            .unwrap_or_else(|| format!("{} ms", self.0))
    }

    #[must_use]
    pub fn iso(&self) -> String {
        self.format(ISO)
    }

    #[must_use]
    pub fn clock(&self) -> String {
        self.format(CLOCK)
    }

    #[must_use]
    pub fn full(&self) -> String {
        self.format(FULL)
    }

    /// `09:14` within a day of `now`, else `20 Nov`.
    #[must_use]
    pub fn brief(&self, now: Self) -> String {
        if (now.0 - self.0).abs() < DAY_MS { self.clock() } else { self.format(DAY) }
    }

    /// `4 s ago`; a time ahead of `now` is `now`, because only clock offsets make one.
    #[must_use]
    pub fn ago(&self, now: Self) -> String {
        match now.0.saturating_sub(self.0) {
            i64::MIN..SECOND_MS => "now".to_owned(),
            age => format!("{} ago", span(age)),
        }
    }
}

/// `4 s`, `3 min`, `9 h`, `12 d`: one unit, rounded down.
#[must_use]
pub fn span(ms: i64) -> String {
    match ms {
        i64::MIN..MINUTE_MS => format!("{} s", ms / SECOND_MS),
        MINUTE_MS..HOUR_MS => format!("{} min", ms / MINUTE_MS),
        HOUR_MS..DAY_MS => format!("{} h", ms / HOUR_MS),
        _ => format!("{} d", ms / DAY_MS),
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.iso())
    }
}

impl utoipa::PartialSchema for Stamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .into()
    }
}

impl utoipa::ToSchema for Stamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        let time = Stamp(1_795_323_600_123);
        assert_eq!(time.iso(), "2026-11-22T05:00:00.123Z");
        assert_eq!(time.clock(), "05:00:00");
        assert_eq!(time.full(), "22 Nov 2026 05:00:00");
        assert_eq!(time.brief(Stamp(time.0 + HOUR_MS)), "05:00:00");
        assert_eq!(time.brief(Stamp(time.0 + 2 * DAY_MS)), "22 Nov");
        assert_eq!(Stamp(i64::MAX).iso(), format!("{} ms", i64::MAX));
    }

    #[test]
    fn ages_round_down_and_never_lie_ahead() {
        let at = |age_ms| Stamp(0).ago(Stamp(age_ms));
        assert_eq!(at(-5000), "now");
        assert_eq!(at(999), "now");
        assert_eq!(at(59_999), "59 s ago");
        assert_eq!(at(HOUR_MS - 1), "59 min ago");
        assert_eq!(at(9 * HOUR_MS), "9 h ago");
        assert_eq!(at(30 * DAY_MS), "30 d ago");
    }
}

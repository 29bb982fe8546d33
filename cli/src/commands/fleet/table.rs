//! Tables of what the hub sends, with nothing in them that a terminal obeys.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::Value;

use crate::hub::plain;

/// A table without lines, as kubectl prints them.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().map(|name| name.to_uppercase()));
    table
}

pub fn left(text: &str) -> Cell {
    Cell::new(plain(text))
}

pub fn right(text: impl std::fmt::Display) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// Text at a pointer; empty where there is none.
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn count(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// `96.2 %`; rounded so that 100 % means all, and `-` where there is nothing to say.
pub fn percent(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer).and_then(Value::as_f64) {
        None => "-".to_owned(),
        Some(r) if r >= 1.0 => "100 %".to_owned(),
        Some(r) if r <= 0.0 => "0 %".to_owned(),
        Some(r) => format!("{:.1} %", (r * 100.0).clamp(0.1, 99.9)),
    }
}

/// `4 s`, `3 min`, `9 h`, `12 d`.
pub fn span(ms: i64) -> String {
    const SECOND: i64 = 1000;
    const MINUTE: i64 = 60 * SECOND;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match ms {
        i64::MIN..MINUTE => format!("{} s", ms.max(0) / SECOND),
        MINUTE..HOUR => format!("{} min", ms / MINUTE),
        HOUR..DAY => format!("{} h", ms / HOUR),
        _ => format!("{} d", ms / DAY),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_say_what_is_there() {
        let value = json!({"score": 0.99999, "all": 1.0, "none": null, "n": 3});
        assert_eq!(percent(&value, "/score"), "99.9 %");
        assert_eq!(percent(&value, "/all"), "100 %");
        assert_eq!(percent(&value, "/none"), "-");
        assert_eq!(count(&value, "/n"), 3);
        assert_eq!(span(9 * 3_600_000 + 5), "9 h");
    }

    #[test]
    fn escapes_of_a_cluster_do_not_reach_the_terminal() {
        let mut rows = table(&["name"]);
        rows.add_row(vec![left("x\u{1b}[31m")]);
        assert!(!rows.to_string().contains('\u{1b}'));
    }
}

//! Scalars as the API server reads them: the resolution of the YAML 1.1 library behind
//! `sigs.k8s.io/yaml` (go-yaml v2), and its way to turn keys into strings.
//!
//! `yes`, `on` and `y` are booleans; `0o14`, `014`, `0xC`, `0b1100` and `1_2` are integers; `08` is
//! the float 8; `1e3` is a float; `1:30` and dates are strings. JSON has no infinity: `.inf` and
//! `.nan` are refused, as the API server refuses them.

use base64::Engine as _;

use crate::node::Value;

/// A tag that was written before a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag<'a> {
    /// None, on a plain scalar.
    Plain,
    /// None, on a quoted or block scalar; or `!!str`.
    Text,
    /// `!!int`, `!!bool` and the like, without the prefix.
    Core(&'a str),
}

/// Why a scalar has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("`{text}` is no number that JSON knows")]
    NotFinite { text: String },
    #[error("`{text}` is not of the type that its tag !!{tag} says")]
    WrongTag { text: String, tag: String },
    #[error("a key is null; keys are strings")]
    NullKey,
}

pub fn resolve(tag: Tag<'_>, text: &str) -> Result<Value, Error> {
    let wrong = |tag: &str| Error::WrongTag { text: shorten(text), tag: tag.to_owned() };
    match tag {
        Tag::Text => Ok(Value::String(text.to_owned())),
        Tag::Plain => finite(plain(text), text),
        Tag::Core(tag @ ("int" | "bool" | "null")) => match (plain(text), tag) {
            (value @ (Value::Int(_) | Value::Uint(_)), "int") if !is_float(text) => Ok(value),
            (value @ Value::Bool(_), "bool") | (value @ Value::Null, "null") => Ok(value),
            _ => Err(wrong(tag)),
        },
        Tag::Core("binary") => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|_| wrong("binary"))?;
            Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Tag::Core("float") => match plain(text) {
            value @ (Value::Int(_) | Value::Float(_)) => finite(value, text),
            _ => Err(wrong("float")),
        },
        Tag::Core(_) => Ok(Value::String(text.to_owned())),
    }
}

/// The string that a key becomes.
pub fn resolve_key(tag: Tag<'_>, text: &str) -> Result<String, Error> {
    let value = match tag {
        // A float key is printed as a float, so it must not have become an integer before.
        Tag::Plain | Tag::Core("float") if integer(text).is_none() => match float(text) {
            Some(value) => return Ok(float_key(value)),
            None if tag == Tag::Plain => plain(text),
            // A key may be `.inf`: it is a string in the end.
            None => match plain(text) {
                value @ Value::Float(_) => value,
                _ => resolve(tag, text)?,
            },
        },
        Tag::Plain => plain(text),
        _ => resolve(tag, text)?,
    };
    match value {
        Value::String(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Int(value) => Ok(value.to_string()),
        Value::Float(value) => Ok(float_key(value)),
        // go-yaml keeps such a key as uint64, which its JSON conversion refuses.
        Value::Uint(_) => Err(Error::WrongTag { text: shorten(text), tag: "str".to_owned() }),
        _ => Err(Error::NullKey),
    }
}

/// A float as JSON and the API server know it: one that is whole is an integer.
pub fn number(value: f64) -> Value {
    // 2^63 is the first float past i64; -2^63 is one of it.
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if value.fract() == 0.0 && (-BOUND..BOUND).contains(&value) {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within i64")]
        return Value::Int(value as i64);
    }
    Value::Float(value)
}

fn finite(value: Value, text: &str) -> Result<Value, Error> {
    match value {
        Value::Float(value) if !value.is_finite() => Err(Error::NotFinite { text: shorten(text) }),
        value => Ok(value),
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    integer(text)
        .or_else(|| float(text).map(number))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn integer(text: &str) -> Option<Value> {
    if !starts_number(text) {
        return None;
    }
    let bare = text.replace('_', "");
    let (negative, digits) = match bare.as_bytes().first()? {
        b'-' => (true, &bare[1..]),
        b'+' => (false, &bare[1..]),
        _ => (false, bare.as_str()),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    // `0b-1` and `0x+1`: a second sign is read after `0b` alone.
    let (negative, digits) = match (radix, digits.strip_prefix('-'), digits.strip_prefix('+')) {
        (2, Some(rest), _) if bare.starts_with("0b") => (true, rest),
        (2, _, Some(rest)) if bare.starts_with("0b") => (negative, rest),
        _ => (negative, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0_i64.checked_sub_unsigned(magnitude).map(Value::Int);
    }
    match i64::try_from(magnitude) {
        Ok(value) => Some(Value::Int(value)),
        // With a sign, go-yaml's unsigned parser refuses it and it becomes a float.
        Err(_) if bare.starts_with('+') => None,
        Err(_) => Some(Value::Uint(magnitude)),
    }
}

fn is_float(text: &str) -> bool {
    integer(text).is_none() && float(text).is_some()
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`, and within the range of a float.
fn float(text: &str) -> Option<f64> {
    let digit_at = |at: Option<usize>| {
        at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit)
    };
    if text.starts_with('.') {
        // Here Go itself reads underscores, and only between digits.
        let between = |at: usize| digit_at(at.checked_sub(1)) && digit_at(Some(at + 1));
        let misplaced = text.match_indices('_').any(|(at, _)| !between(at));
        return if misplaced { None } else { decimal(&text.replace('_', "")) };
    }
    if !starts_number(text) {
        return None;
    }
    decimal(&text.replace('_', ""))
}

fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits =
        digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let value = (mantissa_fits && exponent_fits).then(|| text.parse::<f64>().ok())??;
    value.is_finite().then_some(value)
}

fn starts_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '-')
}

/// Go's `strconv.FormatFloat(value, 'g', -1, 32)`, which is how a float key becomes a string.
fn float_key(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the API server's library narrows it too")]
    let narrow = value as f32;
    if narrow.is_nan() {
        return ".nan".to_owned();
    }
    if narrow.is_infinite() {
        return if narrow > 0.0 { ".inf".to_owned() } else { "-.inf".to_owned() };
    }
    let scientific = format!("{narrow:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{narrow}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Node, Position};

    /// What `sigs.k8s.io/yaml` v1.6.0 makes of a plain scalar: as a value (JSON; none where it
    /// refuses), and as a key.
    #[rustfmt::skip]
    const AS_THE_API_SERVER_READS: &[(&str, Option<&str>, Option<&str>)] = &[
            ("yes", Some("true"), Some("true")),
            ("no", Some("false"), Some("false")),
            ("on", Some("true"), Some("true")),
            ("off", Some("false"), Some("false")),
            ("y", Some("true"), Some("true")),
            ("n", Some("false"), Some("false")),
            ("Y", Some("true"), Some("true")),
            ("N", Some("false"), Some("false")),
            ("True", Some("true"), Some("true")),
            ("TRUE", Some("true"), Some("true")),
            ("true", Some("true"), Some("true")),
            ("YES", Some("true"), Some("true")),
            ("Yes", Some("true"), Some("true")),
            ("ON", Some("true"), Some("true")),
            ("On", Some("true"), Some("true")),
            ("oFF", Some(r#""oFF""#), Some("oFF")),
            ("tRue", Some(r#""tRue""#), Some("tRue")),
            ("~", Some("null"), None),
            ("null", Some("null"), None),
            ("Null", Some("null"), None),
            ("NULL", Some("null"), None),
            ("nULL", Some(r#""nULL""#), Some("nULL")),
            ("0", Some("0"), Some("0")),
            ("-0", Some("0"), Some("0")),
            ("+1", Some("1"), Some("1")),
            ("1_000", Some("1000"), Some("1000")),
            ("_1", Some(r#""_1""#), Some("_1")),
            ("1_", Some("1"), Some("1")),
            ("0_7", Some("7"), Some("7")),
            ("014", Some("12"), Some("12")),
            ("0o14", Some("12"), Some("12")),
            ("0O14", Some("12"), Some("12")),
            ("08", Some("8"), Some("8")),
            ("09.5", Some("9.5"), Some("9.5")),
            ("0x1F", Some("31"), Some("31")),
            ("0X1f", Some("31"), Some("31")),
            ("0b101", Some("5"), Some("5")),
            ("0B11", Some("3"), Some("3")),
            ("-0b11", Some("-3"), Some("-3")),
            ("0b-11", Some("-3"), Some("-3")),
            ("0b+11", Some("3"), Some("3")),
            ("0x-1", Some(r#""0x-1""#), Some("0x-1")),
            ("+0b1", Some("1"), Some("1")),
            ("0b", Some(r#""0b""#), Some("0b")),
            ("0x", Some(r#""0x""#), Some("0x")),
            ("0b_1", Some("1"), Some("1")),
            ("-0x10", Some("-16"), Some("-16")),
            ("+0x10", Some("16"), Some("16")),
            ("-017", Some("-15"), Some("-15")),
            ("-0o17", Some("-15"), Some("-15")),
            ("1e3", Some("1000"), Some("1000")),
            ("1E3", Some("1000"), Some("1000")),
            ("1e+3", Some("1000"), Some("1000")),
            ("1e-3", Some("0.001"), Some("0.001")),
            ("1.5e3", Some("1500"), Some("1500")),
            ("1.", Some("1"), Some("1")),
            (".5", Some("0.5"), Some("0.5")),
            ("-.5", Some("-0.5"), Some("-0.5")),
            ("+.5", Some("0.5"), Some("0.5")),
            ("5.e3", Some("5000"), Some("5000")),
            (".e3", Some(r#"".e3""#), Some(".e3")),
            (".", Some(r#"".""#), Some(".")),
            ("+", Some(r#""+""#), Some("+")),
            ("..", Some(r#""..""#), Some("..")),
            ("1..2", Some(r#""1..2""#), Some("1..2")),
            ("1e", Some(r#""1e""#), Some("1e")),
            (".5_0", Some("0.5"), Some("0.5")),
            ("1_0.5", Some("10.5"), Some("10.5")),
            ("1e999", Some(r#""1e999""#), Some("1e999")),
            ("-1e999", Some(r#""-1e999""#), Some("-1e999")),
            ("1e-999", Some("0"), Some("0")),
            ("1e400", Some(r#""1e400""#), Some("1e400")),
            (".1e400", Some(r#"".1e400""#), Some(".1e400")),
            (".inf", None, Some(".inf")),
            ("-.inf", None, Some("-.inf")),
            ("+.inf", None, Some(".inf")),
            (".Inf", None, Some(".inf")),
            (".nan", None, Some(".nan")),
            (".NaN", None, Some(".nan")),
            ("inf", Some(r#""inf""#), Some("inf")),
            ("NaN", Some(r#""NaN""#), Some("NaN")),
            ("infinity", Some(r#""infinity""#), Some("infinity")),
            ("1:30", Some(r#""1:30""#), Some("1:30")),
            ("190:20:30", Some(r#""190:20:30""#), Some("190:20:30")),
            ("2001-12-14", Some(r#""2001-12-14""#), Some("2001-12-14")),
            ("2001-12-14T21:59:43Z", Some(r#""2001-12-14T21:59:43Z""#), Some("2001-12-14T21:59:43Z")),
            ("2001-1-1", Some(r#""2001-1-1""#), Some("2001-1-1")),
            ("2001-99-99", Some(r#""2001-99-99""#), Some("2001-99-99")),
            ("2001-foo", Some(r#""2001-foo""#), Some("2001-foo")),
            ("1234-5", Some(r#""1234-5""#), Some("1234-5")),
            ("9223372036854775807", Some("9223372036854775807"), Some("9223372036854775807")),
            ("9223372036854775808", Some("9223372036854775808"), None),
            ("-9223372036854775808", Some("-9223372036854775808"), Some("-9223372036854775808")),
            ("-9223372036854775809", Some("-9223372036854776000"), Some("-9.223372e+18")),
            ("+9223372036854775808", Some("9223372036854776000"), Some("9.223372e+18")),
            ("18446744073709551615", Some("18446744073709551615"), None),
            ("18446744073709551616", Some("18446744073709552000"), Some("1.8446744e+19")),
            ("1e20", Some("100000000000000000000"), Some("1e+20")),
            ("1e21", Some("1e+21"), Some("1e+21")),
            ("123456789012345678901234567890", Some("1.2345678901234568e+29"), Some("1.2345679e+29")),
            ("1.0", Some("1"), Some("1")),
            ("-0.0", Some("-0"), Some("-0")),
            ("0.1", Some("0.1"), Some("0.1")),
            ("100m", Some(r#""100m""#), Some("100m")),
            ("1Gi", Some(r#""1Gi""#), Some("1Gi")),
            ("1.2.3", Some(r#""1.2.3""#), Some("1.2.3")),
            ("0xg", Some(r#""0xg""#), Some("0xg")),
            ("0o8", Some(r#""0o8""#), Some("0o8")),
            ("0b2", Some(r#""0b2""#), Some("0b2")),
            ("x", Some(r#""x""#), Some("x")),
            ("5.0", Some("5"), Some("5")),
            ("1", Some("1"), Some("1")),
            ("aGk=", Some(r#""aGk=""#), Some("aGk=")),
            ("2001-01-01", Some(r#""2001-01-01""#), Some("2001-01-01")),
            ("foo", Some(r#""foo""#), Some("foo")),
            ("12", Some("12"), Some("12")),
            ("0.0.0.0", Some(r#""0.0.0.0""#), Some("0.0.0.0")),
            ("0x1p4", Some(r#""0x1p4""#), Some("0x1p4")),
            ("1e5_0", Some("1e+50"), Some(".inf")),
            ("1_e5", Some("100000"), Some("100000")),
            ("0x_1", Some("1"), Some("1")),
            ("__1", Some(r#""__1""#), Some("__1")),
            ("1__2", Some("12"), Some("12")),
            ("-_1", Some("-1"), Some("-1")),
            ("+-1", Some(r#""+-1""#), Some("+-1")),
            ("--1", Some(r#""--1""#), Some("--1")),
            ("0x1_F", Some("31"), Some("31")),
            ("00", Some("0"), Some("0")),
            ("000", Some("0"), Some("0")),
            ("0_", Some("0"), Some("0")),
            ("0b1_0", Some("2"), Some("2")),
            ("0b0_", Some("0"), Some("0")),
            ("007_", Some("7"), Some("7")),
            ("-08", Some("-8"), Some("-8")),
            ("-0_8", Some("-8"), Some("-8")),
            ("1e+", Some(r#""1e+""#), Some("1e+")),
            ("12e03", Some("12000"), Some("12000")),
            ("0777777777777777777777777", Some("7.777777777777778e+23"), Some("7.777778e+23")),
            ("0xFFFFFFFFFFFFFFFF", Some("18446744073709551615"), None),
            ("0xFFFFFFFFFFFFFFFFF", Some(r#""0xFFFFFFFFFFFFFFFFF""#), Some("0xFFFFFFFFFFFFFFFFF")),
            ("-0xFFFFFFFFFFFFFFFF", Some(r#""-0xFFFFFFFFFFFFFFFF""#), Some("-0xFFFFFFFFFFFFFFFF")),
            ("0b1111111111111111111111111111111111111111111111111111111111111111", Some("18446744073709551615"), None),
            ("-0b1000000000000000000000000000000000000000000000000000000000000000", Some("-9223372036854775808"), Some("-9223372036854775808")),
            ("2001-12-14_", Some(r#""2001-12-14_""#), Some("2001-12-14_")),
            ("0b+_1", Some("1"), Some("1")),
            ("-0b-1", Some(r#""-0b-1""#), Some("-0b-1")),
            ("-0b+1", Some(r#""-0b+1""#), Some("-0b+1")),
            ("+0b-1", Some(r#""+0b-1""#), Some("+0b-1")),
            ("0b--1", Some(r#""0b--1""#), Some("0b--1")),
            ("._5", Some(r#""._5""#), Some("._5")),
            (".5_", Some(r#"".5_""#), Some(".5_")),
            (".5__0", Some(r#"".5__0""#), Some(".5__0")),
            (".5e1_0", Some("5000000000"), Some("5e+09")),
            (".5_e1", Some(r#"".5_e1""#), Some(".5_e1")),
            (".5e_1", Some(r#"".5e_1""#), Some(".5e_1")),
            ("._", Some(r#""._""#), Some("._")),
            ("1e6", Some("1000000"), Some("1e+06")),
            ("1234567.0", Some("1234567"), Some("1.234567e+06")),
            ("100000.0", Some("100000"), Some("100000")),
            ("0.0001", Some("0.0001"), Some("0.0001")),
            ("0.00001", Some("0.00001"), Some("1e-05")),
    ];

    fn json(value: Value) -> serde_json::Value {
        serde_json::to_value(Node::new(value, Position::START)).unwrap()
    }

    fn same(ours: &serde_json::Value, theirs: &serde_json::Value) -> bool {
        ours == theirs || ours.as_f64().is_some_and(|number| theirs.as_f64() == Some(number))
    }

    #[test]
    fn plain_scalars_are_read_as_the_api_server_reads_them() {
        for (text, value, key) in AS_THE_API_SERVER_READS {
            let ours = resolve(Tag::Plain, text).ok().map(json);
            let theirs = value.map(|json| serde_json::from_str(json).unwrap());
            match (&ours, &theirs) {
                (Some(ours), Some(theirs)) => {
                    assert!(same(ours, theirs), "{text}: {ours} {theirs}");
                }
                _ => assert_eq!(ours, theirs, "{text}"),
            }
            assert_eq!(resolve_key(Tag::Plain, text).ok().as_deref(), *key, "key {text}");
        }
    }

    #[test]
    fn tags_say_the_type() {
        use serde_json::json as j;
        for (tag, text, expected) in [
            (Tag::Text, "yes", Some(j!("yes"))),
            (Tag::Core("int"), "5", Some(j!(5))),
            (Tag::Core("int"), "0b-1", Some(j!(-1))),
            (Tag::Core("int"), "5.0", None),
            (Tag::Core("float"), "1", Some(j!(1))),
            (Tag::Core("float"), "0x10", Some(j!(16))),
            (Tag::Core("float"), "yes", None),
            (Tag::Core("float"), ".inf", None),
            (Tag::Core("bool"), "on", Some(j!(true))),
            (Tag::Core("bool"), "1", None),
            (Tag::Core("null"), "", Some(j!(null))),
            (Tag::Core("null"), "x", None),
            (Tag::Core("binary"), "aGk=", Some(j!("hi"))),
            (Tag::Core("binary"), "aG k=", None),
            (Tag::Core("foo"), "12", Some(j!("12"))),
        ] {
            assert_eq!(resolve(tag, text).ok().map(json), expected, "{tag:?} {text}");
        }
    }

    #[test]
    fn whole_floats_are_integers_within_the_range_of_i64() {
        assert_eq!(number(1.0), Value::Int(1));
        assert_eq!(number(-9_223_372_036_854_775_808.0), Value::Int(i64::MIN));
        assert_eq!(number(9_223_372_036_854_775_808.0), Value::Float(9_223_372_036_854_775_808.0));
        assert_eq!(number(1.5), Value::Float(1.5));
    }
}

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

//! RFC 8785, the JSON form that one value has one of: keys in the order of their UTF-16 units,
//! numbers as ECMAScript prints them.
//!
//! One addition: an integer that no double holds exactly is written with all its digits, so that
//! two different objects never share a form. RFC 8785 leaves such numbers undefined.

use std::fmt::Write as _;

use regorus::Value;

pub(crate) fn json(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null | Value::Undefined => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => match number.as_f64() {
            Some(double) => write_double(double, out),
            None => out.push_str(&number.format_decimal()),
        },
        Value::String(text) => write_string(text, out),
        Value::Array(items) => write_list(items.iter(), out),
        Value::Set(items) => write_list(items.iter(), out),
        Value::Object(fields) => {
            let mut sorted: Vec<(String, &Value)> =
                fields.iter().map(|(key, value)| (key_text(key), value)).collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (position, (key, value)) in sorted.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_string(&key, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

fn write_list<'a>(items: impl Iterator<Item = &'a Value>, out: &mut String) {
    out.push('[');
    for (position, item) in items.enumerate() {
        if position > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}

fn key_text(key: &Value) -> String {
    match key {
        Value::String(text) => text.to_string(),
        other => json(other),
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The layout of ECMAScript's Number::toString over the shortest digits that read back the same.
fn write_double(number: f64, out: &mut String) {
    if number == 0.0 {
        out.push('0');
        return;
    }
    let scientific = format!("{:e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    // The decimal point stands after this many digits.
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or(0));
    if number < 0.0 {
        out.push('-');
    }
    if (count..=21).contains(&point) {
        out.push_str(&digits);
        out.push_str(&zeros(point - count));
    } else if (1..=21).contains(&point) {
        let (whole, rest) = digits.split_at(usize::try_from(point).unwrap_or(0));
        let _ = write!(out, "{whole}.{rest}");
    } else if (-5..=0).contains(&point) {
        let _ = write!(out, "0.{}{digits}", zeros(-point));
    } else {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let _ = write!(out, "{first}{dot}{rest}e{:+}", point - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        json(&Value::from_json_str(text).unwrap())
    }

    /// The examples of RFC 8785, section 3.2.2 and appendix B.
    #[test]
    fn the_examples_of_the_rfc() {
        let numbers = "[1E30, 4.50, 2e-3, 0.000000000000000000000000001]";
        assert_eq!(canonical(numbers), "[1e+30,4.5,0.002,1e-27]");
        for (number, text) in [
            (333_333_333.333_333_3, "333333333.3333333"),
            (-0.0, "0"),
            (5e-324, "5e-324"),
            (1.797_693_134_862_315_7e308, "1.7976931348623157e+308"),
            (295_147_905_179_352_830_000.0, "295147905179352830000"),
            (999_999_999_999_999_900_000.0, "999999999999999900000"),
            (1e21, "1e+21"),
            (9.999_999_999_999_997e22, "9.999999999999997e+22"),
            (0.000_001, "0.000001"),
            (1e-7, "1e-7"),
            (-333_333.333_333_333_26, "-333333.33333333326"),
        ] {
            let mut out = String::new();
            write_double(number, &mut out);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn keys_are_sorted_by_utf16_and_text_is_escaped() {
        let text = r#"{"\ufb33":1,"\ud83d\ude00":2,"\u20ac":3,"\r":4,"1":5,"\u0080":6,"a":"\u000f/\n\"\\"}"#;
        let expected = "{\"\\r\":4,\"1\":5,\"a\":\"\\u000f/\\n\\\"\\\\\",\"\u{80}\":6,\"\u{20ac}\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}";
        assert_eq!(canonical(text), expected);
    }

    #[test]
    fn large_integers_keep_their_digits() {
        assert_eq!(canonical("[9007199254740993, 1.0, 100]"), "[9007199254740993,1,100]");
    }
}

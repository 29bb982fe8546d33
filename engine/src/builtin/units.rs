//! Quantities of Kubernetes, read exactly: `units.parse("100m")`, `units.parse_bytes("1.5Gi")`.

use regorus::Value;

use super::Refused;

type Answer = Result<Value, Refused>;

const TOO_LARGE: Refused = Refused("a quantity with more digits than any real one");
/// Digits after the point that OPA keeps.
const DECIMALS: u32 = 10;

/// Any unit; the answer may have a fraction.
pub(super) fn parse(operands: &[Value]) -> Answer {
    let [Value::String(text)] = operands else { return Ok(Value::Undefined) };
    let Some((amount, unit)) = amount_and_unit(text) else { return Ok(Value::Undefined) };
    let factor = match unit {
        // Case tells milli from mega.
        "m" => Factor { times: 1, by: 1000 },
        _ => match factor(unit, false) {
            Some(times) => Factor { times, by: 1 },
            None => return Ok(Value::Undefined),
        },
    };
    let Some(amount) = Amount::parse(amount) else { return Ok(Value::Undefined) };
    amount.scaled(factor)?.decimal()
}

/// Bytes; a fraction is cut off.
pub(super) fn parse_bytes(operands: &[Value]) -> Answer {
    let [Value::String(text)] = operands else { return Ok(Value::Undefined) };
    let Some((amount, unit)) = amount_and_unit(text) else { return Ok(Value::Undefined) };
    let Some(times) = factor(unit, true) else { return Ok(Value::Undefined) };
    let Some(amount) = Amount::parse(amount) else { return Ok(Value::Undefined) };
    Ok(amount.scaled(Factor { times, by: 1 })?.whole())
}

#[derive(Clone, Copy)]
struct Factor {
    times: i128,
    by: i128,
}

/// A fraction of two whole numbers.
struct Amount {
    over: i128,
    under: i128,
}

impl Amount {
    /// Digits with a point, a sign and an exponent.
    fn parse(text: &str) -> Option<Self> {
        let (digits, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let over: i128 = all.parse().ok()?;
        let over = if digits.starts_with('-') { -over } else { over };
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
        if exponent < 0 {
            Some(Self { over, under: power })
        } else {
            Some(Self { over: over.checked_mul(power)?, under: 1 })
        }
    }

    fn scaled(self, factor: Factor) -> Result<Self, Refused> {
        let over = self.over.checked_mul(factor.times).ok_or(TOO_LARGE)?;
        let under = self.under.checked_mul(factor.by).ok_or(TOO_LARGE)?;
        Ok(Self { over, under })
    }

    fn whole(&self) -> Value {
        Value::from(self.over / self.under)
    }

    /// With ten decimals at most, half away from zero.
    fn decimal(&self) -> Answer {
        if self.over % self.under == 0 {
            return Ok(self.whole());
        }
        let scale = 10_i128.pow(DECIMALS);
        let scaled = self.over.checked_mul(scale).ok_or(TOO_LARGE)?;
        let twice = scaled.checked_mul(2).ok_or(TOO_LARGE)?;
        let half = if scaled < 0 { -self.under } else { self.under };
        let rounded = (twice + half) / (self.under.checked_mul(2).ok_or(TOO_LARGE)?);
        let (sign, rounded) = if rounded < 0 { ("-", -rounded) } else { ("", rounded) };
        let text = format!("{sign}{}.{:010}", rounded / scale, rounded % scale);
        Ok(Value::from_numeric_string(&text).unwrap_or(Value::Undefined))
    }
}

/// The number ends where something follows that belongs to none.
fn amount_and_unit(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_matches('"');
    if text.contains(' ') {
        return None;
    }
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'0'..=b'9' | b'.' | b'+' | b'-' => {}
            b'e' | b'E' => match bytes.get(at + 1) {
                Some(b'0'..=b'9') => {}
                Some(b'+' | b'-') => at += 1,
                _ => break,
            },
            _ => break,
        }
        at += 1;
    }
    let (amount, unit) = text.split_at(at.min(text.len()));
    (!amount.is_empty()).then_some((amount, unit))
}

fn factor(unit: &str, bytes: bool) -> Option<i128> {
    let unit = unit.to_ascii_lowercase();
    let short = unit.strip_suffix('b').filter(|short| bytes && !short.is_empty());
    let unit = short.unwrap_or(&unit);
    let binary = |power| 1024_i128.pow(power);
    let decimal = |power| 1000_i128.pow(power);
    Some(match unit {
        "" => 1,
        "k" => decimal(1),
        "ki" => binary(1),
        "m" => decimal(2),
        "mi" => binary(2),
        "g" => decimal(3),
        "gi" => binary(3),
        "t" => decimal(4),
        "ti" => binary(4),
        "p" => decimal(5),
        "pi" => binary(5),
        "e" => decimal(6),
        "ei" => binary(6),
        _ => return None,
    })
}

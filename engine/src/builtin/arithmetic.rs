//! Operators and functions on numbers and sets. Of operands of a wrong type the answer is
//! undefined.

use regorus::Value;

use super::Refused;

/// Elements of one range. OPA has no limit; a list of a million numbers takes 100 MB.
const MAX_RANGE: i64 = 100_000;

type Answer = Result<Value, Refused>;

pub(super) fn plus(operands: &[Value]) -> Answer {
    Ok(match operands {
        [Value::Number(a), Value::Number(b)] => number(a.add(b)),
        _ => Value::Undefined,
    })
}

pub(super) fn minus(operands: &[Value]) -> Answer {
    Ok(match operands {
        [Value::Number(a), Value::Number(b)] => number(a.sub(b)),
        [Value::Set(a), Value::Set(b)] => set(a.iter().filter(|item| !b.contains(item)).cloned()),
        _ => Value::Undefined,
    })
}

pub(super) fn times(operands: &[Value]) -> Answer {
    Ok(match operands {
        [Value::Number(a), Value::Number(b)] => number(a.mul(b)),
        _ => Value::Undefined,
    })
}

pub(super) fn divide(operands: &[Value]) -> Answer {
    Ok(match operands {
        [Value::Number(a), Value::Number(b)] if b.as_f64() != Some(0.0) => {
            number(a.clone().divide(b))
        }
        _ => Value::Undefined,
    })
}

/// Of whole numbers alone.
pub(super) fn remainder(operands: &[Value]) -> Answer {
    Ok(match operands {
        [Value::Number(a), Value::Number(b)]
            if a.is_integer() && b.is_integer() && b.as_f64() != Some(0.0) =>
        {
            number(a.clone().modulo(b))
        }
        _ => Value::Undefined,
    })
}

pub(super) fn or(operands: &[Value]) -> Answer {
    Ok(match operands {
        [Value::Set(a), Value::Set(b)] => set(a.iter().chain(b.iter()).cloned()),
        _ => Value::Undefined,
    })
}

pub(super) fn and(operands: &[Value]) -> Answer {
    Ok(match operands {
        [Value::Set(a), Value::Set(b)] => set(a.iter().filter(|item| b.contains(item)).cloned()),
        _ => Value::Undefined,
    })
}

/// As OPA has it, which rounds towards zero first: `ceil(-0.5)` is 1.
pub(super) fn ceil(operands: &[Value]) -> Answer {
    Ok(match operands {
        [Value::Number(a)] if a.is_integer() => operands[0].clone(),
        [Value::Number(a)] => a.as_f64().map_or(Value::Undefined, |a| Value::from(a.trunc() + 1.0)),
        _ => Value::Undefined,
    })
}

/// As OPA has it, which rounds towards zero: `floor(-0.5)` is 0.
pub(super) fn floor(operands: &[Value]) -> Answer {
    Ok(match operands {
        [Value::Number(a)] if a.is_integer() => operands[0].clone(),
        [Value::Number(a)] => a.as_f64().map_or(Value::Undefined, |a| Value::from(a.trunc())),
        _ => Value::Undefined,
    })
}

/// From the first to the second number, whichever way that goes.
pub(super) fn range(operands: &[Value]) -> Answer {
    let [from, to] = operands else { return Ok(Value::Undefined) };
    let (Ok(from), Ok(to)) = (from.as_i64(), to.as_i64()) else { return Ok(Value::Undefined) };
    if from.abs_diff(to) >= MAX_RANGE.unsigned_abs() {
        return Err(Refused("numbers.range of more than 100,000 numbers"));
    }
    let up = from..=to;
    let down = to..=from;
    let numbers: Vec<Value> = if from <= to {
        up.map(Value::from).collect()
    } else {
        down.rev().map(Value::from).collect()
    };
    Ok(Value::from(numbers))
}

/// Text must be a JSON number, without blanks around it.
pub(super) fn to_number(operands: &[Value]) -> Answer {
    Ok(match operands {
        [Value::Null] => Value::from(0),
        [Value::Bool(flag)] => Value::from(i64::from(*flag)),
        [number @ Value::Number(_)] => number.clone(),
        [Value::String(text)] => {
            let plain = text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
                && text.ends_with(|c: char| c.is_ascii_digit());
            match Value::from_json_str(text) {
                Ok(number @ Value::Number(_)) if plain => number,
                _ => Value::Undefined,
            }
        }
        _ => Value::Undefined,
    })
}

fn number<N: Into<Value>, E>(result: Result<N, E>) -> Value {
    result.map_or(Value::Undefined, Into::into)
}

fn set(items: impl Iterator<Item = Value>) -> Value {
    Value::from(items.collect::<std::collections::BTreeSet<_>>())
}

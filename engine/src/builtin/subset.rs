//! `object.subset`, which in the engine panics on an empty array.

use regorus::Value;

use super::Refused;

/// Whether the first value holds all of the second: an object its keys with their values, an
/// array its elements side by side, a set or an array the elements of a set.
#[expect(clippy::unnecessary_wraps, reason = "the functions of the table have one type")]
pub(super) fn subset(operands: &[Value]) -> Result<Value, Refused> {
    let [whole, part] = operands else { return Ok(Value::Undefined) };
    let is_pair = matches!(
        (whole, part),
        (Value::Object(_), Value::Object(_))
            | (Value::Set(_), Value::Set(_))
            | (Value::Array(_), Value::Array(_) | Value::Set(_))
    );
    Ok(if is_pair { Value::from(holds(whole, part)) } else { Value::Undefined })
}

fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|known| is_held(known, value))),
        (Value::Set(whole), Value::Set(part)) => part.iter().all(|item| whole.contains(item)),
        (Value::Array(whole), Value::Set(part)) => part.iter().all(|item| whole.contains(item)),
        (Value::Array(whole), Value::Array(part)) => {
            part.is_empty()
                || whole.as_slice().windows(part.len()).any(|run| run == part.as_slice())
        }
        _ => false,
    }
}

/// Below a key, values of one type are compared in the same way; all others must be equal.
fn is_held(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(_), Value::Object(_))
        | (Value::Set(_), Value::Set(_))
        | (Value::Array(_), Value::Array(_)) => holds(whole, part),
        _ => whole == part,
    }
}

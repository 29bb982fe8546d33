//! Functions on text.

use regorus::Value;

use super::Refused;

type Answer = Result<Value, Refused>;

/// Character by character, without the special cases that depend on neighbours or change length.
pub(super) fn lower(operands: &[Value]) -> Answer {
    Ok(map_chars(operands, |c| c.to_lowercase().next().unwrap_or(c)))
}

/// What has no upper case of one character stays.
pub(super) fn upper(operands: &[Value]) -> Answer {
    Ok(map_chars(operands, |c| {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    }))
}

/// In characters, -1 where it is not there; of an empty text undefined.
pub(super) fn index_of(operands: &[Value]) -> Answer {
    let [Value::String(text), Value::String(part)] = operands else { return Ok(Value::Undefined) };
    if part.is_empty() {
        return Ok(Value::Undefined);
    }
    let at = text.find(part.as_ref()).map(|at| text[..at].chars().count());
    Ok(at.map_or_else(|| Value::from(-1), Value::from))
}

/// Without overlaps; an empty text stands once more often than there are characters.
pub(super) fn count(operands: &[Value]) -> Answer {
    let [Value::String(text), Value::String(part)] = operands else { return Ok(Value::Undefined) };
    let count = if part.is_empty() {
        text.chars().count() + 1
    } else {
        text.matches(part.as_ref()).count()
    };
    Ok(Value::from(count))
}

fn map_chars(operands: &[Value], change: impl Fn(char) -> char) -> Value {
    match operands {
        [Value::String(text)] => Value::from(text.chars().map(change).collect::<String>()),
        _ => Value::Undefined,
    }
}

//! The shape of `violation`: a set of objects with `msg`, `path` and optionally `patch`. Anything
//! else is a problem, never a silent pass.

use provost_model::limits::{MAX_MESSAGE_BYTES, MAX_PATCH_BYTES};
use provost_model::verdict::Problem;
use provost_model::{Code, Path, Segment};
use regorus::Value;

use crate::unit::problem;

/// One entry of `violation`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) message: String,
    pub(crate) path: Path,
    pub(crate) patch: Option<serde_json::Value>,
}

/// Reads the value of the rule.
pub(crate) fn entries(value: &Value) -> Result<Vec<Entry>, Problem> {
    match value {
        Value::Set(items) => items.iter().map(entry).collect(),
        Value::Undefined => Err(wrong("the rule violation is undefined")),
        other => Err(wrong(&format!("violation must be a set, not {}", type_name(other)))),
    }
}

/// `text`, cut at the end of a character where it is longer than what may travel.
pub(crate) fn cut(text: &str) -> String {
    if text.len() <= MAX_MESSAGE_BYTES {
        return text.to_owned();
    }
    let ellipsis = "\u{2026}";
    let mut end = MAX_MESSAGE_BYTES - ellipsis.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ellipsis}", &text[..end])
}

fn entry(value: &Value) -> Result<Entry, Problem> {
    let Value::Object(fields) = value else {
        return Err(wrong(&format!(
            "an entry of violation must be an object with msg and path, not {}",
            type_name(value)
        )));
    };
    let field = |name: &str| fields.get(&Value::from(name));
    let message = match field("msg") {
        Some(Value::String(message)) if !message.is_empty() => message.to_string(),
        Some(Value::String(_)) => return Err(wrong("msg is empty")),
        Some(other) => {
            return Err(wrong(&format!("msg must be a string, not {}", type_name(other))));
        }
        None => return Err(wrong("an entry of violation has no msg")),
    };
    let path = match field("path") {
        Some(Value::Array(segments)) => {
            Path(segments.iter().map(segment).collect::<Result<_, _>>()?)
        }
        Some(other) => {
            return Err(wrong(&format!("path must be an array, not {}", type_name(other))));
        }
        None => return Err(wrong("an entry of violation has no path")),
    };
    let patch = field("patch").map(patch).transpose()?.flatten();
    Ok(Entry { message, path, patch })
}

fn segment(value: &Value) -> Result<Segment, Problem> {
    match value {
        Value::String(key) => Ok(Segment::Key(key.to_string())),
        Value::Number(_) => value
            .as_u32()
            .map(Segment::Index)
            .map_err(|_| wrong("a number in path must be a whole number from 0")),
        other => {
            Err(wrong(&format!("path must hold strings and numbers, not {}", type_name(other))))
        }
    }
}

/// A patch that is larger than what may travel is left out: the finding stands without it.
fn patch(value: &Value) -> Result<Option<serde_json::Value>, Problem> {
    let is_operation = |item: &Value| match item {
        Value::Object(fields) => fields.get(&Value::from("op")).is_some(),
        _ => false,
    };
    let Value::Array(operations) = value else {
        return Err(wrong(&format!("patch must be an array, not {}", type_name(value))));
    };
    if !operations.iter().all(is_operation) {
        return Err(wrong("patch must hold JSON Patch operations"));
    }
    let json = serde_json::to_value(value).map_err(|_| wrong("patch has no JSON form"))?;
    Ok((json.to_string().len() <= MAX_PATCH_BYTES).then_some(json))
}

fn wrong(message: &str) -> Problem {
    problem(Code::EvalShape, message.to_owned())
}

const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Set(_) => "a set",
        Value::Object(_) => "an object",
        Value::Undefined => "undefined",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set of the given JSON values.
    fn set(items: &[&str]) -> Value {
        let items = items.iter().map(|item| Value::from_json_str(item).unwrap());
        Value::from(items.collect::<std::collections::BTreeSet<_>>())
    }

    #[test]
    fn well_formed_entries_are_read() {
        let value = set(&[
            r#"{"msg": "m", "path": ["spec", 0, "a/b"], "patch": [{"op": "remove", "path": "/a"}]}"#,
        ]);
        let entries = entries(&value).unwrap();
        assert_eq!(entries[0].path.to_pointer(), "/spec/0/a~1b");
        assert!(entries[0].patch.is_some());
        assert_eq!(super::entries(&Value::new_set()).unwrap(), []);
    }

    #[test]
    fn every_other_shape_is_a_problem() {
        let shapes = [
            Value::Undefined,
            Value::Null,
            Value::new_object(),
            Value::new_array(),
            set(&["\"text\""]),
            set(&[r#"{"path": []}"#]),
            set(&[r#"{"msg": "m"}"#]),
            set(&[r#"{"msg": "", "path": []}"#]),
            set(&[r#"{"msg": 5, "path": []}"#]),
            set(&[r#"{"msg": "m", "path": "spec"}"#]),
            set(&[r#"{"msg": "m", "path": [true]}"#]),
            set(&[r#"{"msg": "m", "path": [-1]}"#]),
            set(&[r#"{"msg": "m", "path": [0.5]}"#]),
            set(&[r#"{"msg": "m", "path": [], "patch": {}}"#]),
            set(&[r#"{"msg": "m", "path": [], "patch": [1]}"#]),
        ];
        for shape in shapes {
            assert_eq!(entries(&shape).unwrap_err().code, "EVAL_SHAPE", "{shape:?}");
        }
    }

    #[test]
    fn one_bad_entry_spoils_the_verdict() {
        let value = set(&[r#"{"msg": "m", "path": []}"#, r#"{"msg": "n"}"#]);
        assert!(entries(&value).is_err());
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let text = "\u{e9}".repeat(MAX_MESSAGE_BYTES);
        let cut = cut(&text);
        assert!(cut.len() <= MAX_MESSAGE_BYTES && cut.ends_with('\u{2026}'));
    }
}

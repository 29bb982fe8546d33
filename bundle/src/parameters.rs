//! Parameters: checked against what the policy declares, and completed with its defaults.

use std::collections::BTreeMap;

use provost_model::policy::ParameterType;
use provost_model::{ParameterSpec, PolicyMeta};
use serde_json::{Map, Value};

/// Every declared parameter: as written, else its default, else null.
#[must_use]
pub fn complete(meta: &PolicyMeta, written: &BTreeMap<String, Value>) -> Map<String, Value> {
    let value = |name: &String, spec: &ParameterSpec| {
        written.get(name).cloned().unwrap_or_else(|| spec.default.clone())
    };
    meta.parameters.iter().map(|(name, spec)| (name.clone(), value(name, spec))).collect()
}

/// The required parameters that are null or empty; with any of them the policy gives no verdict.
#[must_use]
pub fn missing(meta: &PolicyMeta, parameters: &Map<String, Value>) -> Vec<String> {
    let is_empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    };
    meta.requires.iter().filter(|name| is_empty(parameters.get(*name))).cloned().collect()
}

/// What is wrong with parameters as written, for people.
#[must_use]
pub fn check(meta: &PolicyMeta, written: &BTreeMap<String, Value>) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, value) in written {
        let Some(spec) = meta.parameters.get(name) else {
            let known: Vec<&str> = meta.parameters.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            problems.push(format!("policy {} has no parameter {name:?}; it has: {known}", meta.id));
            continue;
        };
        check_value(&format!("parameter {name}"), spec, value, &mut problems);
    }
    problems
}

/// Null fits every parameter: it means unset.
pub(crate) fn check_value(
    name: &str,
    spec: &ParameterSpec,
    value: &Value,
    problems: &mut Vec<String>,
) {
    if value.is_null() {
        return;
    }
    let fits = match spec.kind {
        ParameterType::String => value.is_string(),
        ParameterType::Integer => value.is_i64() || value.is_u64(),
        ParameterType::Number => value.is_number(),
        ParameterType::Boolean => value.is_boolean(),
        ParameterType::Array => value.is_array(),
        ParameterType::Object => value.is_object(),
    };
    if !fits {
        problems.push(format!("{name} must be of type {}", type_name(spec.kind)));
        return;
    }
    if let Some(allowed) = spec.allowed.as_ref().filter(|allowed| !allowed.contains(value)) {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        problems.push(format!("{name} must be one of {}", allowed.join(", ")));
    }
    if let (Some(items), Value::Array(values)) = (&spec.items, value) {
        for (index, value) in values.iter().enumerate() {
            check_value(&format!("{name}[{index}]"), items, value, problems);
        }
    }
    if let (Some(properties), Value::Object(map)) = (&spec.properties, value) {
        for (key, value) in map {
            match properties.get(key) {
                Some(spec) => check_value(&format!("{name}.{key}"), spec, value, problems),
                None => problems.push(format!("{name} has no field {key:?}")),
            }
        }
    }
}

const fn type_name(kind: ParameterType) -> &'static str {
    match kind {
        ParameterType::String => "string",
        ParameterType::Integer => "integer",
        ParameterType::Number => "number",
        ParameterType::Boolean => "boolean",
        ParameterType::Array => "array",
        ParameterType::Object => "object",
    }
}

//! The revision of a policy at work: one digest over all that its verdicts depend on.

use provost_model::Digest;
use serde_json::{Map, Value};

use crate::bundle::{Module, Policy};

/// Digest of the policy, the libraries it imports, and its complete parameters.
#[must_use]
pub fn revision(policy: &Policy, libraries: &[Module], parameters: &Map<String, Value>) -> Digest {
    let mut parts = vec![policy.meta.id.as_str().to_owned(), policy.module.text.to_string()];
    for library in policy.imports(libraries) {
        parts.push(library.package.clone());
        parts.push(library.text.to_string());
    }
    parts.push(canonical(&Value::Object(parameters.clone())));
    let lengths: Vec<[u8; 8]> = parts.iter().map(|p| (p.len() as u64).to_be_bytes()).collect();
    let framed: Vec<&[u8]> = lengths
        .iter()
        .zip(&parts)
        .flat_map(|(length, part)| [&length[..], part.as_bytes()])
        .collect();
    Digest::of_parts(&framed)
}

/// JSON with the names of every object sorted, so that equal values have equal text.
pub(crate) fn canonical(value: &Value) -> String {
    sorted(value).to_string()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(name, _)| *name);
            Value::Object(entries.into_iter().map(|(n, v)| (n.clone(), sorted(v))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        scalar => scalar.clone(),
    }
}

//! What would change from one bundle to another: for people, before it is published.

use std::collections::{BTreeMap, BTreeSet};

use provost_model::{Binding, BindingId, PolicyId, PolicyMeta};
use serde::Serialize;
use serde_json::Value;

use crate::bundle::{Bundle, Policy};
use crate::revision::canonical;

/// Sorted by policy, then binding.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    pub policies: Vec<PolicyChange>,
    pub bindings: Vec<BindingChange>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyChange {
    pub policy: PolicyId,
    pub change: Change,
    /// Under [`Change::Changed`]; sorted by field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BindingChange {
    pub policy: PolicyId,
    pub binding: BindingId,
    pub change: Change,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Added,
    Removed,
    Changed,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Such as `action`, `parameters.allowed`, `rules`, `library provost.lib.pods`.
    pub field: String,
    /// JSON; null where there was nothing, and where only the fact matters (`rules`).
    #[serde(skip_serializing_if = "Value::is_null")]
    pub before: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub after: Value,
}

impl Plan {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.bindings.is_empty()
    }
}

/// What is different in `new`. Without an old bundle everything is added.
#[must_use]
pub fn plan(old: Option<&Bundle>, new: &Bundle) -> Plan {
    Plan { policies: policies(old, new), bindings: bindings(old, new) }
}

fn policies(old: Option<&Bundle>, new: &Bundle) -> Vec<PolicyChange> {
    let by_id = |bundle: Option<&Bundle>| -> BTreeMap<PolicyId, Policy> {
        let policies = bundle.into_iter().flat_map(|bundle| bundle.policies.iter());
        policies.map(|policy| (policy.meta.id.clone(), policy.clone())).collect()
    };
    let compare = |before: &Policy, after: &Policy| {
        let mut differences = metadata(&before.meta, &after.meta);
        let only_comments = uncommented(&before.module.text) == uncommented(&after.module.text);
        if !only_comments {
            differences.push(fact("rules".to_owned()));
        }
        differences.extend(libraries(old, before, new, after));
        if before.tests != after.tests {
            differences.push(fact("tests".to_owned()));
        }
        let cases = |policy: &Policy| -> Vec<(String, Vec<Value>)> {
            policy.examples.iter().map(|e| (e.name.clone(), e.documents.clone())).collect()
        };
        if cases(before) != cases(after) {
            differences.push(fact("examples".to_owned()));
        }
        differences
    };
    changes(&by_id(old), &by_id(Some(new)), compare)
        .map(|(policy, change, differences)| PolicyChange { policy, change, differences })
        .collect()
}

fn bindings(old: Option<&Bundle>, new: &Bundle) -> Vec<BindingChange> {
    let by_id = |bundle: Option<&Bundle>| -> BTreeMap<(PolicyId, BindingId), Binding> {
        let bindings = bundle.into_iter().flat_map(|bundle| bundle.bindings.iter());
        bindings.map(|b| ((b.policy.clone(), b.id.clone()), b.clone())).collect()
    };
    let compare = |before: &Binding, after: &Binding| fields(&value(before), &value(after));
    changes(&by_id(old), &by_id(Some(new)), compare)
        .map(|((policy, binding), change, differences)| BindingChange {
            policy,
            binding,
            change,
            differences,
        })
        .collect()
}

/// Keys of both sides in order; equal ones are left out.
fn changes<K: Ord + Clone, V>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    compare: impl Fn(&V, &V) -> Vec<Difference>,
) -> impl Iterator<Item = (K, Change, Vec<Difference>)> {
    let keys: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        let (change, differences) = match (old.get(key), new.get(key)) {
            (None, _) => (Change::Added, Vec::new()),
            (_, None) => (Change::Removed, Vec::new()),
            (Some(before), Some(after)) => (Change::Changed, compare(before, after)),
        };
        if change != Change::Changed || !differences.is_empty() {
            found.push((key.clone(), change, differences));
        }
    }
    found.into_iter()
}

fn metadata(before: &PolicyMeta, after: &PolicyMeta) -> Vec<Difference> {
    fields(&value(before), &value(after))
}

/// Libraries that both versions import, or only one of them, with another text.
fn libraries(
    old: Option<&Bundle>,
    before: &Policy,
    new: &Bundle,
    after: &Policy,
) -> Vec<Difference> {
    let texts = |policy: &Policy, bundle: Option<&Bundle>| -> BTreeMap<String, String> {
        let libraries = bundle.map(|bundle| policy.imports(&bundle.libraries)).unwrap_or_default();
        libraries.into_iter().map(|l| (l.package.clone(), uncommented(&l.text))).collect()
    };
    let (before, after) = (texts(before, old), texts(after, Some(new)));
    let packages: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    packages
        .into_iter()
        .filter(|package| before.get(*package) != after.get(*package))
        .map(|package| fact(format!("library {package}")))
        .collect()
}

/// Objects are compared field by field, `parameters` and `match` one level deeper.
fn fields(before: &Value, after: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return differences };
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let side =
            |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
        let (old, new) = (side(before), side(after));
        if canonical(&old) == canonical(&new) {
            continue;
        }
        let nested = matches!(name.as_str(), "parameters" | "match");
        if nested && (old.is_object() || new.is_object()) {
            let object = |value: Value| {
                if value.is_object() { value } else { Value::Object(serde_json::Map::new()) }
            };
            let inner = fields(&object(old), &object(new));
            differences.extend(
                inner.into_iter().map(|d| Difference { field: format!("{name}.{}", d.field), ..d }),
            );
        } else {
            differences.push(Difference { field: name.clone(), before: old, after: new });
        }
    }
    differences
}

/// Whole comment lines say nothing to the engine, METADATA among them: it is compared as such.
fn uncommented(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.map(str::trim_end).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

const fn fact(field: String) -> Difference {
    Difference { field, before: Value::Null, after: Value::Null }
}

fn value<T: Serialize>(of: &T) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

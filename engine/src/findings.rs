//! Findings with their fingerprints, from the entries of `violation`.
//!
//! In a fingerprint's path a list element is named by what people name it by, so that a finding
//! stays the same when something else is put before it.

use provost_model::path::Segment;
use provost_model::{Finding, Fingerprint, Path, PolicyId, Subject};
use regorus::Value;

use crate::shape::{self, Entry};

/// Sorted by path and message; `object` is what the policy saw.
pub(crate) fn findings(
    policy: &PolicyId,
    subject: &Subject,
    object: &Value,
    entries: Vec<Entry>,
) -> Vec<Finding> {
    let mut named: Vec<(String, Entry)> =
        entries.into_iter().map(|entry| (named_pointer(object, &entry.path), entry)).collect();
    // Among equal paths the order of the messages' bytes is the rank.
    named.sort_by(|(a_name, a), (b_name, b)| (a_name, &a.message).cmp(&(b_name, &b.message)));
    let mut rank = 0;
    let mut before: Option<String> = None;
    let mut findings = Vec::with_capacity(named.len());
    for (name, entry) in named {
        rank = if before.as_ref() == Some(&name) { rank + 1 } else { 0 };
        findings.push(Finding {
            fingerprint: Fingerprint::new(policy, subject, &name, rank),
            path: entry.path,
            message: shape::cut(&entry.message),
            patch: entry.patch,
            line: None,
        });
        before = Some(name);
    }
    findings.sort_by(|a, b| (&a.path, &a.message).cmp(&(&b.path, &b.message)));
    findings
}

/// The path as a JSON Pointer whose list elements are named where they can be.
fn named_pointer(object: &Value, path: &Path) -> String {
    let mut pointer = String::new();
    let mut here = Some(object);
    let mut list = "";
    for segment in &path.0 {
        let token = match (segment, here) {
            (Segment::Index(index), Some(Value::Array(items))) => {
                element_name(items.as_slice(), *index, list).unwrap_or_else(|| index.to_string())
            }
            (Segment::Index(index), _) => index.to_string(),
            (Segment::Key(key), _) => key.clone(),
        };
        pointer.push('/');
        pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
        here = here.and_then(|value| child(value, segment));
        if let Segment::Key(key) = segment {
            list = key;
        }
    }
    pointer
}

fn child<'a>(value: &'a Value, segment: &Segment) -> Option<&'a Value> {
    match (value, segment) {
        (Value::Object(fields), Segment::Key(key)) => fields.get(&Value::from(key.as_str())),
        (Value::Array(items), Segment::Index(index)) => items.get(usize::try_from(*index).ok()?),
        _ => None,
    }
}

/// `[name=web]` where the name is the element's alone; in lists of ports and mounts, whose
/// elements often have no name of their own, by port or mount path.
fn element_name(items: &[Value], index: u32, list: &str) -> Option<String> {
    let keys: &[&str] = match list {
        "ports" => &["name", "containerPort", "port"],
        "volumeMounts" => &["name", "mountPath"],
        _ => &["name"],
    };
    let element = items.get(usize::try_from(index).ok()?)?;
    keys.iter().find_map(|key| {
        let value = scalar(element, key)?;
        let unique = items.iter().filter(|item| scalar(item, key) == Some(value)).count() == 1;
        let text = match value {
            Value::String(text) => text.to_string(),
            number => number.to_string(),
        };
        unique.then(|| format!("[{key}={text}]"))
    })
}

/// A name must be text; a port may be a number.
fn scalar<'a>(item: &'a Value, key: &str) -> Option<&'a Value> {
    let Value::Object(fields) = item else { return None };
    match fields.get(&Value::from(key))? {
        text @ Value::String(_) => Some(text),
        number @ Value::Number(_) if key != "name" => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use provost_model::ResourceRef;

    fn pointer(object: &serde_json::Value, path: &str) -> String {
        named_pointer(&object.clone().into(), &Path::from_pointer(path).unwrap())
    }

    #[test]
    fn list_elements_are_named_where_they_can_be() {
        let object = serde_json::json!({"spec": {
            "containers": [
                {"name": "web", "ports": [
                    {"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"},
                    {"containerPort": 53}, {"name": "m", "containerPort": 9}],
                 "volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}]},
                {"name": "twin"}, {"name": "twin"}, {}],
            "ports": [{"port": 443}],
            "names": [{"containerPort": 1}]}});
        for (path, expected) in [
            ("/spec/containers/0/image", "/spec/containers/[name=web]/image"),
            ("/spec/containers/1", "/spec/containers/1"),
            ("/spec/containers/3/a~1b", "/spec/containers/3/a~1b"),
            ("/spec/containers/9/x", "/spec/containers/9/x"),
            ("/spec/containers/0/ports/0", "/spec/containers/[name=web]/ports/[containerPort=80]"),
            ("/spec/containers/0/ports/1", "/spec/containers/[name=web]/ports/1"),
            ("/spec/containers/0/ports/3", "/spec/containers/[name=web]/ports/[name=m]"),
            (
                "/spec/containers/0/volumeMounts/1",
                "/spec/containers/[name=web]/volumeMounts/[mountPath=~1b]",
            ),
            ("/spec/ports/0/nodePort", "/spec/ports/[port=443]/nodePort"),
            ("/spec/names/0", "/spec/names/0"),
            ("/spec/missing/deep/0", "/spec/missing/deep/0"),
        ] {
            assert_eq!(pointer(&object, path), expected);
        }
    }

    #[test]
    fn rank_is_by_message_among_equal_paths() {
        let policy: PolicyId = "p".parse().unwrap();
        let subject = Subject::Kubernetes(ResourceRef {
            group: String::new(),
            kind: "Pod".to_owned(),
            namespace: "n".to_owned(),
            name: "x".to_owned(),
        });
        let entry = |path: &str, message: &str| Entry {
            message: message.to_owned(),
            path: Path::from_pointer(path).unwrap(),
            patch: None,
        };
        let entries = vec![entry("/b", "z"), entry("/a", "z"), entry("/a", "a")];
        let found = findings(&policy, &subject, &Value::new_object(), entries);
        let expected = [("/a", "a", 0), ("/a", "z", 1), ("/b", "z", 0)];
        assert_eq!(found.len(), expected.len());
        for (finding, (path, message, rank)) in found.iter().zip(expected) {
            assert_eq!(
                (finding.path.to_pointer().as_str(), finding.message.as_str()),
                (path, message)
            );
            assert_eq!(finding.fingerprint, Fingerprint::new(&policy, &subject, path, rank));
        }
    }
}

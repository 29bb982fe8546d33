//! The one function that builds a policy's input, the same at every checkpoint, and the removal
//! of what no policy may see.
//!
//! Invariant: no managedFields, no last-applied annotation and no value of a Secret's `data` or
//! `stringData` reaches a policy, so that none can reach a message.

use std::collections::BTreeMap;

use provost_model::Labels;
use regorus::Value;
use serde::{Deserialize, Serialize};

use crate::object::Object;
use crate::review::Review;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The cluster that objects are evaluated for, as `input.cluster` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Empty where it is not known: files belong to no cluster yet.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Granted labels; they also decide which bindings are in force.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Kubernetes version such as `1.33`. Unset means the newest known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Cluster {
    pub(crate) fn to_value(&self) -> Value {
        let labels = self.labels.iter().map(|(k, v)| (k.as_str(), Value::from(v.as_str())));
        let mut fields = vec![("labels", map(labels))];
        if !self.id.is_empty() {
            fields.push(("id", Value::from(self.id.as_str())));
        }
        if let Some(version) = &self.version {
            fields.push(("version", Value::from(version.as_str())));
        }
        map(fields)
    }
}

/// The whole input as a policy sees it, for people and for comparison with other engines.
#[must_use]
pub fn policy_input(
    review: &Review,
    parameters: &serde_json::Map<String, serde_json::Value>,
    cluster: &Cluster,
) -> serde_json::Value {
    let parameters = serde_json::Value::Object(parameters.clone()).into();
    let input = build(&self::review(review), &parameters, &cluster.to_value());
    serde_json::to_value(input).unwrap_or_default()
}

/// `input.review`, shared by every binding that looks at the subject.
pub(crate) fn review(review: &Review) -> Value {
    let Review {
        object,
        gvk,
        name,
        namespace,
        checkpoint: _,
        operation,
        old_object,
        user_info,
        namespace_object,
    } = review;
    let text = |text: &str| Value::from(text);
    let kind = map([
        ("group", text(&gvk.group)),
        ("version", text(&gvk.version)),
        ("kind", text(&gvk.kind)),
    ]);
    let mut fields = vec![
        ("object", visible(object.clone()).into_value()),
        ("kind", kind),
        ("name", text(name)),
        ("namespace", text(namespace)),
    ];
    if let Some(operation) = operation {
        fields.push(("operation", text(operation)));
    }
    let beside = [
        ("oldObject", old_object.clone().map(visible)),
        ("userInfo", user_info.clone()),
        ("namespaceObject", namespace_object.clone().map(visible)),
    ];
    for (name, object) in beside {
        fields.extend(object.map(|object| (name, object.into_value())));
    }
    map(fields)
}

/// The whole input of one binding. `review`, `parameters` and `cluster` are shared, not copied.
pub(crate) fn build(review: &Value, parameters: &Value, cluster: &Value) -> Value {
    map([
        ("review", review.clone()),
        ("parameters", parameters.clone()),
        ("cluster", cluster.clone()),
    ])
}

/// The object without what no policy may see.
pub(crate) fn visible(object: Object) -> Object {
    let secret = object.gvk().is_some_and(|gvk| gvk.group.is_empty() && gvk.kind == "Secret");
    let noisy = object.has(&["metadata", "managedFields"])
        || object.has(&["metadata", "annotations", LAST_APPLIED]);
    if !secret && !noisy {
        return object;
    }
    let mut value = object.into_value();
    if let Ok(root) = value.as_object_mut() {
        if let Some(metadata) = root.get_mut(&Value::from("metadata")) {
            strip_metadata(metadata);
        }
        if secret {
            for field in ["data", "stringData"] {
                root.get_mut(&Value::from(field)).into_iter().for_each(blank);
            }
        }
    }
    Object::from_value(value)
}

fn strip_metadata(metadata: &mut Value) {
    let Ok(metadata) = metadata.as_object_mut() else { return };
    metadata.remove(&Value::from("managedFields"));
    let annotations = metadata.get_mut(&Value::from("annotations"));
    if let Some(Ok(annotations)) = annotations.map(Value::as_object_mut) {
        annotations.remove(&Value::from(LAST_APPLIED));
    }
}

/// Keys stay; what is no map has no keys to keep.
fn blank(data: &mut Value) {
    match data {
        Value::Null => {}
        Value::Object(fields) => {
            let keys = fields.keys().map(|key| (key.clone(), Value::from("")));
            *data = Value::from(keys.collect::<BTreeMap<_, _>>());
        }
        other => *other = Value::from(""),
    }
}

fn map<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let fields = fields.into_iter().map(|(key, value)| (Value::from(key), value));
    Value::from(fields.collect::<BTreeMap<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use provost_model::policy::Checkpoint;
    use serde_json::json;

    fn seen(object: serde_json::Value) -> serde_json::Value {
        serde_json::to_value(visible(object.into())).unwrap()
    }

    #[test]
    fn values_of_secrets_are_blanked_and_keys_stay() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "data": {"password": "aHVudGVyMg=="}, "stringData": {"token": "t", "n": {"a": 1}}});
        let expected = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "data": {"password": ""}, "stringData": {"token": "", "n": ""}});
        assert_eq!(seen(secret), expected);
        let odd =
            json!({"apiVersion": "v1", "kind": "Secret", "data": "hunter2", "stringData": null});
        assert_eq!(seen(odd)["data"], "");
    }

    #[test]
    fn another_kind_of_the_same_name_keeps_its_data() {
        let other = json!({"apiVersion": "example.org/v1", "kind": "Secret", "data": {"a": "b"}});
        assert_eq!(seen(other.clone()), other);
    }

    #[test]
    fn bookkeeping_is_removed() {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p",
            "managedFields": [{}], "annotations": {LAST_APPLIED: "{}", "a": "b"}}});
        let expected = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "annotations": {"a": "b"}}});
        assert_eq!(seen(object), expected);
    }

    #[test]
    fn the_input_has_every_documented_field() {
        let object: Object =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}})
                .into();
        let mut asked = Review::of(object, Checkpoint::Deploy).unwrap();
        asked.namespace = "shop".to_owned();
        asked.operation = Some("UPDATE".to_owned());
        asked.old_object =
            Some(json!({"apiVersion": "v1", "kind": "Secret", "data": {"k": "v"}}).into());
        asked.user_info = Some(json!({"username": "eve"}).into());
        asked.namespace_object = Some(json!({"metadata": {"labels": {"a": "b"}}}).into());
        let cluster = Cluster { id: "c1".to_owned(), version: None, labels: Labels::new() };
        let input = build(&review(&asked), &Value::new_object(), &cluster.to_value());
        let expected = json!({
            "review": {
                "object": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}},
                "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                "name": "d", "namespace": "shop", "operation": "UPDATE",
                "oldObject": {"apiVersion": "v1", "kind": "Secret", "data": {"k": ""}},
                "userInfo": {"username": "eve"},
                "namespaceObject": {"metadata": {"labels": {"a": "b"}}},
            },
            "parameters": {}, "cluster": {"id": "c1", "labels": {}},
        });
        assert_eq!(serde_json::to_value(input).unwrap(), expected);
    }
}

//! A Kubernetes object as the engine sees it: deserialized straight into the engine's own value,
//! once, so that no second tree is built on the way.
//!
//! Invariants: strings are the only map keys; numbers are finite; nesting is at most
//! [`MAX_DEPTH`], so that no walk over a value, ours or the interpreter's, can exhaust a stack.
//! An `Object` is as it was written; what a policy may not see is removed in `input`, not here.

use std::collections::BTreeMap;
use std::fmt;

use provost_model::subject::{Controller, Gvk};
use provost_model::{Digest, Labels};
use regorus::Value;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::input;

/// Deepest nesting of maps and lists. The API server's own decoders stop near 10,000, but no
/// served kind nests deeper than about 60 (a CustomResourceDefinition's schema).
pub const MAX_DEPTH: usize = 128;

/// A whole object, or one of the values that travel beside it (`userInfo`). Cloning is cheap.
#[derive(Clone, PartialEq, Eq)]
pub struct Object(Value);

/// The bytes are no object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
}

impl Object {
    /// From JSON text. Of a key that stands twice the last value counts, as in the API server.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The text at `path`, such as `["metadata", "name"]`; none where it is missing or no string.
    #[must_use]
    pub fn str(&self, path: &[&str]) -> Option<&str> {
        match self.at(path)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether something other than null stands at `path`.
    #[must_use]
    pub fn has(&self, path: &[&str]) -> bool {
        self.at(path).is_some_and(|value| *value != Value::Null)
    }

    /// What stands at `path`, as a value of its own.
    #[must_use]
    pub fn get(&self, path: &[&str]) -> Option<Object> {
        self.at(path).cloned().map(Object)
    }

    /// Group, version and kind; none unless both `apiVersion` and `kind` are non-empty strings.
    #[must_use]
    pub fn gvk(&self) -> Option<Gvk> {
        let (api_version, kind) = (self.str(&["apiVersion"])?, self.str(&["kind"])?);
        let named = !api_version.is_empty() && !kind.is_empty();
        named.then(|| Gvk::from_api_version(api_version, kind))
    }

    /// `metadata.name`; empty where there is none.
    #[must_use]
    pub fn name(&self) -> &str {
        self.str(&["metadata", "name"]).unwrap_or_default()
    }

    /// `metadata.namespace`; empty where there is none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.str(&["metadata", "namespace"]).unwrap_or_default()
    }

    #[must_use]
    pub fn uid(&self) -> &str {
        self.str(&["metadata", "uid"]).unwrap_or_default()
    }

    #[must_use]
    pub fn resource_version(&self) -> &str {
        self.str(&["metadata", "resourceVersion"]).unwrap_or_default()
    }

    /// `metadata.labels`; values that are no strings are left out.
    #[must_use]
    pub fn labels(&self) -> Labels {
        self.strings(&["metadata", "labels"])
    }

    /// `metadata.annotations`; values that are no strings are left out.
    #[must_use]
    pub fn annotations(&self) -> Labels {
        self.strings(&["metadata", "annotations"])
    }

    /// The owner reference with `controller: true`.
    #[must_use]
    pub fn controller(&self) -> Option<Controller> {
        let Value::Array(owners) = self.at(&["metadata", "ownerReferences"])? else { return None };
        owners.iter().map(|owner| Object(owner.clone())).find_map(|owner| {
            let controls = owner.at(&["controller"]) == Some(&Value::Bool(true));
            let gvk = controls.then(|| owner.gvk()).flatten()?;
            let name = owner.str(&["name"])?.to_owned();
            Some(Controller { group: gvk.group, kind: gvk.kind, name })
        })
    }

    /// Sets `metadata.namespace` where none is written; never replaces one.
    pub fn fill_namespace(&mut self, namespace: &str) {
        if !self.namespace().is_empty() {
            return;
        }
        let Ok(root) = self.0.as_object_mut() else { return };
        let metadata = root.get_or_insert_with(Value::from("metadata"), Value::new_object);
        if let Ok(metadata) = metadata.as_object_mut() {
            metadata.insert(Value::from("namespace"), Value::from(namespace));
        }
    }

    /// Fills in `apiVersion` and `kind` where they are missing, as they are in the items of a list.
    pub fn set_type(&mut self, api_version: &str, kind: &str) {
        if self.gvk().is_some() {
            return;
        }
        if let Ok(root) = self.0.as_object_mut() {
            root.insert(Value::from("apiVersion"), Value::from(api_version));
            root.insert(Value::from("kind"), Value::from(kind));
        }
    }

    /// SHA-256 of the RFC 8785 form of what a policy would see of the object, so that no digest
    /// of a secret's values exists.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(canonical::json(&input::visible(self.clone()).0).as_bytes())
    }

    pub(crate) const fn value(&self) -> &Value {
        &self.0
    }

    pub(crate) fn into_value(self) -> Value {
        self.0
    }

    pub(crate) const fn from_value(value: Value) -> Self {
        Self(value)
    }

    fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.0, |value, key| match value {
            Value::Object(fields) => fields.get(&Value::from(*key)),
            _ => None,
        })
    }

    fn strings(&self, path: &[&str]) -> Labels {
        let Some(Value::Object(fields)) = self.at(path) else { return Labels::new() };
        fields
            .iter()
            .filter_map(|(key, value)| match (key, value) {
                (Value::String(key), Value::String(value)) => {
                    Some((key.to_string(), value.to_string()))
                }
                _ => None,
            })
            .collect()
    }
}

impl From<serde_json::Value> for Object {
    fn from(value: serde_json::Value) -> Self {
        Self(value.into())
    }
}

/// Shows nothing of the content: it may be a secret's.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.str(&["kind"]).unwrap_or("?");
        write!(f, "Object({kind} {}/{})", self.namespace(), self.name())
    }
}

impl Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Bounded { depth: 0 }.deserialize(deserializer).map(Self)
    }
}

/// Builds a value, counting how deep it is.
#[derive(Clone, Copy)]
struct Bounded {
    depth: usize,
}

impl Bounded {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Bounded {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        self.deserialize(inner)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        if !value.is_finite() {
            return Err(E::custom("a number that is not finite has no JSON form"));
        }
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::from(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = BTreeMap::new();
        while let Some(key) = entries.next_key::<std::borrow::Cow<'de, str>>()? {
            map.insert(Value::String(key.into()), entries.next_value_seed(inner)?);
        }
        Ok(Value::from(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Object {
        Object::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn reads_what_identifies_an_object() {
        let object = object(
            r#"{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"w","namespace":"s",
            "labels":{"a":"b","n":1},"ownerReferences":[
              {"apiVersion":"v1","kind":"Node","name":"x"},
              {"apiVersion":"apps/v1","kind":"Deployment","name":"d","controller":true}]}}"#,
        );
        assert_eq!(object.gvk().unwrap().group, "apps");
        assert_eq!((object.namespace(), object.name()), ("s", "w"));
        assert_eq!(object.labels().len(), 1);
        assert_eq!(object.controller().unwrap().kind, "Deployment");
    }

    #[test]
    fn a_namespace_is_filled_but_never_replaced() {
        let mut written = object(r#"{"metadata":{"name":"w","namespace":"s"}}"#);
        written.fill_namespace("other");
        assert_eq!(written.namespace(), "s");
        let mut bare = object("{}");
        bare.fill_namespace("other");
        assert_eq!(bare.namespace(), "other");
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |levels: usize| serde_json::from_value::<Object>(nest(levels));
        assert!(nested(MAX_DEPTH).is_ok());
        assert!(nested(MAX_DEPTH + 1).unwrap_err().to_string().contains("128 levels"));
    }

    fn nest(levels: usize) -> serde_json::Value {
        (0..levels).fold(serde_json::Value::Null, |inner, _| serde_json::json!([inner]))
    }

    #[test]
    fn debug_shows_no_content() {
        let secret = object(r#"{"kind":"Secret","metadata":{"name":"n"},"data":{"k":"czNjcmV0"}}"#);
        assert_eq!(format!("{secret:?}"), "Object(Secret /n)");
    }
}

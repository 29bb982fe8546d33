//! One object as the API server sends it, read straight into the engine's value.
//!
//! kube wants metadata of its own to follow a watch; only the four fields that it uses are copied.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope};
use provost_engine::Object;
use serde::{Deserialize, Deserializer};

#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub object: Object,
    meta: ObjectMeta,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize(deserializer)?;
        let text = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
        let meta = ObjectMeta {
            name: text(object.name()),
            namespace: text(object.namespace()),
            uid: text(object.uid()),
            resource_version: text(object.resource_version()),
            ..ObjectMeta::default()
        };
        Ok(Self { object, meta })
    }
}

impl Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

//! What one test run puts into a cluster: objects under a label of its own.
//!
//! A cluster may be shared with others: only what carries the label is compared, changed or removed, and
//! a webhook of a test is asked about nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::discovery::{ApiCapabilities, ApiResource, Discovery, Scope, verbs};
use kube::{Api, Client};
use serde_json::{Value, json};

use provost_model::subject::ResourceRef;

use crate::available;

/// Its value is the id of the run.
pub const LABEL: &str = "test.provost.dev/run";
const GONE_WITHIN: Duration = Duration::from_secs(120);

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is there, under the label.
    Yes,
    /// The API server has no such kind.
    NotServed,
    /// Somebody else's object has the name.
    Taken,
    Refused(String),
}

pub struct Run {
    pub id: String,
    kube: Client,
    discovery: Discovery,
}

impl Run {
    pub async fn new(kube: Client) -> anyhow::Result<Self> {
        let discovery = Discovery::new(kube.clone()).run().await.context("discovery")?;
        let id = format!("{:016x}", rand::random::<u64>());
        Ok(Self { id, kube, discovery })
    }

    /// What selects the objects of this run.
    #[must_use]
    pub fn selector(&self) -> Value {
        json!({"matchLabels": {LABEL: self.id}})
    }

    pub fn mark(&self, object: &mut Value) {
        object["metadata"]["labels"][LABEL] = Value::from(self.id.as_str());
    }

    /// Made where it is not there yet; one that others made stays as it is.
    pub async fn namespace(&self, name: &str) -> anyhow::Result<()> {
        if name.is_empty() {
            return Ok(());
        }
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        match self.apply("", "v1", "Namespace", "", namespace).await? {
            Applied::Yes | Applied::Taken => Ok(()),
            other => anyhow::bail!("namespace {name}: {other:?}"),
        }
    }

    /// None where the kind is not served.
    #[must_use]
    pub fn api(
        &self,
        group: &str,
        version: &str,
        kind: &str,
        namespace: &str,
    ) -> Option<Api<DynamicObject>> {
        let gvk = kube::core::GroupVersionKind::gvk(group, version, kind);
        let (served, capabilities) = self.discovery.resolve_gvk(&gvk)?;
        Some(if capabilities.scope == Scope::Namespaced {
            Api::namespaced_with(self.kube.clone(), namespace, &served)
        } else {
            Api::all_with(self.kube.clone(), &served)
        })
    }

    /// Creates the object under the label. A namespace of this run takes what its manifest says.
    pub async fn apply(
        &self,
        group: &str,
        version: &str,
        kind: &str,
        namespace: &str,
        mut object: Value,
    ) -> anyhow::Result<Applied> {
        let Some(api) = self.api(group, version, kind, namespace) else {
            return Ok(Applied::NotServed);
        };
        self.mark(&mut object);
        let typed: DynamicObject = serde_json::from_value(object.clone()).context("an object")?;
        let name = typed.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &typed).await {
            Ok(_) => Ok(Applied::Yes),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let there = api.get(&name).await.context("what is there")?;
                if kind != "Namespace" || !self.is_ours(&there) {
                    return Ok(Applied::Taken);
                }
                let patch = Patch::Merge(&object);
                api.patch(&name, &PatchParams::default(), &patch).await.context("its manifest")?;
                Ok(Applied::Yes)
            }
            Err(kube::Error::Api(status)) => Ok(Applied::Refused(status.message.clone())),
            Err(error) => Err(error.into()),
        }
    }

    fn is_ours(&self, object: &DynamicObject) -> bool {
        object
            .metadata
            .labels
            .iter()
            .flatten()
            .any(|(key, value)| key == LABEL && *value == self.id)
    }

    /// Everything in the cluster that carries the label.
    pub async fn labelled(&self) -> anyhow::Result<BTreeSet<ResourceRef>> {
        let mut found = BTreeSet::new();
        for (served, object) in self.objects().await? {
            let metadata = object.metadata;
            found.insert(ResourceRef {
                group: served.group,
                kind: served.kind,
                namespace: metadata.namespace.unwrap_or_default(),
                name: metadata.name.unwrap_or_default(),
            });
        }
        Ok(found)
    }

    async fn objects(&self) -> anyhow::Result<Vec<(ApiResource, DynamicObject)>> {
        let selected = ListParams::default().labels(&format!("{LABEL}={}", self.id));
        let mut found = Vec::new();
        for (served, _) in self.kinds() {
            let api: Api<DynamicObject> = Api::all_with(self.kube.clone(), &served);
            let list = api.list(&selected).await.with_context(|| served.kind.clone())?;
            found.extend(list.items.into_iter().map(|object| (served.clone(), object)));
        }
        Ok(found)
    }

    /// Each kind once: in its group's preferred version, and in no group that only shows others'.
    fn kinds(&self) -> Vec<(ApiResource, ApiCapabilities)> {
        let groups = self.discovery.groups();
        let kinds = groups.flat_map(kube::discovery::ApiGroup::recommended_resources);
        let listed = kinds.filter(|(served, capabilities)| {
            capabilities.supports_operation(verbs::LIST)
                && capabilities.supports_operation(verbs::DELETE)
                && !(served.group.is_empty() && served.kind == "Event")
        });
        listed.collect()
    }

    /// Removes all of it. Only a shared cluster needs that; namespaces go last and with what is in
    /// them, and are waited for, so that the next run finds its names free.
    pub async fn remove(&self) -> anyhow::Result<()> {
        let (namespaces, others): (Vec<_>, Vec<_>) =
            self.objects().await?.into_iter().partition(|(served, _)| served.kind == "Namespace");
        let background = DeleteParams::background().grace_period(0);
        for (served, object) in others.into_iter().chain(namespaces) {
            let name = object.metadata.name.unwrap_or_default();
            let api: Api<DynamicObject> = match object.metadata.namespace {
                Some(namespace) => Api::namespaced_with(self.kube.clone(), &namespace, &served),
                None => Api::all_with(self.kube.clone(), &served),
            };
            match api.delete(&name, &background).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error).context(format!("remove {} {name}", served.kind)),
            }
        }
        let gone = async {
            while !self.labelled().await?.is_empty() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(GONE_WITHIN, gone).await {
            Ok(gone) => gone,
            Err(_) => {
                // No fault of what is tested: a cluster may be slow, or run no controllers.
                available::say(&format!("still there: {:?}", self.labelled().await?));
                Ok(())
            }
        }
    }
}

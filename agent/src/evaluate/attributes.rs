//! What travels with a verdict beside its subject: a few labels, who controls and owns the object,
//! which GitOps object applied it. Nothing else of the object leaves the cluster.

use provost_engine::Object;
use provost_model::limits::MAX_SUBJECT_LABELS;
use provost_model::policy::Checkpoint;
use provost_model::subject::{Location, Source};
use provost_model::{Attributes, Digest, Labels};

/// Labels that say what an object belongs to; none that people put data into.
const ALLOWED: &[&str] = &[
    "app",
    "app.kubernetes.io/component",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/version",
    "helm.sh/chart",
    "owner",
    "team",
];
/// The first that is there names the owner.
const OWNERS: &[&str] = &["owner", "team"];

pub(super) fn of(object: &Object, digest: Digest, location: Option<Location>) -> Attributes {
    let labels = object.labels();
    let annotations = object.annotations();
    let owner = OWNERS.iter().find_map(|key| labels.get(*key).or_else(|| annotations.get(*key)));
    let resource_version = match object.resource_version() {
        "" => digest.to_string(),
        version => version.to_owned(),
    };
    Attributes {
        api_version: object.gvk().map(|gvk| gvk.api_version()).unwrap_or_default(),
        uid: object.uid().to_owned(),
        resource_version,
        controller: object.controller(),
        owner: owner.cloned().unwrap_or_default(),
        source: source(&labels, &annotations),
        labels: allowed(labels),
        location,
        ..Attributes::at(Checkpoint::Run)
    }
}

fn allowed(mut labels: Labels) -> Labels {
    labels.retain(|key, _| ALLOWED.contains(&key.as_str()));
    while labels.len() > MAX_SUBJECT_LABELS {
        labels.pop_last();
    }
    labels
}

/// As Flux and Argo CD mark what they apply.
fn source(labels: &Labels, annotations: &Labels) -> Option<Source> {
    for kind in ["kustomize", "helm"] {
        let part = |part: &str| labels.get(&format!("{kind}.toolkit.fluxcd.io/{part}"));
        if let Some(name) = part("name") {
            return Some(Source {
                tool: "flux".to_owned(),
                kind: if kind == "helm" { "HelmRelease" } else { "Kustomization" }.to_owned(),
                namespace: part("namespace").cloned().unwrap_or_default(),
                name: name.clone(),
            });
        }
    }
    // `application:group/Kind:namespace/name`, where the application may be `namespace_name`.
    let tracking = annotations.get("argocd.argoproj.io/tracking-id");
    let application = tracking
        .and_then(|id| id.split(':').next())
        .or_else(|| labels.get("argocd.argoproj.io/instance").map(String::as_str))?;
    let (namespace, name) = application.split_once('_').unwrap_or(("", application));
    Some(Source {
        tool: "argocd".to_owned(),
        kind: "Application".to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attributes(metadata: &serde_json::Value) -> Attributes {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata});
        let object = Object::from_json(&serde_json::to_vec(&object).unwrap()).unwrap();
        of(&object, Digest::of(b"x"), None)
    }

    #[test]
    fn only_labels_of_the_list_travel() {
        let found = attributes(
            &json!({"name": "a", "labels": {"team": "payments", "password": "hunter2"}}),
        );
        assert_eq!(found.labels.keys().collect::<Vec<_>>(), ["team"]);
        assert_eq!(found.owner, "payments");
        assert_eq!(found.resource_version, Digest::of(b"x").to_string());
    }

    #[test]
    fn gitops_marks_are_read() {
        let flux = attributes(&json!({"name": "a", "labels": {
            "kustomize.toolkit.fluxcd.io/name": "apps",
            "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        }}));
        assert_eq!(flux.source.unwrap().name, "apps");
        let argo = attributes(&json!({"name": "a", "annotations": {
            "argocd.argoproj.io/tracking-id": "argo_shop:apps/Deployment:shop/a",
        }}));
        let argo = argo.source.unwrap();
        assert_eq!((argo.namespace.as_str(), argo.name.as_str()), ("argo", "shop"));
    }
}

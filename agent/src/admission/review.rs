//! What the API server asks, read straight into the engine's value.

use provost_engine::{Object, Review};
use provost_model::policy::Checkpoint;
use provost_model::subject::Gvk;
use serde::Deserialize;

/// The part of an `AdmissionReview` that decides something; what else it says is not read.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(rename = "apiVersion")]
    api_version: String,
    request: Request,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request {
    pub uid: String,
    kind: Gvk,
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    operation: String,
    #[serde(default)]
    user_info: Option<Object>,
    #[serde(default)]
    object: Option<Object>,
    #[serde(default)]
    old_object: Option<Object>,
    #[serde(default)]
    dry_run: bool,
}

/// What a record needs and a review does not say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub operation: String,
    pub user: String,
    pub dry_run: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("apiVersion is {0:?}, expected admission.k8s.io/v1")]
    Version(String),
}

pub(super) fn parse(body: &[u8]) -> Result<Request, Error> {
    let envelope: Envelope = serde_json::from_slice(body)?;
    if envelope.api_version != "admission.k8s.io/v1" {
        return Err(Error::Version(envelope.api_version));
    }
    Ok(envelope.request)
}

impl Request {
    /// None where there is nothing to judge: no object (DELETE, CONNECT), or one that is on its way
    /// out, whose finalizers must be removable whatever the policies say.
    pub fn into_review(self) -> Option<(Review, Context)> {
        let object =
            self.object.filter(|object| !object.has(&["metadata", "deletionTimestamp"]))?;
        let written = |field: &str, own: &str| {
            if field.is_empty() { own.to_owned() } else { field.to_owned() }
        };
        let user =
            self.user_info.as_ref().and_then(|info| info.str(&["username"])).unwrap_or_default();
        let context = Context {
            operation: self.operation.clone(),
            user: user.to_owned(),
            dry_run: self.dry_run,
        };
        let review = Review {
            name: written(object.name(), &self.name),
            namespace: written(&self.namespace, object.namespace()),
            // The kind of the object, not of the request: for a subresource the two can differ.
            gvk: object.gvk().unwrap_or(self.kind),
            object,
            checkpoint: Checkpoint::Deploy,
            operation: Some(self.operation),
            old_object: self.old_object,
            user_info: self.user_info,
            namespace_object: None,
        };
        Some((review, context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn request(extra: &Value) -> Vec<u8> {
        let mut request = json!({
            "uid": "1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "name": "",
            "namespace": "shop",
            "operation": "CREATE",
            "userInfo": {"username": "ada", "groups": ["dev"]},
            "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-"}},
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions"},
        });
        for (key, value) in extra.as_object().unwrap() {
            request[key] = value.clone();
        }
        serde_json::to_vec(&json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})).unwrap()
    }

    #[test]
    fn a_review_takes_its_namespace_from_the_request() {
        let (review, context) = parse(&request(&json!({}))).unwrap().into_review().unwrap();
        assert_eq!((review.namespace.as_str(), review.gvk.kind.as_str()), ("shop", "Pod"));
        assert_eq!(
            context,
            Context { operation: "CREATE".into(), user: "ada".into(), dry_run: false }
        );
        assert_eq!(review.operation.as_deref(), Some("CREATE"));
    }

    #[test]
    fn what_goes_away_is_not_judged() {
        let gone = request(
            &json!({"operation": "DELETE", "object": null, "oldObject": {"kind": "Pod", "apiVersion": "v1"}}),
        );
        assert!(parse(&gone).unwrap().into_review().is_none());
        let going = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert!(
            parse(&request(&json!({"operation": "UPDATE", "object": going})))
                .unwrap()
                .into_review()
                .is_none()
        );
    }

    #[test]
    fn other_versions_and_other_documents_are_refused() {
        assert!(matches!(parse(b"{}"), Err(Error::Json(_))));
        assert!(matches!(parse(b"not json"), Err(Error::Json(_))));
        let beta = String::from_utf8(request(&json!({})))
            .unwrap()
            .replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
        assert!(matches!(parse(beta.as_bytes()), Err(Error::Version(_))));
    }
}

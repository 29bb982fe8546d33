//! What is evaluated: one object with what is known around it. Owned and serialisable, so that a
//! request can travel to a worker process.

use provost_model::policy::Checkpoint;
use provost_model::subject::{Gvk, ResourceRef, Subject};
use serde::{Deserialize, Serialize};

use crate::object::Object;

/// A request to evaluate one object. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    pub object: Object,
    pub gvk: Gvk,
    pub name: String,
    /// Empty for cluster-scoped objects, and where none is known.
    pub namespace: String,
    pub checkpoint: Checkpoint,
    /// Admission only: `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Admission only: the object before the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_object: Option<Object>,
    /// Admission only: who asks, as in `admission.k8s.io/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_info: Option<Object>,
    /// The Namespace that the object is in, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_object: Option<Object>,
}

impl Review {
    /// A review of an object as it stands in a file or a cluster. None unless the object says
    /// its `apiVersion` and `kind`.
    #[must_use]
    pub fn of(object: Object, checkpoint: Checkpoint) -> Option<Self> {
        Some(Self {
            gvk: object.gvk()?,
            name: object.name().to_owned(),
            namespace: object.namespace().to_owned(),
            object,
            checkpoint,
            operation: None,
            old_object: None,
            user_info: None,
            namespace_object: None,
        })
    }

    /// What the verdicts are about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject::Kubernetes(self.resource())
    }

    /// The object that the verdicts are about.
    #[must_use]
    pub fn resource(&self) -> ResourceRef {
        ResourceRef {
            group: self.gvk.group.clone(),
            kind: self.gvk.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

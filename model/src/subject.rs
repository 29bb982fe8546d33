//! What a verdict is about, and what travels with it without being its identity.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::policy::Checkpoint;

/// What a verdict is about. Within a cluster this is its whole identity: API version, uid and
/// resourceVersion are attributes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Subject {
    Kubernetes(ResourceRef),
    Terraform {
        address: String,
    },
    /// A file that is no object, by its path in the repository.
    File {
        path: String,
    },
}

/// A Kubernetes object within one cluster. Cluster-scoped objects have an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceRef {
    pub group: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

/// Group, version and kind of an object; the core group is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gvk {
    pub group: String,
    pub version: String,
    pub kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attributes {
    pub checkpoint: Checkpoint,
    #[serde(default)]
    pub api_version: String,
    /// Empty for objects from files.
    #[serde(default)]
    pub uid: String,
    /// Of the API server, or for objects from files the digest of the policy input's object.
    #[serde(default)]
    pub resource_version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<Controller>,
    #[serde(default)]
    pub owner: String,
    /// Allow-listed labels only, at most [`crate::limits::MAX_SUBJECT_LABELS`].
    #[serde(default)]
    pub labels: Labels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
}

/// The owner reference with `controller: true`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Controller {
    pub group: String,
    pub kind: String,
    pub name: String,
}

/// The GitOps object that applied the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `flux` or `argocd`.
    pub tool: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    #[serde(default)]
    pub repository: String,
    #[serde(default)]
    pub revision: String,
    pub file: String,
    /// 1-based; 0 where the whole file is meant.
    pub line: u32,
}

impl Subject {
    /// `kubernetes`, `terraform` or `file`: the type as it stands in fingerprints and JSON.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => "kubernetes",
            Self::Terraform { .. } => "terraform",
            Self::File { .. } => "file",
        }
    }

    /// The parts of the identity, in the order that fingerprints hash them.
    #[must_use]
    pub fn identity(&self) -> Vec<&str> {
        match self {
            Self::Kubernetes(r) => vec![&r.group, &r.kind, &r.namespace, &r.name],
            Self::Terraform { address } => vec![address],
            Self::File { path } => vec![path],
        }
    }
}

impl Attributes {
    #[must_use]
    pub fn at(checkpoint: Checkpoint) -> Self {
        Self {
            checkpoint,
            api_version: String::new(),
            uid: String::new(),
            resource_version: String::new(),
            controller: None,
            owner: String::new(),
            labels: Labels::new(),
            source: None,
            location: None,
        }
    }
}

impl Gvk {
    /// From `apiVersion` (`apps/v1`, or `v1` for the core group) and `kind`.
    #[must_use]
    pub fn from_api_version(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubernetes(resource) => resource.fmt(f),
            Self::Terraform { address } => f.write_str(address),
            Self::File { path } => f.write_str(path),
        }
    }
}

impl fmt::Display for ResourceRef {
    /// `Deployment.apps shop/cart`, or `Pod shop/web`; without namespace `Namespace shop`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if self.namespace.is_empty() {
            write!(f, " {}", self.name)
        } else {
            write!(f, " {}/{}", self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions_split_and_join() {
        for text in ["v1", "apps/v1", "networking.k8s.io/v1"] {
            assert_eq!(Gvk::from_api_version(text, "X").api_version(), text);
        }
        assert_eq!(Gvk::from_api_version("v1", "Pod").group, "");
    }
}

//! Which kinds belong to a namespace: the built-in kinds by table, then CRDs that are read
//! beside, else namespaced.

use std::collections::HashMap;

use crate::node::Node;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// Group, kinds of the cluster, kinds of a namespace. Kubernetes 1.33, and kinds of older versions
/// that are still found in files.
const BUILT_IN: &[(&str, &[&str], &[&str])] = &[
    (
        "",
        &["ComponentStatus", "Namespace", "Node", "PersistentVolume"],
        &[
            "Binding",
            "ConfigMap",
            "Endpoints",
            "Event",
            "LimitRange",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
        ],
    ),
    (
        "admissionregistration.k8s.io",
        &[
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "ValidatingWebhookConfiguration",
        ],
        &[],
    ),
    ("apiextensions.k8s.io", &["CustomResourceDefinition"], &[]),
    ("apiregistration.k8s.io", &["APIService"], &[]),
    ("apps", &[], &["ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]),
    ("authentication.k8s.io", &["SelfSubjectReview", "TokenReview"], &[]),
    (
        "authorization.k8s.io",
        &["SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"],
        &["LocalSubjectAccessReview"],
    ),
    ("autoscaling", &[], &["HorizontalPodAutoscaler"]),
    ("batch", &[], &["CronJob", "Job"]),
    (
        "certificates.k8s.io",
        &["CertificateSigningRequest", "ClusterTrustBundle"],
        &["PodCertificateRequest"],
    ),
    ("coordination.k8s.io", &[], &["Lease", "LeaseCandidate"]),
    ("discovery.k8s.io", &[], &["EndpointSlice"]),
    ("events.k8s.io", &[], &["Event"]),
    (
        "extensions",
        &["PodSecurityPolicy"],
        &["DaemonSet", "Deployment", "Ingress", "NetworkPolicy", "ReplicaSet"],
    ),
    ("flowcontrol.apiserver.k8s.io", &["FlowSchema", "PriorityLevelConfiguration"], &[]),
    ("internal.apiserver.k8s.io", &["StorageVersion"], &[]),
    (
        "networking.k8s.io",
        &["IPAddress", "IngressClass", "ServiceCIDR"],
        &["Ingress", "NetworkPolicy"],
    ),
    ("node.k8s.io", &["RuntimeClass"], &[]),
    ("policy", &["PodSecurityPolicy"], &["PodDisruptionBudget"]),
    ("rbac.authorization.k8s.io", &["ClusterRole", "ClusterRoleBinding"], &["Role", "RoleBinding"]),
    (
        "resource.k8s.io",
        &["DeviceClass", "DeviceTaintRule", "ResourceClass", "ResourceSlice"],
        &["ResourceClaim", "ResourceClaimTemplate"],
    ),
    ("scheduling.k8s.io", &["PriorityClass"], &["Workload"]),
    (
        "storage.k8s.io",
        &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"],
        &["CSIStorageCapacity"],
    ),
    ("storagemigration.k8s.io", &["StorageVersionMigration"], &[]),
];

/// Kinds that are asked and answered, and never stored: they need no name.
const NAMELESS: &[&str] = &["authentication.k8s.io", "authorization.k8s.io"];

#[must_use]
pub fn built_in(group: &str, kind: &str) -> Option<Scope> {
    let (_, cluster, namespaced) = BUILT_IN.iter().find(|(name, ..)| *name == group)?;
    if cluster.contains(&kind) {
        Some(Scope::Cluster)
    } else if namespaced.contains(&kind) {
        Some(Scope::Namespaced)
    } else {
        None
    }
}

#[must_use]
pub fn needs_name(group: &str) -> bool {
    !NAMELESS.contains(&group)
}

/// Scopes of kinds that CRDs define.
#[derive(Clone, Debug, Default)]
pub struct Scopes {
    defined: HashMap<(String, String), Scope>,
}

impl Scopes {
    /// Takes note of a CustomResourceDefinition.
    pub fn define(&mut self, definition: &Node) {
        let Some(spec) = definition.get("spec") else { return };
        let text = |node: Option<&Node>| node.and_then(Node::as_str).map(str::to_owned);
        let kind = spec.get("names").and_then(|names| names.get("kind"));
        if let (Some(group), Some(kind), Some(scope)) =
            (text(spec.get("group")), text(kind), text(spec.get("scope")))
        {
            let scope = if scope == "Cluster" { Scope::Cluster } else { Scope::Namespaced };
            self.defined.insert((group, kind), scope);
        }
    }

    #[must_use]
    pub fn of(&self, group: &str, kind: &str) -> Scope {
        built_in(group, kind)
            .or_else(|| self.defined.get(&(group.to_owned(), kind.to_owned())).copied())
            .unwrap_or(Scope::Namespaced)
    }
}

//! The `ValidatingWebhookConfiguration` that tells the API server to ask this agent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use provost_engine::CompiledSet;
use provost_model::KindSelector;
use provost_model::policy::{Checkpoint, FailMode};
use serde_json::{Value, json};

/// Where the API server finds the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Service { namespace: String, name: String, port: u16 },
    Url(String),
}

/// What a registration is made of.
#[derive(Clone, Debug)]
pub struct Registration {
    pub endpoint: Endpoint,
    pub ca_pem: String,
    /// Namespaces that are never asked about: the agent's own, so that it can always be mended.
    pub excluded_namespaces: Vec<String>,
}

impl Registration {
    /// As a document for `kubectl apply -f -`: JSON, which is YAML too. One webhook for the kinds
    /// of all policies; it fails closed if some binding does.
    #[must_use]
    pub fn document(&self, set: &CompiledSet) -> Value {
        let closed =
            set.policy_set().entries.iter().any(|entry| entry.fail_mode == FailMode::Closed);
        let exclusion = json!({
            "key": "kubernetes.io/metadata.name",
            "operator": "NotIn",
            "values": self.excluded_namespaces,
        });
        let rules: Vec<Value> = set.kinds(Checkpoint::Deploy).iter().map(rule).collect();
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {
                "name": "provost",
                "labels": {"app.kubernetes.io/name": "provost-agent", "app.kubernetes.io/part-of": "provost"},
            },
            "webhooks": [{
                "name": "policies.provost.dev",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "NoneOnDryRun",
                "failurePolicy": if closed { "Fail" } else { "Ignore" },
                "matchPolicy": "Equivalent",
                "timeoutSeconds": 5,
                "namespaceSelector": {"matchExpressions": [exclusion]},
                "clientConfig": self.client_config(),
                "rules": rules,
            }],
        })
    }

    fn client_config(&self) -> Value {
        let bundle = STANDARD.encode(&self.ca_pem);
        match &self.endpoint {
            Endpoint::Url(url) => json!({"url": url, "caBundle": bundle}),
            Endpoint::Service { namespace, name, port } => json!({
                "service": {"namespace": namespace, "name": name, "port": port, "path": super::PATH},
                "caBundle": bundle,
            }),
        }
    }
}

fn rule(selector: &KindSelector) -> Value {
    let mut resources: Vec<String> = selector.kinds.iter().map(|kind| plural(kind)).collect();
    if resources.iter().any(|resource| resource == "pods") {
        resources.push("pods/ephemeralcontainers".to_owned());
    }
    json!({
        "apiGroups": [selector.group],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": resources,
        "scope": "*",
    })
}

/// The resource of a kind, by the rule that Kubernetes' own kinds and most others follow.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    if lower == "*" {
        return lower;
    }
    if lower.ends_with('s') || lower.ends_with('x') || lower.ends_with("ch") {
        return format!("{lower}es");
    }
    match lower.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{lower}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_become_resources() {
        for (kind, resource) in [
            ("Pod", "pods"),
            ("Ingress", "ingresses"),
            ("NetworkPolicy", "networkpolicies"),
            ("StorageClass", "storageclasses"),
            ("Gateway", "gateways"),
            ("CronJob", "cronjobs"),
        ] {
            assert_eq!(plural(kind), resource);
        }
    }

    #[test]
    fn pods_are_asked_about_when_a_debug_container_comes_in() {
        let rule = rule(&KindSelector { group: String::new(), kinds: vec!["Pod".to_owned()] });
        assert_eq!(rule["resources"], json!(["pods", "pods/ephemeralcontainers"]));
        assert_eq!(rule["operations"], json!(["CREATE", "UPDATE"]));
    }
}

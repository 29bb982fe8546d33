//! Bindings: policies put to work, and the set of them in force on an instance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::id::{BindingId, PolicyId};
use crate::labels::{LabelSelector, Labels};
use crate::policy::{Action, FailMode, KindSelector, Severity};

/// A policy put to work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Binding {
    pub id: BindingId,
    pub policy: PolicyId,
    /// As written; the engine fills in the defaults of the policy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Unset: the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
    /// Unset: the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_mode: Option<FailMode>,
    #[serde(default, rename = "match", skip_serializing_if = "Match::is_empty")]
    pub matches: Match,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub profile: String,
}

/// What a binding covers; every part that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match {
    /// Over the cluster's granted labels.
    #[serde(default, skip_serializing_if = "LabelSelector::is_empty")]
    pub clusters: LabelSelector,
    /// Names, with `*` as the only wildcard; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Objects in these are skipped, which is an outcome of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_namespaces: Vec<String>,
    /// Narrows the policy's own kinds; empty means all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<KindSelector>,
    /// Over the object's labels.
    #[serde(default, skip_serializing_if = "LabelSelector::is_empty")]
    pub labels: LabelSelector,
}

/// All bindings in force on an instance, sorted by policy id, then binding id. Records point into it by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicySet {
    pub entries: Vec<PolicySetEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicySetEntry {
    pub policy: PolicyId,
    pub binding: BindingId,
    /// Digest of policy, imported libraries and parameters.
    pub revision: Digest,
    pub action: Action,
    pub fail_mode: FailMode,
    pub severity: Severity,
    pub scored: bool,
    pub origin: Origin,
    pub title: String,
    pub code: String,
    pub category: String,
}

/// Where a binding came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// The digest of the policy manifest.
    Bundle(Digest),
    /// The digest of the local object that made it.
    Local(Digest),
}

impl Match {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    #[must_use]
    pub fn covers_namespace(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || any_glob(&self.namespaces, namespace)
    }

    #[must_use]
    pub fn excludes_namespace(&self, namespace: &str) -> bool {
        any_glob(&self.excluded_namespaces, namespace)
    }

    #[must_use]
    pub fn covers_labels(&self, labels: &Labels) -> bool {
        self.labels.matches(labels)
    }
}

fn any_glob(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| glob(pattern.as_bytes(), text.as_bytes()))
}

/// `*` stands for any run of characters. Linear: on a mismatch only the last star moves on.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == text[t] {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            p = star_p + 1;
            t = star_t + 1;
            star = Some((star_p, t));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_know_one_wildcard() {
        for (pattern, text, expected) in [
            ("kube-*", "kube-system", true),
            ("kube-*", "my-kube-system", false),
            ("*-system", "kube-system", true),
            ("*", "", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbY", false),
            ("", "x", false),
            ("prod", "prod", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}

//! What a policy says about itself: the METADATA of its Rego file, checked.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::PolicyId;
use crate::subject::Gvk;

/// A policy's metadata with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyMeta {
    pub id: PolicyId,
    /// Code in the control catalogue, such as `R02`; empty for policies that have none.
    #[serde(default)]
    pub code: String,
    pub title: String,
    #[serde(default)]
    pub description: String,
    pub severity: Severity,
    pub category: Category,
    /// Kinds that the policy matches; never empty.
    pub kinds: Vec<KindSelector>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, ParameterSpec>,
    /// Parameters without which the policy gives no verdict.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Of the implied binding `default`.
    pub action: Action,
    pub fail_mode: FailMode,
    /// Where the policy can decide; empty means everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<Checkpoint>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<ControlRef>,
    #[serde(default)]
    pub remediation: String,
}

/// Kinds of one API group. `*` matches every group or kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindSelector {
    pub group: String,
    pub kinds: Vec<String>,
}

/// One parameter: our small subset of JSON Schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterSpec {
    #[serde(rename = "type")]
    pub kind: ParameterType,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<ParameterSpec>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, ParameterSpec>>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "enum")]
    pub allowed: Option<Vec<serde_json::Value>>,
    /// Unset is null.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub default: serde_json::Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterType {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

/// A control of a framework that the policy checks, wholly or in part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlRef {
    pub framework: String,
    pub version: String,
    pub id: String,
    pub strength: Strength,
    /// `proposed` while no control owner has confirmed the mapping.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub review: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| UnknownWord {
                    text: text.chars().take(80).collect(),
                    expected: Self::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}
pub(crate) use words;

/// A word that is none of those its type knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown word {text:?}: expected one of {expected}")]
pub struct UnknownWord {
    pub text: String,
    pub expected: String,
}

words!(
    /// How bad a violation is; ordered from least to worst.
    Severity {
        Info = "info",
        Low = "low",
        Medium = "medium",
        High = "high",
        Critical = "critical",
    }
);
words!(Category { Security = "security", Resilience = "resilience", Standards = "standards" });
words!(
    /// What a binding does about a violation. Never changes the outcome.
    Action {
        Deny = "deny",
        Warn = "warn",
        Audit = "audit",
        Off = "off",
    }
);
words!(
    /// What admission does when a policy could not be evaluated.
    FailMode {
        Open = "open",
        Closed = "closed",
    }
);
words!(
    /// Where a verdict was given.
    Checkpoint {
        Commit = "commit",
        Build = "build",
        Deploy = "deploy",
        Run = "run",
    }
);
words!(Strength { Full = "full", Partial = "partial", Supporting = "supporting", Manual = "manual" });

impl PolicyMeta {
    #[must_use]
    pub fn matches_kind(&self, gvk: &Gvk) -> bool {
        self.kinds.iter().any(|selector| selector.matches(gvk))
    }

    #[must_use]
    pub fn decides_at(&self, checkpoint: Checkpoint) -> bool {
        self.checkpoints.is_empty() || self.checkpoints.contains(&checkpoint)
    }
}

impl KindSelector {
    #[must_use]
    pub fn matches(&self, gvk: &Gvk) -> bool {
        let is = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        is(&self.group, &gvk.group) && self.kinds.iter().any(|kind| is(kind, &gvk.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_ordered_and_parse() {
        assert!(Severity::Critical > Severity::High && Severity::Low > Severity::Info);
        assert_eq!("high".parse(), Ok(Severity::High));
        let error = "hihg".parse::<Severity>().unwrap_err().to_string();
        assert!(error.contains("info, low, medium, high, critical"), "{error}");
    }

    #[test]
    fn kinds_match_by_group_and_kind() {
        let selector = KindSelector { group: String::new(), kinds: vec!["Pod".to_owned()] };
        assert!(selector.matches(&Gvk::from_api_version("v1", "Pod")));
        assert!(!selector.matches(&Gvk::from_api_version("example.org/v1", "Pod")));
        let any = KindSelector { group: "*".to_owned(), kinds: vec!["*".to_owned()] };
        assert!(any.matches(&Gvk::from_api_version("example.org/v1", "Thing")));
    }
}

//! Labels and selectors over them, with the meaning Kubernetes gives them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub type Labels = BTreeMap<String, String>;

/// All parts must hold; an empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: Labels,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl LabelSelector {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

impl LabelSelector {
    /// What is wrong with it, where Kubernetes would refuse it too.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let wrong = |requirement: &&Requirement| {
            let lists = matches!(requirement.operator, Operator::In | Operator::NotIn);
            requirement.key.is_empty() || lists == requirement.values.is_empty()
        };
        let requirement = self.match_expressions.iter().find(wrong)?;
        Some(format!(
            "the requirement on label {:?} is not valid: In and NotIn need values, Exists and DoesNotExist have none",
            requirement.key
        ))
    }
}

impl Requirement {
    /// As in Kubernetes, `NotIn` also matches where the key is missing.
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn requirement(operator: Operator, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_labels: Labels::new(),
            match_expressions: vec![Requirement {
                key: "tier".to_owned(),
                operator,
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            }],
        }
    }

    #[test]
    fn selectors_are_valid_as_in_kubernetes() {
        assert_eq!(LabelSelector::default().problem(), None);
        for (operator, values, good) in [
            (Operator::In, &["a"][..], true),
            (Operator::In, &[], false),
            (Operator::NotIn, &[], false),
            (Operator::Exists, &[], true),
            (Operator::Exists, &["a"], false),
            (Operator::DoesNotExist, &["a"], false),
        ] {
            assert_eq!(requirement(operator, values).problem().is_none(), good, "{operator:?}");
        }
    }

    #[test]
    fn selectors_mean_what_kubernetes_means() {
        let edge = labels(&[("tier", "edge")]);
        let none = Labels::new();
        assert!(LabelSelector::default().matches(&none));
        assert!(requirement(Operator::In, &["edge", "cloud"]).matches(&edge));
        assert!(!requirement(Operator::In, &["edge"]).matches(&none));
        assert!(requirement(Operator::NotIn, &["edge"]).matches(&none));
        assert!(!requirement(Operator::NotIn, &["edge"]).matches(&edge));
        assert!(requirement(Operator::Exists, &[]).matches(&edge));
        assert!(requirement(Operator::DoesNotExist, &[]).matches(&none));
    }
}

//! Which bindings apply on a cluster, and why, for people.
//!
//! Unlike [`crate::effective`], it also tells of bindings that are not in force there.

use provost_model::{Action, BindingId, Digest, FailMode, Labels, Match, PolicyId, Severity};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::bundle::{Bundle, Policy};
use crate::effective::{InForce, State, covers_everything, effective, implied};
use crate::parameters;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyExplanation {
    pub policy: PolicyId,
    pub title: String,
    pub severity: Severity,
    /// In the order of ids.
    pub bindings: Vec<BindingExplanation>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BindingExplanation {
    pub binding: BindingId,
    pub standing: Standing,
    /// One sentence.
    pub reason: String,
    pub action: Action,
    pub fail_mode: FailMode,
    #[serde(rename = "match", skip_serializing_if = "Match::is_empty")]
    pub matches: Match,
    pub parameters: Map<String, Value>,
    /// None where it is not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Digest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Gives a verdict on every subject that it matches.
    Active,
    /// Gives a verdict where no other binding of the policy matches.
    Fallback,
    /// A required parameter is null or empty.
    Inactive,
    Off,
    /// Its selector does not fit the cluster's labels.
    NotSelected,
    /// The implied binding, where another one matches every subject.
    Superseded,
}

/// Every policy of the bundle, as a cluster with these granted labels sees it.
#[must_use]
pub fn explain(bundle: &Bundle, labels: &Labels) -> Vec<PolicyExplanation> {
    let effective = effective(bundle, labels);
    let of_policy = |(index, policy): (usize, &Policy)| {
        let in_force = effective.bindings.iter().filter(|b| b.policy_index == index);
        let mut bindings: Vec<BindingExplanation> = in_force.map(in_force_explanation).collect();
        bindings.extend(not_selected(bundle, policy, labels));
        bindings.extend(superseded(bundle, policy, labels));
        bindings.sort_by(|a, b| a.binding.cmp(&b.binding));
        PolicyExplanation {
            policy: policy.meta.id.clone(),
            title: policy.meta.title.clone(),
            severity: policy.meta.severity,
            bindings,
        }
    };
    bundle.policies.iter().enumerate().map(of_policy).collect()
}

fn in_force_explanation(in_force: &InForce) -> BindingExplanation {
    let (standing, reason) = match &in_force.state {
        State::Off => (Standing::Off, "its action is off".to_owned()),
        State::Inactive { missing } => {
            let missing = missing.join(" and ");
            (Standing::Inactive, format!("it needs a value for the parameter {missing}"))
        }
        State::Active if in_force.fallback => {
            let reason = "implied by the policy, where no other binding of it matches".to_owned();
            (Standing::Fallback, reason)
        }
        State::Active if in_force.matches.clusters.is_empty() => {
            (Standing::Active, "it selects every cluster".to_owned())
        }
        State::Active => (Standing::Active, "its selector fits the cluster's labels".to_owned()),
    };
    BindingExplanation {
        binding: in_force.binding.clone(),
        standing,
        reason,
        action: in_force.action,
        fail_mode: in_force.fail_mode,
        matches: in_force.matches.clone(),
        parameters: in_force.parameters.clone(),
        revision: Some(in_force.revision),
    }
}

fn not_selected<'a>(
    bundle: &'a Bundle,
    policy: &'a Policy,
    labels: &'a Labels,
) -> impl Iterator<Item = BindingExplanation> + 'a {
    bundle
        .bindings
        .iter()
        .filter(|binding| binding.policy == policy.meta.id)
        .filter(|binding| !binding.matches.clusters.matches(labels))
        .map(|binding| BindingExplanation {
            binding: binding.id.clone(),
            standing: Standing::NotSelected,
            reason: "its selector does not fit the cluster's labels".to_owned(),
            action: binding.action.unwrap_or(policy.meta.action),
            fail_mode: binding.fail_mode.unwrap_or(policy.meta.fail_mode),
            matches: binding.matches.clone(),
            parameters: parameters::complete(&policy.meta, &binding.parameters),
            revision: None,
        })
}

fn superseded(bundle: &Bundle, policy: &Policy, labels: &Labels) -> Option<BindingExplanation> {
    let by = bundle.bindings.iter().find(|binding| {
        binding.policy == policy.meta.id
            && binding.matches.clusters.matches(labels)
            && covers_everything(&binding.matches)
    })?;
    let implied = implied(policy);
    Some(BindingExplanation {
        binding: implied.id,
        standing: Standing::Superseded,
        reason: format!("binding {} matches every subject", by.id),
        action: policy.meta.action,
        fail_mode: policy.meta.fail_mode,
        matches: implied.matches,
        parameters: parameters::complete(&policy.meta, &implied.parameters),
        revision: None,
    })
}

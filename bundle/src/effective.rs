//! Which bindings are in force on a cluster, and how.
//!
//! A binding is in force where its cluster selector fits the granted labels. Each of them gives a
//! verdict on every subject it matches. The binding `default`, implied by the policy's metadata,
//! is a fallback: it gives a verdict only on subjects that no other binding of its policy matches,
//! which the engine asks per subject. A binding that is off or lacks a required parameter gives no
//! verdict, but where it matches, the fallback stays out as well: that is how a policy is
//! switched off for a namespace.

use provost_model::binding::{Origin, PolicySet, PolicySetEntry};
use provost_model::verdict::{NotEvaluated, NotEvaluatedReason};
use provost_model::{Action, Binding, BindingId, Digest, FailMode, Labels, Match, PolicyId};
use serde_json::{Map, Value};

use crate::bundle::{Bundle, Policy};
use crate::parameters;
use crate::revision::revision;

/// All bindings of a cluster, in (policy id, binding id) order.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    pub bindings: Vec<InForce>,
    origin: Origin,
    entries: Vec<PolicySetEntry>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct InForce {
    /// Index into [`Bundle::policies`].
    pub policy_index: usize,
    pub policy: PolicyId,
    pub binding: BindingId,
    /// Complete: every declared parameter, unset is null.
    pub parameters: Map<String, Value>,
    pub revision: Digest,
    pub action: Action,
    pub fail_mode: FailMode,
    pub matches: Match,
    /// Gives a verdict only where no other binding of the policy matches.
    pub fallback: bool,
    pub profile: String,
    pub state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    /// The required parameters that are null or empty.
    Inactive {
        missing: Vec<String>,
    },
    Off,
}

/// The bindings in force on a cluster with these granted labels. A binding of a policy that the
/// bundle does not have is left out: [`crate::Contents::load`] refuses such bundles.
#[must_use]
pub fn effective(bundle: &Bundle, labels: &Labels) -> Effective {
    let mut bindings = Vec::new();
    let mut entries = Vec::new();
    for (policy_index, policy) in bundle.policies.iter().enumerate() {
        for in_force in of_policy(bundle, policy_index, policy, labels) {
            if in_force.state == State::Active {
                entries.push(entry(policy, &in_force, bundle.origin));
            }
            bindings.push(in_force);
        }
    }
    let key = |b: &InForce| (b.policy.clone(), b.binding.clone());
    bindings.sort_by_key(key);
    entries.sort_by(|a, b| (&a.policy, &a.binding).cmp(&(&b.policy, &b.binding)));
    Effective { bindings, origin: bundle.origin, entries }
}

impl Effective {
    /// The bindings that can give a verdict; records point into this list by index.
    #[must_use]
    pub fn policy_set(&self) -> PolicySet {
        PolicySet { entries: self.entries.clone() }
    }

    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The bindings that are off or inactive, and why.
    #[must_use]
    pub fn not_evaluated(&self) -> Vec<NotEvaluated> {
        self.bindings.iter().filter_map(InForce::not_evaluated).collect()
    }
}

impl InForce {
    fn not_evaluated(&self) -> Option<NotEvaluated> {
        let (reason, detail) = match &self.state {
            State::Active => return None,
            State::Inactive { missing } => (
                NotEvaluatedReason::Inactive,
                format!("set the parameter {} in a binding", missing.join(" and ")),
            ),
            State::Off => (NotEvaluatedReason::Off, String::new()),
        };
        Some(NotEvaluated {
            policy: self.policy.clone(),
            binding: self.binding.clone(),
            group: String::new(),
            kind: String::new(),
            reason,
            detail,
        })
    }
}

/// Whether every subject of the policy's kinds is matched, so that a fallback is never reached.
/// Excluded namespaces do not count: to be excluded, a subject must match.
pub(crate) fn covers_everything(matches: &Match) -> bool {
    let Match { clusters: _, namespaces, excluded_namespaces: _, kinds, labels } = matches;
    namespaces.is_empty() && kinds.is_empty() && labels.is_empty()
}

fn of_policy(
    bundle: &Bundle,
    policy_index: usize,
    policy: &Policy,
    labels: &Labels,
) -> Vec<InForce> {
    let written: Vec<&Binding> = bundle
        .bindings
        .iter()
        .filter(|binding| binding.policy == policy.meta.id)
        .filter(|binding| binding.matches.clusters.matches(labels))
        .collect();
    let mut in_force: Vec<InForce> = written
        .iter()
        .map(|binding| put_in_force(bundle, policy_index, policy, binding, false))
        .collect();
    if !written.iter().any(|binding| covers_everything(&binding.matches)) {
        let implied = implied(policy);
        in_force.push(put_in_force(bundle, policy_index, policy, &implied, true));
    }
    in_force
}

/// The binding that a policy's metadata implies.
pub(crate) fn implied(policy: &Policy) -> Binding {
    Binding {
        id: BindingId::default_binding(),
        policy: policy.meta.id.clone(),
        parameters: std::collections::BTreeMap::new(),
        action: None,
        fail_mode: None,
        matches: Match::default(),
        profile: String::new(),
    }
}

fn put_in_force(
    bundle: &Bundle,
    policy_index: usize,
    policy: &Policy,
    binding: &Binding,
    fallback: bool,
) -> InForce {
    let parameters = parameters::complete(&policy.meta, &binding.parameters);
    let action = binding.action.unwrap_or(policy.meta.action);
    let missing = parameters::missing(&policy.meta, &parameters);
    let state = if action == Action::Off {
        State::Off
    } else if missing.is_empty() {
        State::Active
    } else {
        State::Inactive { missing }
    };
    InForce {
        policy_index,
        policy: binding.policy.clone(),
        binding: binding.id.clone(),
        revision: revision(policy, &bundle.libraries, &parameters),
        parameters,
        action,
        fail_mode: binding.fail_mode.unwrap_or(policy.meta.fail_mode),
        matches: binding.matches.clone(),
        fallback,
        profile: binding.profile.clone(),
        state,
    }
}

fn entry(policy: &Policy, in_force: &InForce, origin: Origin) -> PolicySetEntry {
    PolicySetEntry {
        policy: in_force.policy.clone(),
        binding: in_force.binding.clone(),
        revision: in_force.revision,
        action: in_force.action,
        fail_mode: in_force.fail_mode,
        severity: policy.meta.severity,
        scored: true,
        origin,
        title: policy.meta.title.clone(),
        code: policy.meta.code.clone(),
        category: policy.meta.category.to_string(),
    }
}

//! The policies of a bundle, compiled, with the bindings in force on a cluster: asked with a
//! review, it answers with verdicts.
//!
//! Compiling never fails as a whole: a bad policy becomes diagnostics and is not evaluated, and
//! the others go on. A set never changes; it is shared by `Arc` and asked from many threads.

use std::fmt;
use std::time::Duration;

use provost_bundle::{Bundle, Diagnostic};
use provost_model::policy::Checkpoint;
use provost_model::verdict::{NotEvaluated, NotEvaluatedReason};
use provost_model::{BindingId, Digest, KindSelector, PolicyId, PolicyMeta, PolicySet, Verdict};
use regorus::Value;

use crate::compiled::{CompiledPolicy, Question};
use crate::input::{self, Cluster};
use crate::matching::Facts;
use crate::object::Object;
use crate::review::Review;

/// How policies are compiled and evaluated.
#[derive(Clone, Debug)]
pub struct Options {
    /// For one policy on one object, where the caller gives no other.
    pub time_limit: Duration,
    /// `data.inventory`: objects that policies refer to.
    pub inventory: Option<Object>,
}

impl Default for Options {
    /// 1 s: some thousand times what a policy takes, and short against a scan.
    fn default() -> Self {
        Self { time_limit: Duration::from_secs(1), inventory: None }
    }
}

/// See the module's head.
pub struct CompiledSet {
    id: Digest,
    policy_set: PolicySet,
    /// By policy id, and in each by binding id: the order of the verdicts.
    policies: Vec<CompiledPolicy>,
    cluster: Value,
    /// Off, inactive and broken bindings.
    not_evaluated: Vec<NotEvaluated>,
    diagnostics: Vec<Diagnostic>,
    time_limit: Duration,
}

impl CompiledSet {
    /// Compiles each policy on its own with the bindings in force on the cluster.
    #[must_use]
    pub fn compile(bundle: &Bundle, cluster: &Cluster, options: &Options) -> Self {
        let effective = provost_bundle::effective(bundle, &cluster.labels);
        let mut not_evaluated = effective.not_evaluated();
        let mut diagnostics = Vec::new();
        let mut policies = Vec::new();
        for (index, policy) in bundle.policies.iter().enumerate() {
            let in_force: Vec<_> =
                effective.bindings.iter().filter(|b| b.policy_index == index).collect();
            let (compiled, problems) = CompiledPolicy::compile(policy, bundle, &in_force, options);
            not_evaluated.extend(compiled.broken());
            diagnostics.extend(problems);
            policies.push(compiled);
        }
        policies.sort_by(|a, b| a.id().cmp(b.id()));
        not_evaluated.sort();
        let policy_set = effective.policy_set();
        let identity = serde_json::to_vec(&(&policy_set.entries, cluster)).unwrap_or_default();
        Self {
            id: Digest::of(&identity),
            policy_set,
            policies,
            cluster: cluster.to_value(),
            not_evaluated,
            diagnostics,
            time_limit: options.time_limit,
        }
    }

    /// Names the set within a process: its entries and its cluster. The digest that records name
    /// is that of the encoded [`PolicySet`].
    #[must_use]
    pub const fn id(&self) -> Digest {
        self.id
    }

    /// The bindings that can give a verdict; records point into it by index.
    #[must_use]
    pub const fn policy_set(&self) -> &PolicySet {
        &self.policy_set
    }

    /// Where a verdict's binding stands in [`Self::policy_set`].
    #[must_use]
    pub fn index_of(&self, policy: &PolicyId, binding: &BindingId) -> Option<usize> {
        self.policy_set
            .entries
            .binary_search_by(|entry| (&entry.policy, &entry.binding).cmp(&(policy, binding)))
            .ok()
    }

    /// What a policy of the set says about itself.
    #[must_use]
    pub fn meta(&self, policy: &PolicyId) -> Option<&PolicyMeta> {
        let found = self.policies.binary_search_by(|compiled| compiled.id().cmp(policy));
        found.ok().and_then(|index| self.policies.get(index)).map(CompiledPolicy::meta)
    }

    /// What is wrong with policies and bindings that are not evaluated for it.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The kinds that some binding of the set can give a verdict on, sorted by group; at this
    /// checkpoint.
    #[must_use]
    pub fn kinds(&self, checkpoint: Checkpoint) -> Vec<KindSelector> {
        let mut kinds: Vec<(&str, &str)> = self
            .policies
            .iter()
            .filter(|policy| policy.can_decide(checkpoint))
            .flat_map(|policy| policy.kinds())
            .flat_map(|s| s.kinds.iter().map(|kind| (s.group.as_str(), kind.as_str())))
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        let mut selectors: Vec<KindSelector> = Vec::new();
        for (group, kind) in kinds {
            match selectors.last_mut() {
                Some(last) if last.group == group => last.kinds.push(kind.to_owned()),
                _ => selectors
                    .push(KindSelector { group: group.to_owned(), kinds: vec![kind.to_owned()] }),
            }
        }
        selectors
    }

    /// The bindings that give no verdict at this checkpoint, and why.
    #[must_use]
    pub fn not_evaluated(&self, checkpoint: Checkpoint) -> Vec<NotEvaluated> {
        let elsewhere = self.policies.iter().filter(|policy| !policy.can_decide(checkpoint));
        let detail = format!("the policy cannot decide at {checkpoint}");
        let mut all: Vec<NotEvaluated> = elsewhere
            .flat_map(|policy| policy.active(NotEvaluatedReason::Checkpoint, &detail))
            .chain(self.not_evaluated.iter().cloned())
            .collect();
        all.sort();
        all
    }

    /// The verdicts of all bindings that match, in (policy id, binding id) order.
    #[must_use]
    pub fn evaluate(&self, review: &Review) -> Vec<Verdict> {
        self.evaluate_within(review, &|| self.time_limit)
    }

    /// As [`Self::evaluate`]; before each evaluation `time_limit` says what that one may take.
    /// Where it says nothing is left, the verdict is an error with code `EVAL_TIMEOUT`, so that
    /// every binding that matches still has one.
    #[must_use]
    pub fn evaluate_within(
        &self,
        review: &Review,
        time_limit: &dyn Fn() -> Duration,
    ) -> Vec<Verdict> {
        let asked: Vec<&CompiledPolicy> =
            self.policies.iter().filter(|policy| policy.asks(review)).collect();
        if asked.is_empty() {
            return Vec::new();
        }
        let question = Question {
            review: input::review(review),
            subject: review.subject(),
            facts: Facts::of(review),
            cluster: &self.cluster,
            time_limit,
        };
        asked.into_iter().flat_map(|policy| policy.verdicts(&question)).collect()
    }
}

impl fmt::Debug for CompiledSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CompiledSet({} with {} bindings)",
            self.id.short(),
            self.policy_set.entries.len()
        )
    }
}

/// The policies of a bundle that do not compile or whose bindings do not fit them, as diagnostics.
#[must_use]
pub fn check(bundle: &Bundle) -> Vec<Diagnostic> {
    let set = CompiledSet::compile(bundle, &Cluster::default(), &Options::default());
    set.diagnostics
}

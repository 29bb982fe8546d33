//! One policy of a set with its bindings, and their verdicts on a subject.

use std::collections::BTreeMap;
use std::time::Duration;

use provost_bundle::{Bundle, Diagnostic, InForce, Policy, State, parameters};
use provost_model::policy::Checkpoint;
use provost_model::verdict::{NotEvaluated, NotEvaluatedReason, Problem};
use provost_model::{
    Action, BindingId, Code, Finding, KindSelector, Match, Outcome, PolicyId, PolicyMeta, Subject,
    Verdict,
};
use regorus::Value;

use crate::findings::findings;
use crate::input;
use crate::matching::{Coverage, Facts};
use crate::review::Review;
use crate::set::Options;
use crate::unit::{self, Unit};

pub(crate) struct CompiledPolicy {
    meta: PolicyMeta,
    /// None where it does not compile: then no binding gives a verdict.
    unit: Option<Unit>,
    bindings: Vec<Bound>,
}

/// One binding in force.
struct Bound {
    binding: BindingId,
    action: Action,
    matches: Match,
    fallback: bool,
    verdicts: Verdicts,
}

/// Whether a binding gives verdicts. One that does not still keeps the fallback out.
enum Verdicts {
    With {
        parameters: Value,
    },
    /// Off or inactive, as the bindings in force say.
    Silent,
    Broken {
        why: String,
    },
}

/// All that the bindings of every policy are asked about one subject.
pub(crate) struct Question<'a> {
    pub(crate) review: Value,
    pub(crate) subject: Subject,
    pub(crate) facts: Facts<'a>,
    pub(crate) cluster: &'a Value,
    pub(crate) time_limit: &'a dyn Fn() -> Duration,
}

impl CompiledPolicy {
    /// Also what is wrong with it; a policy without any binding in force is not compiled.
    pub(crate) fn compile(
        policy: &Policy,
        bundle: &Bundle,
        in_force: &[&InForce],
        options: &Options,
    ) -> (Self, Vec<Diagnostic>) {
        let inventory = options.inventory.as_ref().map(|object| object.value().clone());
        let wanted = in_force.iter().any(|binding| binding.state == State::Active);
        let compiled = wanted.then(|| Unit::compile(policy, &bundle.libraries, inventory.as_ref()));
        let (unit, mut diagnostics) = match compiled {
            Some(Ok(unit)) => (Some(unit), Vec::new()),
            Some(Err(diagnostics)) => (None, diagnostics),
            None => (None, Vec::new()),
        };
        let does_not_compile = diagnostics.first().map(ToString::to_string);
        let mut bindings = Vec::new();
        for binding in in_force {
            let (verdicts, problem) = bind(policy, binding, does_not_compile.as_deref());
            diagnostics.extend(problem);
            bindings.push(Bound {
                binding: binding.binding.clone(),
                action: binding.action,
                matches: binding.matches.clone(),
                fallback: binding.fallback,
                verdicts,
            });
        }
        bindings.sort_by(|a, b| a.binding.cmp(&b.binding));
        (Self { meta: policy.meta.clone(), unit, bindings }, diagnostics)
    }

    pub(crate) const fn id(&self) -> &PolicyId {
        &self.meta.id
    }

    pub(crate) const fn meta(&self) -> &PolicyMeta {
        &self.meta
    }

    pub(crate) fn kinds(&self) -> &[KindSelector] {
        &self.meta.kinds
    }

    /// Whether some binding can give a verdict at the checkpoint.
    pub(crate) fn can_decide(&self, checkpoint: Checkpoint) -> bool {
        self.unit.is_some() && self.meta.decides_at(checkpoint)
    }

    pub(crate) fn asks(&self, review: &Review) -> bool {
        self.can_decide(review.checkpoint) && self.meta.matches_kind(&review.gvk)
    }

    /// The bindings that would give verdicts, as not evaluated for this reason.
    pub(crate) fn active(&self, reason: NotEvaluatedReason, detail: &str) -> Vec<NotEvaluated> {
        let active = |bound: &&Bound| matches!(bound.verdicts, Verdicts::With { .. });
        let row = |bound| self.row(bound, reason, detail.to_owned());
        self.bindings.iter().filter(active).map(row).collect()
    }

    pub(crate) fn broken(&self) -> Vec<NotEvaluated> {
        let row = |bound: &Bound| match &bound.verdicts {
            Verdicts::Broken { why } => {
                Some(self.row(bound, NotEvaluatedReason::Broken, why.clone()))
            }
            _ => None,
        };
        self.bindings.iter().filter_map(row).collect()
    }

    /// In binding id order.
    pub(crate) fn verdicts(&self, question: &Question<'_>) -> Vec<Verdict> {
        let coverage = |bound: &Bound| question.facts.coverage(&bound.matches);
        let is_written = |bound: &&Bound| !bound.fallback;
        let spoken_for =
            self.bindings.iter().filter(is_written).any(|b| coverage(b) != Coverage::None);
        let asked = self.bindings.iter().filter(|bound| !(bound.fallback && spoken_for));
        asked.filter_map(|bound| self.verdict(bound, coverage(bound), question)).collect()
    }

    fn verdict(
        &self,
        bound: &Bound,
        coverage: Coverage,
        question: &Question<'_>,
    ) -> Option<Verdict> {
        let (Verdicts::With { parameters }, Some(unit)) = (&bound.verdicts, &self.unit) else {
            return None;
        };
        match coverage {
            Coverage::None => None,
            Coverage::Excluded => {
                let why = "the binding excludes the namespace".to_owned();
                let problem = Problem { code: EXCLUDED.to_owned(), message: why };
                Some(self.state(bound, Outcome::Skip, Vec::new(), Some(problem)))
            }
            Coverage::Full => Some(match self.evaluate(unit, parameters, question) {
                Ok(findings) if findings.is_empty() => {
                    self.state(bound, Outcome::Pass, findings, None)
                }
                Ok(findings) => self.state(bound, Outcome::Fail, findings, None),
                Err(problem) => self.state(bound, Outcome::Error, Vec::new(), Some(problem)),
            }),
        }
    }

    fn evaluate(
        &self,
        unit: &Unit,
        parameters: &Value,
        question: &Question<'_>,
    ) -> Result<Vec<Finding>, Problem> {
        let limit = (question.time_limit)();
        if limit.is_zero() {
            let message = "no time was left before the deadline".to_owned();
            return Err(unit::problem(Code::EvalTimeout, message));
        }
        let input = input::build(&question.review, parameters, question.cluster);
        let entries = unit.violations(input, limit)?;
        let object = &question.review[&Value::from("object")];
        Ok(findings(&self.meta.id, &question.subject, object, entries))
    }

    fn state(
        &self,
        bound: &Bound,
        outcome: Outcome,
        findings: Vec<Finding>,
        problem: Option<Problem>,
    ) -> Verdict {
        Verdict {
            policy: self.meta.id.clone(),
            binding: bound.binding.clone(),
            outcome,
            action: bound.action,
            severity: self.meta.severity,
            findings,
            problem,
            exemption: None,
        }
    }

    fn row(&self, bound: &Bound, reason: NotEvaluatedReason, detail: String) -> NotEvaluated {
        NotEvaluated {
            policy: self.meta.id.clone(),
            binding: bound.binding.clone(),
            group: String::new(),
            kind: String::new(),
            reason,
            detail,
        }
    }
}

/// Code of a `skip`.
const EXCLUDED: &str = "EXCLUDED_NAMESPACE";

fn bind(
    policy: &Policy,
    binding: &InForce,
    does_not_compile: Option<&str>,
) -> (Verdicts, Option<Diagnostic>) {
    if binding.state != State::Active {
        return (Verdicts::Silent, None);
    }
    if let Some(why) = does_not_compile {
        return (Verdicts::Broken { why: why.to_owned() }, None);
    }
    let complete: BTreeMap<_, _> = binding.parameters.clone().into_iter().collect();
    let problems = parameters::check(&policy.meta, &complete);
    if problems.is_empty() {
        let parameters = serde_json::Value::Object(binding.parameters.clone());
        return (Verdicts::With { parameters: parameters.into() }, None);
    }
    let why = format!("binding {}: {}", binding.binding, problems.join("; "));
    let diagnostic = Diagnostic::new(&policy.module.path, Code::ParameterInvalid, why.clone());
    (Verdicts::Broken { why }, Some(diagnostic))
}

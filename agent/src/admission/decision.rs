//! Verdicts to a decision. Any deny wins; a binding that could not be evaluated is decided by its
//! fail mode, and denies only where a violation of it would.

use provost_engine::CompiledSet;
use provost_model::policy::{Action, FailMode};
use provost_model::{Outcome, Verdict};

/// Kubernetes shows at most 4,096 bytes of all warnings together; more than a few nobody reads.
const MAX_LINES: usize = 20;

#[derive(Debug)]
pub(super) struct Decision {
    pub allowed: bool,
    /// For the one who is refused: a line a violation, with the field and the fix.
    pub reasons: Vec<String>,
    pub warnings: Vec<String>,
    pub verdicts: Vec<Verdict>,
}

impl Decision {
    pub fn let_through() -> Self {
        Self { allowed: true, reasons: Vec::new(), warnings: Vec::new(), verdicts: Vec::new() }
    }

    pub fn of(set: &CompiledSet, verdicts: Vec<Verdict>) -> Self {
        let mut reasons = Lines::default();
        let mut warnings = Lines::default();
        for verdict in &verdicts {
            match effect(set, verdict) {
                Effect::None => {}
                Effect::Warn => warnings.add(set, verdict),
                Effect::Deny => reasons.add(set, verdict),
            }
        }
        let reasons = reasons.finish();
        Self { allowed: reasons.is_empty(), reasons, warnings: warnings.finish(), verdicts }
    }

    /// What passed everywhere is no event.
    pub fn is_worth_a_record(&self) -> bool {
        self.verdicts
            .iter()
            .any(|verdict| !matches!(verdict.outcome, Outcome::Pass | Outcome::Skip))
    }
}

enum Effect {
    None,
    Warn,
    Deny,
}

fn effect(set: &CompiledSet, verdict: &Verdict) -> Effect {
    match (verdict.outcome, verdict.action) {
        (Outcome::Fail, Action::Deny) => Effect::Deny,
        (Outcome::Error, Action::Deny) if fails_closed(set, verdict) => Effect::Deny,
        (Outcome::Fail, Action::Warn)
        | (Outcome::Warn, Action::Deny | Action::Warn)
        | (Outcome::Error, Action::Deny | Action::Warn) => Effect::Warn,
        _ => Effect::None,
    }
}

/// A binding that is in no set any more was just replaced; its own policy's word is gone too.
fn fails_closed(set: &CompiledSet, verdict: &Verdict) -> bool {
    let entry = set.index_of(&verdict.policy, &verdict.binding);
    let entry = entry.and_then(|index| set.policy_set().entries.get(index));
    entry.is_some_and(|entry| entry.fail_mode == FailMode::Closed)
}

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    more: usize,
}

impl Lines {
    fn add(&mut self, set: &CompiledSet, verdict: &Verdict) {
        let meta = set.meta(&verdict.policy);
        let code = meta.map(|meta| meta.code.as_str()).unwrap_or_default();
        let name = if code.is_empty() {
            verdict.policy.to_string()
        } else {
            format!("{code} {}", verdict.policy)
        };
        for finding in &verdict.findings {
            let place = finding.path.to_string();
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            self.push(format!("[{name}] {place}{}", finding.message));
        }
        if let Some(problem) = &verdict.problem {
            self.push(format!(
                "[{name}] could not be evaluated ({}): {}",
                problem.code, problem.message
            ));
        }
        let remediation = meta.map(|meta| meta.remediation.trim()).unwrap_or_default();
        if !verdict.findings.is_empty() && !remediation.is_empty() && self.more == 0 {
            self.lines.push(format!("    fix: {remediation}"));
        }
    }

    fn push(&mut self, line: String) {
        if self.lines.len() < MAX_LINES { self.lines.push(line) } else { self.more += 1 }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("and {} more", self.more));
        }
        self.lines
    }
}

//! A verdict as it travels: cut to the limits of the wire, its binding an index.

use provost_engine::CompiledSet;
use provost_model::limits::{MAX_FINDINGS_PER_VERDICT, MAX_MESSAGE_BYTES, MAX_PATCH_BYTES};
use provost_model::record::ReportedVerdict;
use provost_model::{Finding, Outcome, Verdict};

/// None where the set does not know the binding: the verdict is of a set that was just replaced.
#[must_use]
pub fn reported(
    set: &CompiledSet,
    verdict: &Verdict,
    previous: Option<Outcome>,
) -> Option<ReportedVerdict> {
    let binding = u32::try_from(set.index_of(&verdict.policy, &verdict.binding)?).ok()?;
    let (code, message) = verdict
        .problem
        .as_ref()
        .map(|problem| (problem.code.clone(), cut(&problem.message)))
        .unwrap_or_default();
    Some(ReportedVerdict {
        binding,
        outcome: verdict.outcome,
        previous,
        action: verdict.action,
        severity: verdict.severity,
        findings: verdict.findings.iter().take(MAX_FINDINGS_PER_VERDICT).map(travelling).collect(),
        findings_total: u32::try_from(verdict.findings.len()).unwrap_or(u32::MAX),
        message,
        code,
        underlying: verdict.exemption.as_ref().map(|exemption| exemption.underlying),
    })
}

fn travelling(finding: &Finding) -> Finding {
    let small = |patch: &serde_json::Value| patch.to_string().len() <= MAX_PATCH_BYTES;
    Finding {
        message: cut(&finding.message),
        patch: finding.patch.clone().filter(small),
        ..finding.clone()
    }
}

/// At most [`MAX_MESSAGE_BYTES`], cut between characters.
fn cut(message: &str) -> String {
    let mut end = message.len().min(MAX_MESSAGE_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message[..end].to_owned()
}

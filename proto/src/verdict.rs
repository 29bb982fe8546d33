//! Verdicts and findings as they travel.

use bytes::Bytes;
use provost_model::finding::{Finding, Fingerprint};
use provost_model::limits::{MAX_FINDINGS_PER_VERDICT, MAX_MESSAGE_BYTES, MAX_PATCH_BYTES};
use provost_model::record::ReportedVerdict;
use provost_model::verdict::NotEvaluated;
use provost_model::{Action, NotEvaluatedReason, Outcome, Path, Severity};

use crate::enums::{Word as _, optional_to_wire};
use crate::fields::{MAX_PATH_BYTES, id, slug, text, text_up_to, within};
use crate::{Error, v1};

pub(crate) fn to_wire(verdict: &ReportedVerdict) -> v1::Verdict {
    v1::Verdict {
        binding: verdict.binding,
        outcome: verdict.outcome.to_wire(),
        previous: optional_to_wire(verdict.previous),
        action: verdict.action.to_wire(),
        severity: verdict.severity.to_wire(),
        findings: verdict.findings.iter().map(finding_to_wire).collect(),
        findings_total: verdict.findings_total,
        message: verdict.message.clone(),
        underlying: optional_to_wire(verdict.underlying),
        code: verdict.code.clone(),
    }
}

pub(crate) fn from_wire(wire: v1::Verdict) -> Result<ReportedVerdict, Error> {
    within("verdict.findings", wire.findings.len(), MAX_FINDINGS_PER_VERDICT)?;
    let shown = u32::try_from(wire.findings.len()).unwrap_or(u32::MAX);
    if wire.findings_total < shown {
        return Err(Error::bad("verdict.findings_total", "less than the findings beside it"));
    }
    Ok(ReportedVerdict {
        binding: wire.binding,
        outcome: Outcome::required("verdict.outcome", wire.outcome)?,
        previous: Outcome::optional("verdict.previous", wire.previous)?,
        action: Action::required("verdict.action", wire.action)?,
        severity: Severity::required("verdict.severity", wire.severity)?,
        findings: wire.findings.into_iter().map(finding_from_wire).collect::<Result<_, _>>()?,
        findings_total: wire.findings_total,
        message: text_up_to("verdict.message", wire.message, MAX_MESSAGE_BYTES)?,
        code: text("verdict.code", wire.code)?,
        underlying: Outcome::optional("verdict.underlying", wire.underlying)?,
    })
}

pub(crate) fn all_from_wire(wire: Vec<v1::Verdict>) -> Result<Vec<ReportedVerdict>, Error> {
    wire.into_iter().map(from_wire).collect()
}

fn finding_to_wire(finding: &Finding) -> v1::Finding {
    v1::Finding {
        fingerprint: Bytes::copy_from_slice(finding.fingerprint.as_bytes()),
        path: finding.path.to_pointer(),
        message: finding.message.clone(),
        patch: finding.patch.as_ref().map(|patch| patch.to_string().into()).unwrap_or_default(),
        line: finding.line.unwrap_or(0),
    }
}

fn finding_from_wire(wire: v1::Finding) -> Result<Finding, Error> {
    within("finding.path", wire.path.len(), MAX_PATH_BYTES)?;
    within("finding.patch", wire.patch.len(), MAX_PATCH_BYTES)?;
    let patch = match wire.patch.is_empty() {
        true => None,
        false => Some(
            serde_json::from_slice(&wire.patch)
                .map_err(|error| Error::bad("finding.patch", error))?,
        ),
    };
    Ok(Finding {
        fingerprint: id::<Fingerprint>("finding.fingerprint", &wire.fingerprint)?,
        path: Path::from_pointer(&wire.path).map_err(|error| Error::bad("finding.path", error))?,
        message: text_up_to("finding.message", wire.message, MAX_MESSAGE_BYTES)?,
        patch,
        line: Some(wire.line).filter(|line| *line != 0),
    })
}

pub(crate) fn not_evaluated_to_wire(entry: &NotEvaluated) -> v1::NotEvaluated {
    v1::NotEvaluated {
        policy_id: entry.policy.to_string(),
        binding_id: entry.binding.to_string(),
        group: entry.group.clone(),
        kind: entry.kind.clone(),
        reason: entry.reason.to_wire(),
        detail: entry.detail.clone(),
    }
}

pub(crate) fn not_evaluated_from_wire(wire: v1::NotEvaluated) -> Result<NotEvaluated, Error> {
    Ok(NotEvaluated {
        policy: slug("not_evaluated.policy_id", &wire.policy_id)?,
        binding: slug("not_evaluated.binding_id", &wire.binding_id)?,
        group: text("not_evaluated.group", wire.group)?,
        kind: text("not_evaluated.kind", wire.kind)?,
        reason: NotEvaluatedReason::required("not_evaluated.reason", wire.reason)?,
        detail: text_up_to("not_evaluated.detail", wire.detail, MAX_MESSAGE_BYTES)?,
    })
}

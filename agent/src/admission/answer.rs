//! A decision as the API server reads it.

use serde::Serialize;

use super::decision::Decision;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

pub(super) fn of(uid: &str, decision: &Decision) -> Answer {
    let status = (!decision.allowed).then(|| Status {
        code: 403,
        reason: "Forbidden",
        message: format!("refused by policy:\n{}", decision.reasons.join("\n")),
    });
    let response = Response {
        uid: uid.to_owned(),
        allowed: decision.allowed,
        status,
        warnings: decision.warnings.iter().map(|line| printable(line)).collect(),
    };
    Answer { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response }
}

/// Warnings travel in an HTTP header: control characters would lose them all.
fn printable(line: &str) -> String {
    let text: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

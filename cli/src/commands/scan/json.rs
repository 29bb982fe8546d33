//! A scan for programs: one document, or one finding a line. Keys are only ever added.

use std::io::{self, Write};

use provost_model::{Fingerprint, NotEvaluated, Outcome, Severity, Subject};
use serde::Serialize;

use super::report::{Report, Row};

/// Of the document of `-o json`.
const VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    policy: &'a str,
    code: &'a str,
    severity: Severity,
    message: &'a str,
    fix: &'a str,
    fingerprint: Fingerprint,
    subject: &'a Subject,
    binding: &'a str,
    outcome: Outcome,
    /// JSON Pointer.
    path: String,
    /// JSON Patch operations that repair it.
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<&'a serde_json::Value>,
    /// The kustomization that lists the file: what it renders may differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    unrendered: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict<'a> {
    subject: &'a Subject,
    policy: &'a str,
    binding: &'a str,
    outcome: Outcome,
    fingerprints: Vec<Fingerprint>,
}

#[derive(Serialize)]
struct Problem<'a> {
    file: &'a str,
    line: Option<u32>,
    column: Option<u32>,
    code: &'a str,
    message: &'a str,
    fix: &'a str,
}

#[derive(Serialize)]
struct Left<'a> {
    file: &'a str,
    line: u32,
    reason: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    version: u32,
    findings: Vec<Finding<'a>>,
    verdicts: Vec<Verdict<'a>>,
    problems: Vec<Problem<'a>>,
    not_evaluated: Vec<Left<'a>>,
    policies_not_evaluated: &'a [NotEvaluated],
    counts: serde_json::Value,
}

pub fn write_lines(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    for row in &report.findings {
        serde_json::to_writer(&mut *out, &finding(row))?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

pub fn write_document(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let counts = &report.counts;
    let document = Document {
        version: VERSION,
        findings: report.findings.iter().map(finding).collect(),
        verdicts: report.verdicts.iter().map(verdict).collect(),
        problems: report.problems.iter().map(problem).collect(),
        not_evaluated: report.left.iter().map(left).collect(),
        policies_not_evaluated: &report.inactive,
        counts: serde_json::json!({
            "files": counts.files,
            "documents": counts.documents,
            "evaluated": counts.evaluated,
            "unrendered": counts.unrendered,
            "noPolicyMatches": counts.unmatched,
            "notEvaluated": report.left.len(),
            "policies": counts.policies,
            "findings": report.findings.len(),
            "bySeverity": counts.severities.iter().map(|(k, v)| (k.to_string(), *v)).collect::<std::collections::BTreeMap<_, _>>(),
        }),
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    out.write_all(b"\n")
}

fn finding(row: &Row) -> Finding<'_> {
    Finding {
        file: &row.file,
        line: row.at.line,
        column: row.at.column,
        policy: row.policy.id.as_str(),
        code: &row.policy.code,
        severity: row.severity,
        message: &row.message,
        fix: &row.policy.remediation,
        fingerprint: row.fingerprint,
        subject: &row.subject,
        binding: &row.binding,
        outcome: row.outcome,
        path: row.path.to_pointer(),
        patch: row.patch.as_ref(),
        unrendered: row.unrendered.as_deref(),
    }
}

fn verdict(judged: &super::report::Judged) -> Verdict<'_> {
    Verdict {
        subject: &judged.subject,
        policy: judged.verdict.policy.as_str(),
        binding: judged.verdict.binding.as_str(),
        outcome: judged.verdict.outcome,
        fingerprints: judged.verdict.findings.iter().map(|finding| finding.fingerprint).collect(),
    }
}

fn problem(trouble: &super::report::Trouble) -> Problem<'_> {
    Problem {
        file: &trouble.file,
        line: trouble.at.map(|at| at.line),
        column: trouble.at.map(|at| at.column),
        code: &trouble.code,
        message: &trouble.message,
        fix: &trouble.hint,
    }
}

fn left(left: &super::report::Left) -> Left<'_> {
    Left { file: &left.file, line: left.at.line, reason: left.why.code() }
}

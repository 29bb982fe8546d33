//! The four gates of a finding side by side: commit, build, deploy, run. Only what is known is
//! said; a gate that told the hub nothing is not evaluated, never green.

use provost_model::Outcome;
use serde_json::Value;

use super::run_words;
use crate::api::findings::state_of;
use crate::stamp::Stamp;
use crate::store::findings::FindingRow;
use crate::store::history::AdmissionRow;
use crate::ui::chip::{Chip, Face};
use crate::ui::words::visible;

pub struct Gate {
    pub name: &'static str,
    pub chip: Chip,
    pub detail: String,
}

pub fn gates(
    row: &FindingRow,
    attributes: &Value,
    away: bool,
    admissions: &[AdmissionRow],
    now: Stamp,
) -> Vec<Gate> {
    vec![
        reported("commit", attributes),
        reported("build", attributes),
        deploy(row, admissions, now),
        run(row, away, now),
    ]
}

/// Gates before the cluster report through the object's own attributes so far.
fn reported(name: &'static str, attributes: &Value) -> Gate {
    if attributes.get("checkpoint").and_then(Value::as_str) == Some(name) {
        return Gate { name, chip: Chip::new(Face::Fail, "found here"), detail: String::new() };
    }
    let detail = "no report of this gate".to_owned();
    Gate { name, chip: Chip::new(Face::NotEvaluated, "not reported"), detail }
}

/// The newest review of the object in which this policy had something to say.
fn deploy(row: &FindingRow, admissions: &[AdmissionRow], now: Stamp) -> Gate {
    let name = "deploy";
    let about = |review: &&AdmissionRow| {
        let verdicts: Value = serde_json::from_str(&review.verdicts).unwrap_or_default();
        let policy = |verdict: &Value| {
            verdict.get("policy").and_then(Value::as_str) == Some(row.policy.as_str())
        };
        verdicts.as_array().is_some_and(|verdicts| verdicts.iter().any(policy))
    };
    match admissions.iter().find(about) {
        None => Gate {
            name,
            chip: Chip::new(Face::NotEvaluated, "not reported"),
            detail: "no review of this object was denied or warned about".to_owned(),
        },
        Some(review) => {
            let (face, words) = if review.allowed {
                (Face::Warn, "admitted with a warning")
            } else {
                (Face::Fail, "denied")
            };
            let when = Stamp(review.valid_at_ms).ago(now);
            let detail = visible(&format!("{} {when}", review.operation.to_lowercase()));
            Gate { name, chip: Chip::new(face, words), detail }
        }
    }
}

fn run(row: &FindingRow, away: bool, now: Stamp) -> Gate {
    let face = match state_of(row, away) {
        "closed" => Face::Closed,
        "stale" => Face::Stale,
        _ => Face::from(row.outcome),
    };
    let since = row.closed_valid_at_ms.unwrap_or(row.opened_valid_at_ms);
    let detail = match row.outcome {
        Outcome::Pass => String::new(),
        _ => format!("since {}", Stamp(since).brief(now)),
    };
    Gate { name: "run", chip: Chip::new(face, run_words(row, away)), detail }
}

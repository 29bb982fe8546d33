//! Outcomes and verdicts: what a binding says of a subject.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::finding::Finding;
use crate::id::{BindingId, PolicyId};
use crate::policy::{Action, Severity, UnknownWord, words};

words!(
    /// What evaluation said. A violated policy is `fail` whatever its action; `warn` is the outcome
    /// of an unscored `warn` rule; `skip` matched but is excluded by its binding.
    Outcome {
        Pass = "pass",
        Fail = "fail",
        Warn = "warn",
        Error = "error",
        Skip = "skip",
        Exempt = "exempt",
    }
);
words!(
    /// Why a binding gives no verdict here.
    NotEvaluatedReason {
        /// A required parameter is null or empty.
        Inactive = "INACTIVE",
        /// Its action is off.
        Off = "OFF",
        /// It does not compile, or failed its own tests.
        Broken = "BROKEN",
        /// The API server does not serve the kind.
        NotServed = "NOT_SERVED",
        /// The API server lets the agent not read the kind.
        Forbidden = "FORBIDDEN",
        /// The policy cannot decide at this checkpoint.
        Checkpoint = "CHECKPOINT",
    }
);

/// The outcome of one binding on one subject.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    pub policy: PolicyId,
    pub binding: BindingId,
    pub outcome: Outcome,
    pub action: Action,
    pub severity: Severity,
    /// Every finding, in fingerprint-stable order; what travels is cut to
    /// [`crate::limits::MAX_FINDINGS_PER_VERDICT`] by who sends it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Why the outcome is error or skip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// Under `exempt`: what it would have been, and by which exemption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exemption: Option<Exemption>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable code, such as `EVAL_TIMEOUT`.
    pub code: String,
    /// For people; holds no value of the object.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exemption {
    pub id: String,
    pub underlying: Outcome,
}

/// A binding that gives no verdict on a kind, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NotEvaluated {
    pub policy: PolicyId,
    pub binding: BindingId,
    /// Both empty where every kind is meant.
    pub group: String,
    pub kind: String,
    pub reason: NotEvaluatedReason,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

//! Runs what a bundle says about itself: the Rego tests of its policies and libraries, and their
//! examples.
//!
//! Every document of a fail example violates and none of a pass example does; evaluated like
//! everything else, with the parameters of the implied binding unless the example sets others.

use provost_bundle::Bundle;
use provost_model::PolicyId;
use serde::{Deserialize, Serialize};

/// One test and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// None for tests of a library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyId>,
    pub kind: TestKind,
    /// `test_denies_root`, `fail/root`; for a document of several `fail/root#2`.
    pub name: String,
    pub file: String,
    /// 1-based; 0 where the whole file is meant.
    pub line: u32,
    pub outcome: TestOutcome,
    /// What was expected, and what came instead; both empty where the test passed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expected: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actual: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestKind {
    /// The policy loads at all.
    Compile,
    Rego,
    Example,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestOutcome {
    Pass,
    Fail,
    /// It could not be evaluated.
    Error,
}

/// Runs all tests of the bundle, in the order of its policies.
#[must_use]
#[expect(clippy::todo, reason = "the interface comes first")]
pub fn run(_bundle: &Bundle) -> Vec<TestResult> {
    todo!()
}

//! Runs what a bundle says about itself: the Rego tests of its policies and libraries, and their
//! examples.
//!
//! Every document of a fail example violates and none of a pass example does; evaluated like
//! everything else, with the parameters' defaults unless the example sets others. The bindings of
//! the bundle play no part: an example is about the policy.

mod examples;
mod rego;

use provost_bundle::{Bundle, Diagnostic};
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
    /// `test_denies_root`, `fail/root`; for one document of several `fail/root#2`.
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
    /// The policy loads at all; stands only where it does not.
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

/// Runs all tests of the bundle: its policies' in their order, then its libraries'.
#[must_use]
pub fn run(bundle: &Bundle) -> Vec<TestResult> {
    run_where(bundle, &|_| true)
}

/// Runs the tests that `wanted` takes by their full name, such as `host-path/test_denies_root`
/// or `host-path/fail/root`; a library's has its package in place of the policy.
#[must_use]
pub fn run_where(bundle: &Bundle, wanted: &dyn Fn(&str) -> bool) -> Vec<TestResult> {
    let mut results = Vec::new();
    for policy in &bundle.policies {
        let wanted = |name: &str| wanted(&format!("{}/{name}", policy.meta.id));
        let tests = rego::of_policy(policy, bundle, &wanted);
        let mut examples = examples::of_policy(policy, bundle, &wanted);
        // A module that does not load fails both, and is told once.
        examples.retain(|result| !tests.contains(result));
        results.extend(tests);
        results.extend(examples);
    }
    results.extend(rego::of_libraries(bundle, wanted));
    results
}

impl TestResult {
    /// A test that passed.
    fn new(policy: Option<&PolicyId>, kind: TestKind, name: String, file: &str) -> Self {
        Self {
            policy: policy.cloned(),
            kind,
            name,
            file: file.to_owned(),
            line: 0,
            outcome: TestOutcome::Pass,
            expected: String::new(),
            actual: String::new(),
        }
    }

    fn failed(mut self, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        self.outcome = TestOutcome::Fail;
        self.expected = expected.into();
        self.actual = actual.into();
        self
    }

    fn error(self, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { outcome: TestOutcome::Error, ..self.failed(expected, actual) }
    }

    fn not_compiled(policy: Option<&PolicyId>, diagnostics: &[Diagnostic]) -> Vec<Self> {
        let result = |diagnostic: &Diagnostic| {
            let mut text = format!("{}: {}", diagnostic.code, diagnostic.message);
            if !diagnostic.hint.is_empty() {
                text = format!("{text} ({})", diagnostic.hint);
            }
            let name = "loads".to_owned();
            let result = Self::new(policy, TestKind::Compile, name, &diagnostic.file);
            Self { line: diagnostic.line, ..result.error("a module that loads", text) }
        };
        diagnostics.iter().map(result).collect()
    }
}

//! `provost test`: runs the tests and examples of policies.

use std::path::{Path, PathBuf};

use provost_bundle::{Diagnostic, source};
use provost_engine::selftest::{self, TestOutcome, TestResult};
use serde::Serialize;

use crate::exit::{Exit, UsageError};
use crate::output::{Format, Style, error_label, paint};

/// Run the tests and examples of policies.
///
/// Runs the rules named test_* beside each policy and library, and the manifests in examples/:
/// every document of a fail example must violate, none of a pass example may.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Policy trees, or folders of single policies within one.
    #[arg(value_name = "PATH", default_value = "policies")]
    paths: Vec<PathBuf>,
    /// Run only tests whose full name contains this, such as `host-path/fail/`.
    #[arg(long, value_name = "FILTER")]
    run: Option<String>,
    /// List tests that pass as well.
    #[arg(long, short)]
    verbose: bool,
    #[arg(long, short, value_enum, default_value_t = Format::Pretty)]
    output: Format,
}

const EXAMPLES: &str = "\
Examples:
  provost test                               all of policies/
  provost test policies/pods/host-path       one policy
  provost test --run fail/ -v                only fail examples, each one listed
  provost test -o json | jq .summary         for programs

Exit codes: 0 all passed, 1 a test failed, 2 wrong usage, 3 something could not be read or evaluated";

/// Version of the JSON output.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Report {
    version: u32,
    summary: Summary,
    /// What is wrong with the policy trees themselves.
    diagnostics: Vec<Diagnostic>,
    results: Vec<TestResult>,
}

#[derive(Default, Serialize)]
struct Summary {
    policies: usize,
    tests: usize,
    passed: usize,
    failed: usize,
    errors: usize,
}

pub fn run(args: Args) -> anyhow::Result<Exit> {
    let Args { paths, run: filter, verbose, output } = args;
    if let Some(path) = paths.iter().find(|path| !path.is_dir()) {
        let what = if path.exists() { "is no folder" } else { "does not exist" };
        let message = format!("{} {what}: name a policy tree, or a policy of one", path.display());
        return Err(UsageError(message).into());
    }
    let report = examine(&paths, filter.as_deref());
    if let Some(filter) = filter.filter(|_| report.is_empty()) {
        let message = format!("no test has {filter:?} in its name; `provost test -v` lists them");
        return Err(UsageError(message).into());
    }
    match output {
        Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Format::Pretty => print_pretty(&report, verbose),
    }
    Ok(report.exit())
}

fn examine(paths: &[PathBuf], filter: Option<&str>) -> Report {
    let mut report = Report {
        version: VERSION,
        summary: Summary::default(),
        diagnostics: Vec::new(),
        results: Vec::new(),
    };
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter));
    for path in paths {
        match source::read_dir(path) {
            Err(diagnostics) => report.diagnostics.extend(diagnostics),
            Ok(source) => {
                let root = tree_of(path);
                let mut results = selftest::run_where(source.bundle(), &wanted);
                for result in &mut results {
                    result.file = root.join(&result.file).display().to_string();
                }
                report.summary.policies += source.bundle().policies.len();
                report.results.extend(results);
            }
        }
    }
    let count = |outcome| report.results.iter().filter(|r| r.outcome == outcome).count();
    report.summary.passed = count(TestOutcome::Pass);
    report.summary.failed = count(TestOutcome::Fail);
    report.summary.errors = count(TestOutcome::Error);
    report.summary.tests = report.results.len();
    report
}

/// The folder that the paths in a bundle are below.
fn tree_of(path: &Path) -> PathBuf {
    if path.join("policy.rego").is_file() { path.join("../..") } else { path.to_owned() }
}

impl Report {
    fn is_empty(&self) -> bool {
        self.results.is_empty() && self.diagnostics.is_empty()
    }

    /// No test at all is no success.
    fn exit(&self) -> Exit {
        if !self.diagnostics.is_empty() || self.summary.errors > 0 || self.results.is_empty() {
            Exit::Incomplete
        } else if self.summary.failed > 0 {
            Exit::Violations
        } else {
            Exit::Clean
        }
    }
}

fn print_pretty(report: &Report, verbose: bool) {
    for diagnostic in &report.diagnostics {
        println!("{} {diagnostic}", paint(Style::Red, "ERROR"));
    }
    for result in &report.results {
        let label = match result.outcome {
            TestOutcome::Pass if !verbose => continue,
            TestOutcome::Pass => paint(Style::Green, "pass "),
            TestOutcome::Fail => paint(Style::Red, "FAIL "),
            TestOutcome::Error => paint(Style::Red, "ERROR"),
        };
        let policy = result.policy.as_ref().map(|id| format!("{id}/")).unwrap_or_default();
        println!("{label} {}", paint(Style::Bold, format!("{policy}{}", result.name)));
        if result.outcome != TestOutcome::Pass {
            let line = if result.line > 0 { format!(":{}", result.line) } else { String::new() };
            println!("      {}", paint(Style::Dim, format!("{}{line}", result.file)));
            println!("      expected {}, got {}", result.expected, result.actual);
        }
    }
    let Summary { policies, tests, passed, failed, errors } = report.summary;
    let style = if failed + errors == 0 && tests > 0 { Style::Green } else { Style::Red };
    let counts = format!("{passed} passed, {failed} failed, {errors} could not be evaluated");
    println!("{policies} policies, {tests} tests: {}", paint(style, counts));
    if report.is_empty() {
        let help =
            "add policy_test.rego beside a policy, or manifests in examples/pass and examples/fail";
        eprintln!("{} nothing was tested: {help}", error_label());
    }
}

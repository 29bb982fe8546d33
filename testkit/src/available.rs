//! Programs and folders that a test needs and that may not be there.
//!
//! Where one is missing the test says so and passes, so that a clone with nothing but Rust can run
//! the rest; with `CI=true` it fails, because nothing may be left out there.

use std::path::PathBuf;

/// The program or folder that the environment variable names.
#[must_use]
pub fn from_environment(variable: &str, what: &str) -> Option<PathBuf> {
    match setting(variable) {
        Some(path) => Some(PathBuf::from(path)),
        None => left_out(&format!("{what} ({variable} is not set; `make test` sets it)")),
    }
}

/// The corpus of real manifests beside the tree.
#[must_use]
pub fn corpus() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if path.is_dir() {
        Some(path)
    } else {
        left_out("the corpus of real manifests (../shared/corpus)")
    }
}

/// Our own manifests, which are always there.
#[must_use]
pub fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Says what is missing; in CI that is a failure.
///
/// # Panics
/// With `CI=true`.
pub fn left_out<T>(what: &str) -> Option<T> {
    assert!(setting("CI").as_deref() != Some("true"), "missing in CI: {what}");
    say(&format!("left out: {what}"));
    None
}

/// To the real standard error: the test runner swallows what a passing test prints.
pub fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[expect(clippy::disallowed_methods, reason = "the test command sets these, not a configuration")]
pub(crate) fn setting(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

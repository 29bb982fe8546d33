//! What a scan is asked to do: flags, and under them the settings file.
//!
//! Paths and patterns of the file count from its own folder, those of flags from where the program
//! runs. The file is strict: a key that it does not know is an error with its place.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use provost_manifests::Exclude;
use provost_model::Severity;

use super::written::{self, Written};
use super::{Args, Format};
use crate::exit::UsageError;

pub const FILE_NAME: &str = ".provost.yaml";

#[derive(Debug)]
pub struct Settings {
    pub paths: Vec<PathBuf>,
    /// Empty: the built-in library.
    pub policies: Vec<PathBuf>,
    /// Signatures of bundles are checked against it.
    pub root: Option<PathBuf>,
    /// By a flag: then there must be something to check.
    pub is_root_asked_for: bool,
    pub policy_ids: Vec<String>,
    pub exclude: Vec<Exclude>,
    pub namespace: Option<String>,
    pub fail_on: Severity,
    pub output: Format,
    /// The settings file that was read.
    pub file: Option<PathBuf>,
}

pub fn resolve(args: Args) -> anyhow::Result<Settings> {
    let Args {
        paths,
        policies,
        root,
        policy_id,
        exclude,
        namespace,
        fail_on,
        output,
        config,
        no_config,
    } = args;
    let file = match config {
        Some(file) => Some(file),
        None if no_config => None,
        None => find_upwards(&paths),
    };
    let (written, folder) = match &file {
        Some(file) => {
            let bytes = fs::read(file).map_err(|error| {
                UsageError(format!("{} cannot be read: {error}", file.display()))
            })?;
            let folder =
                file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            (
                written::parse(&file.display().to_string(), bytes).map_err(UsageError)?,
                folder.to_owned(),
            )
        }
        None => (Written::default(), PathBuf::from(".")),
    };
    let patterns = |base: &Path, patterns: &[String]| {
        Exclude::new(base, patterns).map_err(|error| UsageError(error.to_string()))
    };
    let exclude = vec![patterns(Path::new("."), &exclude)?, patterns(&folder, &written.exclude)?];
    let namespace = namespace.or(written.namespace);
    if let Some(name) = &namespace {
        check_namespace(name)?;
    }
    let is_root_asked_for = root.is_some();
    let root = root.or_else(|| written.root.map(|path| folder.join(path)));
    let from_file = || written.policies.iter().map(|path| folder.join(path)).collect();
    Ok(Settings {
        paths,
        policies: if policies.is_empty() { from_file() } else { policies },
        root,
        is_root_asked_for,
        policy_ids: if policy_id.is_empty() { written.policy_ids } else { policy_id },
        exclude,
        namespace,
        fail_on: fail_on.or(written.fail_on).unwrap_or(Severity::Low),
        output,
        file,
    })
}

/// From the first path upwards, to the root of a repository or of the file system.
fn find_upwards(paths: &[PathBuf]) -> Option<PathBuf> {
    let first =
        paths.iter().find(|path| path.as_os_str() != "-").map_or(Path::new("."), PathBuf::as_path);
    let start = fs::canonicalize(first).ok()?;
    let folder = if start.is_dir() { start.as_path() } else { start.parent()? };
    for folder in folder.ancestors() {
        let file = folder.join(FILE_NAME);
        if file.is_file() {
            return Some(file);
        }
        if folder.join(".git").exists() {
            break;
        }
    }
    None
}

/// A DNS label, as the API server takes it.
fn check_namespace(name: &str) -> anyhow::Result<()> {
    let inside = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let ends = !name.starts_with('-') && !name.ends_with('-');
    if inside && ends && (1..=63).contains(&name.len()) {
        return Ok(());
    }
    let message = format!(
        "`{name}` is no namespace: lower-case letters, digits and dashes, at most 63, such as shop-prod"
    );
    Err(UsageError(message)).context("--namespace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_dns_labels() {
        assert!(check_namespace("shop-1").is_ok());
        for name in ["", "Shop", "a.b", "-a", "a-", "a/b"] {
            assert!(check_namespace(name).is_err(), "{name}");
        }
    }
}

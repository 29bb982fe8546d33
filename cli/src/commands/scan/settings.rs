//! What a scan is asked to do: flags, and under them the settings file.
//!
//! Paths and patterns of the file count from its own folder, those of flags from where the program
//! runs. The file is strict: a key that it does not know is an error with its place.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use provost_manifests::{Exclude, Node, Position, Value, read_bytes};
use provost_model::Severity;

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

/// What a settings file says; what it leaves out is empty.
#[derive(Debug, Default, PartialEq)]
struct Written {
    policies: Vec<String>,
    root: Option<String>,
    policy_ids: Vec<String>,
    exclude: Vec<String>,
    namespace: Option<String>,
    fail_on: Option<Severity>,
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
            (parse(&file.display().to_string(), bytes)?, folder.to_owned())
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

fn parse(shown: &str, bytes: Vec<u8>) -> anyhow::Result<Written> {
    let content = read_bytes(&Arc::from(shown), None, bytes);
    if let Some(problem) = content.problems.first() {
        return Err(UsageError(problem.to_string()).into());
    }
    let mut documents = content.documents.into_iter();
    let Some(document) = documents.next() else { return Ok(Written::default()) };
    let refuse = |at: Position, message: String| UsageError(format!("{shown}:{at}: {message}"));
    if let Some(second) = documents.next() {
        return Err(refuse(second.at, "there is a second document".to_owned()).into());
    }
    if !matches!(document.node.value, Value::Mapping(_)) {
        return Err(refuse(
            document.at,
            format!("expected a mapping, found {}", document.node.type_name()),
        )
        .into());
    }
    let mut written = Written::default();
    for entry in document.node.entries() {
        let value = &entry.value;
        let fail = |(at, message)| refuse(at, format!("{}: {message}", entry.key));
        match entry.key.as_str() {
            "policies" => written.policies = texts(value).map_err(fail)?,
            "policyIds" => written.policy_ids = texts(value).map_err(fail)?,
            "root" => written.root = Some(text(value).map_err(fail)?),
            "exclude" => written.exclude = texts(value).map_err(fail)?,
            "namespace" => written.namespace = Some(text(value).map_err(fail)?),
            "failOn" => {
                let word = text(value).map_err(fail)?;
                written.fail_on = Some(
                    word.parse().map_err(|error| refuse(value.at, format!("failOn: {error}")))?,
                );
            }
            other => {
                let known = "policies, root, policyIds, exclude, namespace, failOn";
                return Err(refuse(
                    entry.key_at,
                    format!("unknown key `{other}`: expected one of {known}"),
                )
                .into());
            }
        }
    }
    Ok(written)
}

fn text(node: &Node) -> Result<String, (Position, String)> {
    let found = || (node.at, format!("expected a text, found {}", node.type_name()));
    node.as_str().map(str::to_owned).ok_or_else(found)
}

fn texts(node: &Node) -> Result<Vec<String>, (Position, String)> {
    match &node.value {
        Value::Sequence(elements) => elements.iter().map(text).collect(),
        _ => Err((node.at, format!("expected a list, found {}", node.type_name()))),
    }
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
    fn a_settings_file_is_strict_and_says_where() {
        let full =
            "policies: [a]\nroot: r\npolicyIds: [b]\nexclude: [c]\nnamespace: d\nfailOn: high\n";
        let written = parse("f", full.into()).unwrap();
        assert_eq!(written.policies, ["a"]);
        assert_eq!(written.fail_on, Some(Severity::High));
        assert_eq!(parse("f", b"# nothing\n".to_vec()).unwrap(), Written::default());
        for (text, expected) in [
            ("exclude: [a]\nfailon: high\n", "f:2:1: unknown key `failon`"),
            ("exclude: a\n", "f:1:10: exclude: expected a list, found a string"),
            ("exclude: [1]\n", "f:1:11: exclude: expected a text, found a number"),
            ("failOn: hihg\n", "f:1:9: failOn: unknown word \"hihg\""),
            ("- a\n", "f:1:1: expected a mapping"),
            ("a: [\n", "f:1:4"),
            ("namespace: a\n---\nnamespace: b\n", "f:3:1: there is a second document"),
        ] {
            let error = parse("f", text.into()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn namespaces_are_dns_labels() {
        assert!(check_namespace("shop-1").is_ok());
        for name in ["", "Shop", "a.b", "-a", "a-", "a/b"] {
            assert!(check_namespace(name).is_err(), "{name}");
        }
    }
}

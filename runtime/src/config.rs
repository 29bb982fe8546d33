//! Settings: a YAML file, then the environment, then flags; each later one wins.
//!
//! Invariants: an unknown key is an error, never ignored; an error names file, line, column and
//! key, or the variable or flag; every struct read here has a default for every field, so that a
//! value may come from any of the three places.

mod place;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// What a daemon's main returns when its settings are wrong.
pub const EXIT_CODE: u8 = 2;
/// A settings file is smaller than this.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: larger than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge { path: PathBuf },
    /// `path:line:column: key: what`.
    #[error("{}{position}: {key}{message}", path.display())]
    Yaml { path: PathBuf, position: Position, key: Key, message: String },
    /// A variable or flag.
    #[error("{origin}: {message}")]
    Override { origin: String, message: String },
    /// A rule between settings; from the caller's own check.
    #[error("{key}: {message}")]
    Rule { key: String, message: String },
}

/// `:line:column`, or nothing where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position(pub Option<(u64, u64)>);

/// `key: `, or nothing where the whole document is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key(pub String);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |(line, column)| write!(f, ":{line}:{column}"))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() || self.0 == "." { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

/// Says that settings do not fit together.
pub fn rule(key: &str, message: impl Into<String>) -> Error {
    Error::Rule { key: key.to_owned(), message: message.into() }
}

impl Error {
    /// Of a rule: with the place where the key was set, in the file or in what was laid over it.
    #[must_use]
    pub fn located(self, file: Option<&Path>, overrides: &Overrides) -> Self {
        let Self::Rule { key, message } = self else { return self };
        let keys: Vec<_> = key.split('.').map(str::to_owned).collect();
        let covers = |set: &Vec<String>| keys.starts_with(set) || set.starts_with(&keys);
        let over = overrides.entries.iter().rev().find(|(_, set, _)| covers(set));
        if let Some((origin, ..)) = over {
            let message = format!("{key}: {message}");
            return Self::Override { origin: origin.clone(), message };
        }
        let Some(path) = file else { return Self::Rule { key, message } };
        let position = read(path).ok().and_then(|text| place::find(&text, &keys));
        Self::Yaml { path: path.to_owned(), position: Position(position), key: Key(key), message }
    }
}

/// Where settings come from besides their file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Origin as people know it, path of keys, text.
    entries: Vec<(String, Vec<String>, String)>,
}

impl Overrides {
    /// Variables `PREFIX_KEY`, with `__` between the keys of nested settings:
    /// `PROVOST_AGENT_ADMIN__LISTEN`. `skip`: variables with the prefix that are not settings.
    #[must_use]
    pub fn environment(
        prefix: &str,
        skip: &[&str],
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut entries: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, text)| {
                let rest = name.strip_prefix(prefix)?.strip_prefix('_')?;
                if rest.is_empty() || skip.contains(&name.as_str()) {
                    return None;
                }
                let keys = rest.split("__").map(str::to_ascii_lowercase).collect();
                Some((name, keys, text))
            })
            .collect();
        entries.sort();
        Self { entries }
    }

    /// A flag, as `--data-dir`, for the setting at `key` (keys joined by dots). None: not given.
    #[must_use]
    pub fn flag(mut self, flag: &str, key: &str, text: Option<String>) -> Self {
        if let Some(text) = text {
            let keys = key.split('.').map(str::to_owned).collect();
            self.entries.push((flag.to_owned(), keys, text));
        }
        self
    }
}

/// The variables of this process. For mains.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
}

/// Reads `file`, where one is given, then lays `overrides` over it.
pub fn load<T>(file: Option<&Path>, overrides: &Overrides) -> Result<T, Error>
where
    T: DeserializeOwned,
{
    let text = file.map(read).transpose()?.unwrap_or_default();
    let path = file.unwrap_or_else(|| Path::new("settings"));
    parse(path, &text, overrides)
}

/// As [`load`], from text.
pub fn parse<T>(path: &Path, text: &str, overrides: &Overrides) -> Result<T, Error>
where
    T: DeserializeOwned,
{
    let empty = text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#'));
    let text = if empty { "{}" } else { text };
    let settings: T = from_yaml(path, text)?;
    if overrides.entries.is_empty() {
        return Ok(settings);
    }
    let mut tree: Value = from_yaml(path, text)?;
    let mut settings = settings;
    // One after the other, so that the one that does not fit is known by name.
    for (origin, keys, text) in &overrides.entries {
        settings = lay(&mut tree, origin, keys, text)?;
    }
    Ok(settings)
}

fn read(path: &Path) -> Result<String, Error> {
    let at = |source| Error::Read { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(at)?.len() > MAX_FILE_BYTES {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    std::fs::read_to_string(path).map_err(at)
}

fn from_yaml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    let mut key = Key::default();
    let parsed = serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            key = Key(error.path().to_string());
            error.into_inner()
        })
    });
    parsed.map_err(|error: serde_saphyr::Error| {
        let position = error.location().map(|at| (at.line(), at.column()));
        let message = first_line(&error.without_snippet().to_string());
        Error::Yaml { path: path.to_owned(), position: Position(position), key, message }
    })
}

/// Sets one value, read as text first and as a YAML scalar or list when text does not fit.
fn lay<T: DeserializeOwned>(
    tree: &mut Value,
    origin: &str,
    keys: &[String],
    text: &str,
) -> Result<T, Error> {
    let bad = |message: String| Error::Override { origin: origin.to_owned(), message };
    let as_yaml = serde_saphyr::from_str::<Value>(text).ok();
    let candidates = as_yaml.into_iter().chain([Value::String(text.to_owned())]);
    let mut failure = None;
    for value in candidates {
        let mut candidate = tree.clone();
        set(&mut candidate, keys, value).map_err(bad)?;
        match serde_path_to_error::deserialize::<_, T>(candidate.clone()) {
            Ok(settings) => {
                *tree = candidate;
                return Ok(settings);
            }
            Err(error) => {
                failure.get_or_insert_with(|| {
                    format!("{}{}", Key(error.path().to_string()), error.inner())
                });
            }
        }
    }
    Err(bad(failure.unwrap_or_default()))
}

fn set(tree: &mut Value, keys: &[String], value: Value) -> Result<(), String> {
    let mut at = tree;
    for key in keys {
        if at.is_null() {
            *at = Value::Object(serde_json::Map::new());
        }
        let Value::Object(map) = at else {
            return Err(format!("{key} is inside a setting that has no parts"));
        };
        at = map.entry(key.clone()).or_insert(Value::Null);
    }
    *at = value;
    Ok(())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Settings {
        name: String,
        interval_ms: u64,
        admin: Admin,
        hubs: Vec<String>,
        source: Option<Source>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Admin {
        listen: String,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase", deny_unknown_fields)]
    enum Source {
        Manifests(Manifests),
        Cluster,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Manifests {
        dir: PathBuf,
    }

    impl Default for Settings {
        fn default() -> Self {
            Self {
                name: "unnamed".to_owned(),
                interval_ms: 30_000,
                admin: Admin::default(),
                hubs: Vec::new(),
                source: None,
            }
        }
    }

    fn read_text(text: &str, overrides: &Overrides) -> Result<Settings, String> {
        parse(Path::new("agent.yaml"), text, overrides).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_fills_what_it_names() {
        let text = "interval_ms: 5\nsource:\n  manifests:\n    dir: /srv\n";
        let settings = read_text(text, &Overrides::default()).unwrap();
        assert_eq!((settings.interval_ms, settings.name.as_str()), (5, "unnamed"));
        assert_eq!(settings.source, Some(Source::Manifests(Manifests { dir: "/srv".into() })));
        assert_eq!(read_text("", &Overrides::default()).unwrap(), Settings::default());
        assert_eq!(read_text("# x\n", &Overrides::default()).unwrap(), Settings::default());
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let unknown = read_text("name: a\nhearbeat: 3\n", &Overrides::default()).unwrap_err();
        assert!(unknown.starts_with("agent.yaml:2:1: "), "{unknown}");
        assert!(unknown.contains("hearbeat"), "{unknown}");
        let wrong = read_text("admin:\n  listen: [1]\n", &Overrides::default()).unwrap_err();
        assert!(wrong.starts_with("agent.yaml:2:"), "{wrong}");
        assert!(wrong.contains("admin.listen"), "{wrong}");
        let broken = read_text("name: [\n", &Overrides::default()).unwrap_err();
        assert!(broken.starts_with("agent.yaml:"), "{broken}");
        let twice = read_text("name: a\nname: b\n", &Overrides::default()).unwrap_err();
        assert!(twice.starts_with("agent.yaml:2:"), "{twice}");
    }

    #[test]
    fn environment_wins_over_file_and_flags_over_both() {
        let variables = [
            ("PROVOST_AGENT_NAME", "7"),
            ("PROVOST_AGENT_ADMIN__LISTEN", "127.0.0.1:0"),
            ("PROVOST_AGENT_INTERVAL_MS", "9"),
            ("PROVOST_AGENT_HUBS", "[a, b]"),
            ("PROVOST_AGENT_CONFIG", "x"),
            ("HOME", "/root"),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()));
        let overrides =
            Overrides::environment("PROVOST_AGENT", &["PROVOST_AGENT_CONFIG"], variables)
                .flag("--interval-ms", "interval_ms", Some("11".to_owned()))
                .flag("--name", "name", None);
        let settings = read_text("name: file\ninterval_ms: 5\n", &overrides).unwrap();
        assert_eq!(settings.name, "7");
        assert_eq!(settings.interval_ms, 11);
        assert_eq!(settings.admin.listen, "127.0.0.1:0");
        assert_eq!(settings.hubs, ["a", "b"]);
    }

    #[test]
    fn a_bad_override_is_named() {
        let variables = [("P_INTERVAL_MS".to_owned(), "soon".to_owned())];
        let error = read_text("", &Overrides::environment("P", &[], variables)).unwrap_err();
        assert!(error.starts_with("P_INTERVAL_MS: interval_ms: "), "{error}");
        let unknown = Overrides::default().flag("--nmae", "nmae", Some("x".to_owned()));
        let error = read_text("", &unknown).unwrap_err();
        assert!(error.starts_with("--nmae: ") && error.contains("nmae"), "{error}");
    }

    #[test]
    fn a_broken_rule_is_found_where_the_key_was_set() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.yaml");
        std::fs::write(&path, "name: a\nadmin:\n  listen: '127.0.0.1:1'\nhubs: [a, b]\n").unwrap();
        let located = |key: &str, overrides: &Overrides| {
            rule(key, "is in use").located(Some(&path), overrides).to_string()
        };
        let none = Overrides::default();
        for (key, place) in
            [("admin.listen", ":3:"), ("admin", ":3:"), ("hubs", ":4:"), ("name", ":1:")]
        {
            let error = located(key, &none);
            assert!(error.starts_with(&format!("{}{place}", path.display())), "{key}: {error}");
            assert!(error.ends_with(&format!("{key}: is in use")), "{error}");
        }
        let unset = located("interval_ms", &none);
        assert_eq!(unset, format!("{}: interval_ms: is in use", path.display()));
        let flag = none.flag("--admin-listen", "admin.listen", Some("127.0.0.1:2".to_owned()));
        assert_eq!(located("admin.listen", &flag), "--admin-listen: admin.listen: is in use");
        let error = rule("name", "is long").located(None, &Overrides::default()).to_string();
        assert_eq!(error, "name: is long");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load::<Settings>(Some(Path::new("/nowhere/x.yaml")), &Overrides::default());
        assert_eq!(error.unwrap_err().to_string(), "cannot read /nowhere/x.yaml");
    }
}

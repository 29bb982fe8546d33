//! Paths to files, in a stable order: as given, folders sorted by name.
//!
//! In folders only `.yaml`, `.yml` and `.json` files count, and what is hidden is skipped, as is what
//! is no file, such as a pipe; what is given by name is read whatever it is. Links are followed,
//! loops are not; a file reached twice is read once. `.gitignore` is not asked: what a cluster may
//! be given is checked.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::document::{Problem, ProblemKind};
use crate::limits::{MAX_FILES, MAX_FOLDER_DEPTH};

/// A file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// As shown to people: the path as given and found, `-` for standard input.
    pub shown: Arc<str>,
    pub source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `path` is canonical.
    File {
        path: Arc<Path>,
    },
    Stdin,
}

/// Paths to leave out.
#[derive(Clone, Debug)]
pub struct Exclude {
    /// Canonical: patterns with a slash count from here.
    base: PathBuf,
    set: GlobSet,
}

/// A pattern of paths that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no pattern of paths: {reason}")]
pub struct BadPattern {
    pub pattern: String,
    pub reason: String,
}

impl Exclude {
    /// Patterns as in a shell: `*` stays within a folder, `**` does not. One without a slash fits a
    /// file or folder of that name anywhere, one with a slash a path from `base` on. A folder that
    /// is excluded takes all that is in it along.
    pub fn new<S: AsRef<str>>(base: &Path, patterns: &[S]) -> Result<Self, BadPattern> {
        let refused = |pattern: &str, error: &globset::Error| BadPattern {
            pattern: pattern.to_owned(),
            reason: error.kind().to_string(),
        };
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let bare = pattern.as_ref().trim_start_matches("./").trim_end_matches('/');
            // It would fit the base itself, and with it leave out everything.
            if bare.is_empty() {
                let pattern = pattern.as_ref().to_owned();
                return Err(BadPattern { pattern, reason: "it names nothing".to_owned() });
            }
            let glob = GlobBuilder::new(bare).literal_separator(true).build();
            set.add(glob.map_err(|error| refused(pattern.as_ref(), &error))?);
        }
        let set = set.build().map_err(|error| refused(error.glob().unwrap_or_default(), &error))?;
        Ok(Self { base: fs::canonicalize(base).unwrap_or_else(|_| base.to_owned()), set })
    }

    /// `path` is canonical up to its last part, which may be a link.
    fn covers(&self, path: &Path) -> bool {
        let named = path.file_name().is_some_and(|name| self.set.is_match(Path::new(name)));
        named
            || self.set.is_match(path)
            || path.strip_prefix(&self.base).is_ok_and(|path| self.set.is_match(path))
    }
}

#[derive(Debug, Default)]
pub struct Walk {
    pub inputs: Vec<Input>,
    pub problems: Vec<Problem>,
}

/// Finds what to read under `paths`.
#[must_use]
pub fn walk(paths: &[PathBuf], exclude: &[Exclude]) -> Walk {
    let mut walker = Walker { exclude, found: Walk::default(), seen: HashSet::new(), full: false };
    for path in paths {
        if path.as_os_str() == "-" {
            walker.stdin();
        } else {
            walker.given(path);
        }
    }
    walker.found
}

struct Walker<'a> {
    exclude: &'a [Exclude],
    found: Walk,
    seen: HashSet<Arc<Path>>,
    full: bool,
}

impl Walker<'_> {
    fn stdin(&mut self) {
        let input = Input { shown: Arc::from("-"), source: Source::Stdin };
        if !self.found.inputs.contains(&input) {
            self.found.inputs.push(input);
        }
    }

    fn given(&mut self, path: &Path) {
        // What is given by name is left out as well where a folder above it is excluded.
        let excluded = fs::canonicalize(path).is_ok_and(|canonical| {
            canonical
                .ancestors()
                .any(|path| self.exclude.iter().any(|exclude| exclude.covers(path)))
        });
        if excluded {
            return;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let Ok(canonical) = fs::canonicalize(path) else {
                    return self.problem(
                        path,
                        ProblemKind::Unreadable,
                        "cannot be opened".to_owned(),
                    );
                };
                self.folder(path, &mut vec![canonical]);
            }
            Ok(_) => self.file(path),
            Err(error) => self.failed(path, &error),
        }
    }

    /// `above` are the canonical folders on the way here, this one last.
    fn folder(&mut self, folder: &Path, above: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(folder).and_then(|entries| {
            entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>()
        });
        let mut paths = match entries {
            Ok(paths) => paths,
            Err(error) => return self.failed(folder, &error),
        };
        paths.sort();
        for path in paths {
            if self.full {
                return;
            }
            let Some(name) = path.file_name() else { continue };
            let canonical = above.last().map(|folder| folder.join(name)).unwrap_or_default();
            let hidden = name.as_encoded_bytes().starts_with(b".");
            if hidden || self.exclude.iter().any(|exclude| exclude.covers(&canonical)) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.descend(&path, above),
                Ok(metadata) if metadata.is_file() && is_manifest_name(&path) => self.file(&path),
                Ok(_) => {}
                // A dangling link or a file without permission, where it would have counted.
                Err(error) if is_manifest_name(&path) => self.failed(&path, &error),
                Err(_) => {}
            }
        }
    }

    fn descend(&mut self, path: &Path, above: &mut Vec<PathBuf>) {
        if above.len() >= MAX_FOLDER_DEPTH {
            let message = format!("folders are nested deeper than {MAX_FOLDER_DEPTH}");
            return self.problem(path, ProblemKind::Limit, message);
        }
        let Ok(canonical) = fs::canonicalize(path) else {
            return self.problem(path, ProblemKind::Unreadable, "cannot be opened".to_owned());
        };
        if above.contains(&canonical) {
            return;
        }
        above.push(canonical);
        self.folder(path, above);
        above.pop();
    }

    fn file(&mut self, path: &Path) {
        // What has no canonical path, such as a pipe, is read by the path given.
        let canonical = fs::canonicalize(path).map_or_else(|_| Arc::from(path), Arc::from);
        if !self.seen.insert(Arc::clone(&canonical)) {
            return;
        }
        if self.found.inputs.len() >= MAX_FILES {
            self.full = true;
            let message =
                format!("more than {MAX_FILES} files: this one and the rest were not read");
            return self.problem(path, ProblemKind::Limit, message);
        }
        let source = Source::File { path: canonical };
        self.found.inputs.push(Input { shown: show(path), source });
    }

    fn failed(&mut self, path: &Path, error: &std::io::Error) {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ProblemKind::Missing,
            _ => ProblemKind::Unreadable,
        };
        let message = match kind {
            ProblemKind::Missing => "no such file or folder".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        self.problem(path, kind, message);
    }

    fn problem(&mut self, path: &Path, kind: ProblemKind, message: String) {
        self.found.problems.push(Problem { file: show(path), at: None, kind, message });
    }
}

/// Without `./` in front.
fn show(path: &Path) -> Arc<str> {
    let bare = path.strip_prefix(".").unwrap_or(path);
    Arc::from(bare.to_string_lossy())
}

fn is_manifest_name(path: &Path) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| {
        ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

//! Paths to files, in a stable order: as given, folders sorted by name.
//!
//! In folders only `.yaml`, `.yml` and `.json` files count and what is hidden is skipped; a file
//! given by name is read whatever it is called. Links are followed, loops are not; a file reached
//! twice is read once. `.gitignore` is not asked: what a cluster may be given is checked.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::GlobSet;

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
        path: PathBuf,
    },
    Stdin,
}

#[derive(Debug, Default)]
pub struct Walk {
    pub inputs: Vec<Input>,
    pub problems: Vec<Problem>,
}

/// Finds what to read under `paths`.
#[must_use]
pub fn walk(paths: &[PathBuf], exclude: &GlobSet) -> Walk {
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
    exclude: &'a GlobSet,
    found: Walk,
    seen: HashSet<PathBuf>,
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
        if self.is_excluded(path) {
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
        let mut names: Vec<PathBuf> = match fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
            Err(error) => return self.failed(folder, &error),
        };
        names.sort();
        for path in names {
            if self.full {
                return;
            }
            let hidden =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if hidden || self.is_excluded(&path) {
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
        let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if !self.seen.insert(canonical.clone()) {
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

    fn is_excluded(&self, path: &Path) -> bool {
        let shown = path.strip_prefix(".").unwrap_or(path);
        self.exclude.is_match(shown)
            || path.file_name().is_some_and(|name| self.exclude.is_match(Path::new(name)))
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

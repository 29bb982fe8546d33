//! Reads a policy tree from disk or memory.
//!
//! ```text
//! <area>/<policy>/policy.rego              METADATA and rules
//! <area>/<policy>/*_test.rego              its own tests
//! <area>/<policy>/examples/{pass,fail}/NAME.yaml, NAME.input.yaml
//! lib/*.rego                               shared Rego
//! bindings/*.yaml                          one binding a document
//! ```
//!
//! Hidden files and whatever else people keep there are passed over.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use provost_model::binding::Origin;
use provost_model::limits::{MAX_BLOB_BYTES, MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES};
use provost_model::{Code, Digest};

use crate::assemble::assemble_what_is_whole;
use crate::bundle::Bundle;
use crate::contents::Contents;
use crate::diagnostic::Diagnostic;
use crate::role::{Form, Role};

/// A policy tree that was read.
#[derive(Clone, Debug)]
pub struct Source {
    bundle: Bundle,
    root: String,
    left_out: Vec<Diagnostic>,
}

impl Source {
    /// What the engine compiles. Its origin is local, with the content digest.
    #[must_use]
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    #[must_use]
    pub fn into_bundle(self) -> Bundle {
        self.bundle
    }

    /// What people know the tree by; paths within the bundle are below it.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// What is wrong with the policies that [`read_what_is_whole`] left out.
    #[must_use]
    pub fn left_out(&self) -> &[Diagnostic] {
        &self.left_out
    }

    fn without_a_complaint(self) -> Result<Self, Vec<Diagnostic>> {
        if self.left_out.is_empty() { Ok(self) } else { Err(self.left_out) }
    }
}

/// Reads `path`: a policy tree, or the folder of one policy within one, which takes the tree's
/// libraries along. Refuses it for anything that is wrong in it.
pub fn read_dir(path: &Path) -> Result<Source, Vec<Diagnostic>> {
    read_what_is_whole(path)?.without_a_complaint()
}

/// Like [`read_dir`], but a policy in whose folder something is wrong is left out, and the others stand.
pub fn read_what_is_whole(path: &Path) -> Result<Source, Vec<Diagnostic>> {
    let shown = path.display().to_string();
    if !path.join("policy.rego").is_file() {
        return whole_of_files(&shown, &walk(path)?);
    }
    let absolute = fs::canonicalize(path).map_err(|error| vec![unreadable(&shown, &error)])?;
    let tail: Vec<String> = absolute
        .components()
        .rev()
        .take(2)
        .map(|component| component.as_os_str().to_string_lossy().into_owned())
        .collect();
    let (Some(root), [slug, area]) = (absolute.ancestors().nth(2), &tail[..]) else {
        let problem = Diagnostic::new(&shown, Code::Invalid, "a policy stands in <area>/<policy>/");
        return Err(vec![problem]);
    };
    let mut files = walk(root)?;
    let own = format!("{area}/{slug}/");
    files.retain(|path, _| path.starts_with("lib/") || path.starts_with(&own));
    whole_of_files(&root.display().to_string(), &files)
}

/// Reads a policy tree that is in memory, by path below its root. `root` is what people know the
/// tree by; it stands before every path in a complaint.
pub fn from_files(root: &str, files: &BTreeMap<String, Bytes>) -> Result<Source, Vec<Diagnostic>> {
    whole_of_files(root, files)?.without_a_complaint()
}

fn whole_of_files(root: &str, files: &BTreeMap<String, Bytes>) -> Result<Source, Vec<Diagnostic>> {
    let root = root.trim_end_matches('/');
    let name = |path: &str| match (root, path) {
        ("", path) => path.to_owned(),
        (root, "") => root.to_owned(),
        (root, path) => format!("{root}/{path}"),
    };
    let unknown = Origin::Local(Digest::from_bytes([0; 32]));
    let (mut bundle, left_out) = assemble_what_is_whole(files, Form::Tree, unknown, &name)?;
    if bundle.policies.is_empty() && !left_out.is_empty() {
        return Err(left_out);
    }
    if bundle.policies.is_empty() {
        let problem = Diagnostic::new(&name(""), Code::NotFound, "there is no policy in it")
            .hint("a policy stands in <area>/<policy>/policy.rego");
        return Err(vec![problem]);
    }
    bundle.origin = Origin::Local(Contents::of(&bundle).content_digest());
    Ok(Source { bundle, root: root.to_owned(), left_out })
}

/// The files of a tree that mean something, by path below `root`.
fn walk(root: &Path) -> Result<BTreeMap<String, Bytes>, Vec<Diagnostic>> {
    let mut walk = Walk::default();
    walk.folder(root, "");
    if walk.problems.is_empty() { Ok(walk.files) } else { Err(walk.problems) }
}

/// A tree needs four: area, policy, examples, pass. Below that, misplaced files are still told.
const MAX_DEPTH: usize = 8;

#[derive(Default)]
struct Walk {
    files: BTreeMap<String, Bytes>,
    total_bytes: usize,
    problems: Vec<Diagnostic>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, below: &str) {
        let shown = folder.display().to_string();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(unreadable(&shown, &error)),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.entry(&entry.path(), below),
                Err(error) => self.problems.push(unreadable(&shown, &error)),
            }
        }
    }

    fn entry(&mut self, path: &Path, below: &str) {
        let shown = path.display().to_string();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            let problem = Diagnostic::new(&shown, Code::UnsafePath, "the name is not UTF-8");
            return self.problems.push(problem);
        };
        if name.starts_with('.') {
            return;
        }
        let relative = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        // A link to a file is followed, a link to a folder is not: a tree has no cycles.
        if path.is_symlink() && path.is_dir() {
            return;
        }
        if path.is_dir() {
            if below.split('/').count() <= MAX_DEPTH {
                self.folder(path, &relative);
            }
        } else if Role::of(&relative, Form::Tree) != Role::Ignored {
            self.file(path, relative);
        }
    }

    fn file(&mut self, path: &Path, relative: String) {
        let shown = path.display().to_string();
        let limit = |message: String| Diagnostic::new(&shown, Code::Limit, message);
        let size = match fs::metadata(path) {
            Ok(metadata) => usize::try_from(metadata.len()).unwrap_or(usize::MAX),
            Err(error) => return self.problems.push(unreadable(&shown, &error)),
        };
        self.total_bytes = self.total_bytes.saturating_add(size);
        if size > MAX_BLOB_BYTES {
            let message = format!("{size} bytes; a file has at most {MAX_BLOB_BYTES}");
            return self.problems.push(limit(message));
        }
        if self.files.len() >= MAX_BUNDLE_FILES || self.total_bytes > MAX_BUNDLE_BYTES {
            if self.problems.iter().all(|problem| problem.code != Code::Limit) {
                self.problems.push(limit(format!(
                    "with this file the tree has more than {MAX_BUNDLE_FILES} files or {MAX_BUNDLE_BYTES} bytes"
                )));
            }
            return;
        }
        match fs::read(path) {
            Ok(bytes) => {
                self.files.insert(relative, bytes.into());
            }
            Err(error) => self.problems.push(unreadable(&shown, &error)),
        }
    }
}

fn unreadable(file: &str, error: &std::io::Error) -> Diagnostic {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => Code::NotFound,
        std::io::ErrorKind::PermissionDenied => Code::Forbidden,
        _ => Code::Invalid,
    };
    Diagnostic::new(file, code, format!("cannot be read: {error}"))
}

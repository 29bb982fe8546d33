//! Paths to documents: walks, reads, and then decides what needs to know all files.

use std::path::PathBuf;

use globset::GlobSet;

use crate::document::{Document, Problem};

#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Files and folders; `-` is standard input.
    pub paths: Vec<PathBuf>,
    /// Matched against each path as shown and against its file name.
    pub exclude: GlobSet,
    /// Fills a missing namespace of namespaced kinds; never replaces a written one.
    pub namespace: Option<String>,
}

/// Everything read, in stable order: paths as given, folders sorted, documents as written.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub documents: Vec<Document>,
    pub problems: Vec<Problem>,
    /// Files read, whether or not they held anything.
    pub files: usize,
}

/// Reads everything under `options.paths`. Never fails as a whole.
#[must_use]
#[expect(clippy::todo, reason = "signature first")]
pub fn load(options: &Options) -> Loaded {
    let _ = options;
    todo!()
}

//! Reads a policy folder.

use std::path::Path;

use crate::bundle::Bundle;
use crate::diagnostic::Diagnostic;

/// A policy folder that was read without a complaint.
#[derive(Clone, Debug)]
pub struct Source {
    bundle: Bundle,
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
}

/// Reads `path`: a policy tree, or the folder of one policy within one.
#[expect(clippy::todo, reason = "the interface comes first")]
pub fn read_dir(_path: &Path) -> Result<Source, Vec<Diagnostic>> {
    todo!()
}

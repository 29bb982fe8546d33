//! The files of a built bundle, by path: `.rego` and `.json` alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use provost_model::Digest;
use provost_model::binding::Origin;
use provost_trust::files::FileEntry;

use crate::bundle::Bundle;
use crate::diagnostic::Diagnostic;
use crate::source::Source;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub files: BTreeMap<String, Bytes>,
}

/// Writes metadata, bindings and examples as JSON beside the Rego.
#[must_use]
#[expect(clippy::todo, reason = "the interface comes first")]
pub fn pack(_source: &Source) -> Contents {
    todo!()
}

impl Contents {
    /// What the manifest lists.
    #[must_use]
    #[expect(clippy::todo, reason = "the interface comes first")]
    pub fn entries(&self) -> Vec<FileEntry> {
        todo!()
    }

    /// Reproducible: path, size and SHA-256 of each file.
    #[must_use]
    pub fn content_digest(&self) -> Digest {
        provost_trust::files::content_digest(&self.entries())
    }

    /// Reads the bundle. Parses no YAML.
    #[expect(clippy::todo, reason = "the interface comes first")]
    pub fn load(&self, _origin: Origin) -> Result<Bundle, Vec<Diagnostic>> {
        todo!()
    }
}

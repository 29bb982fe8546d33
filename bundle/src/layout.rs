//! A built bundle on disk: `bundle.dsse.json` and `blobs/<sha256>`.

use std::path::Path;

use provost_trust::Envelope;

use crate::contents::Contents;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}")]
    Io { path: String, source: std::io::Error },
    #[error("{path}: {source}")]
    Trust { path: String, source: provost_trust::Error },
}

/// A bundle folder as it was found: nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleDir {
    pub envelope: Envelope,
    pub contents: Contents,
}

#[expect(clippy::todo, reason = "the interface comes first")]
pub fn write_dir(_path: &Path, _bundle: &BundleDir) -> Result<(), Error> {
    todo!()
}

/// Reads envelope and blobs. Files that the manifest lists and the folder lacks are left out, so
/// that the check names them.
#[expect(clippy::todo, reason = "the interface comes first")]
pub fn open_dir(_path: &Path) -> Result<BundleDir, Error> {
    todo!()
}

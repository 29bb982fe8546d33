//! A built bundle on disk: `bundle.dsse.json` and `blobs/<sha256>`.
//!
//! Files are named by their digest alone: no path of a manifest ever reaches the file system. Blobs
//! are written first and the envelope last, by rename, so that a folder that was cut short never
//! passes for a bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use provost_model::Digest;
use provost_trust::dsse::MAX_ENVELOPE_JSON_BYTES;
use provost_trust::{Envelope, PolicyManifest};

use crate::contents::Contents;

pub const ENVELOPE_FILE: &str = "bundle.dsse.json";
pub const BLOBS_FOLDER: &str = "blobs";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}")]
    Io { path: String, source: std::io::Error },
    #[error("{path}")]
    Trust { path: String, source: provost_trust::Error },
    #[error(
        "{path} is not empty and holds no bundle: choose a new folder, so that nothing of yours is mixed in"
    )]
    Occupied { path: String },
}

/// A bundle folder as it was found: nothing in it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleDir {
    pub envelope: Envelope,
    pub contents: Contents,
}

/// Writes a bundle, over one that stands there. Blobs that it does not name go away.
pub fn write_dir(path: &Path, bundle: &BundleDir) -> Result<(), Error> {
    let blobs = path.join(BLOBS_FOLDER);
    let occupied = path.is_dir()
        && !path.join(ENVELOPE_FILE).is_file()
        && fs::read_dir(path).map_err(io(path))?.next().is_some();
    if occupied {
        return Err(Error::Occupied { path: path.display().to_string() });
    }
    fs::create_dir_all(&blobs).map_err(io(&blobs))?;
    let mut names = BTreeSet::new();
    for bytes in bundle.contents.files.values() {
        let name = Digest::of(bytes).to_string();
        let blob = blobs.join(&name);
        if names.insert(name) {
            replace(&blob, bytes)?;
        }
    }
    write_envelope(path, &bundle.envelope)?;
    for entry in fs::read_dir(&blobs).map_err(io(&blobs))? {
        let entry = entry.map_err(io(&blobs))?;
        if !entry.file_name().to_str().is_some_and(|name| names.contains(name)) {
            fs::remove_file(entry.path()).map_err(io(&entry.path()))?;
        }
    }
    Ok(())
}

/// Replaces the envelope alone: after another signature.
pub fn write_envelope(path: &Path, envelope: &Envelope) -> Result<(), Error> {
    replace(&path.join(ENVELOPE_FILE), envelope.to_json().as_bytes())
}

/// Reads envelope and blobs. Files that the manifest lists and the folder lacks are left out, so
/// that the check names them; so is, of a file that is larger than listed, the rest.
pub fn open_dir(path: &Path) -> Result<BundleDir, Error> {
    let envelope = read_envelope(path)?;
    let manifest =
        PolicyManifest::parse(&envelope.payload).map_err(trust(&path.join(ENVELOPE_FILE)))?;
    let mut files = BTreeMap::new();
    for entry in &manifest.files {
        let blob = path.join(BLOBS_FOLDER).join(entry.sha256.to_string());
        if !blob.is_file() {
            continue;
        }
        // One byte more than listed is enough to tell that it is not the file.
        let bytes = read_capped(&blob, entry.size.saturating_add(1))?;
        files.insert(entry.path.clone(), Bytes::from(bytes));
    }
    Ok(BundleDir { envelope, contents: Contents { files } })
}

/// The envelope alone.
pub fn read_envelope(path: &Path) -> Result<Envelope, Error> {
    let file = path.join(ENVELOPE_FILE);
    let bytes = read_capped(&file, MAX_ENVELOPE_JSON_BYTES as u64 + 1)?;
    Envelope::from_json(&bytes).map_err(trust(&file))
}

/// Names in the blob folder that the manifest does not list.
pub fn strays(path: &Path, bundle: &BundleDir) -> Result<Vec<String>, Error> {
    let manifest = PolicyManifest::parse(&bundle.envelope.payload)
        .map_err(trust(&path.join(ENVELOPE_FILE)))?;
    let named: BTreeSet<String> = manifest.files.iter().map(|f| f.sha256.to_string()).collect();
    let blobs = path.join(BLOBS_FOLDER);
    let mut strays = Vec::new();
    for entry in fs::read_dir(&blobs).map_err(io(&blobs))? {
        let name = entry.map_err(io(&blobs))?.file_name().to_string_lossy().into_owned();
        if !named.contains(&name) {
            strays.push(format!("{BLOBS_FOLDER}/{name}"));
        }
    }
    strays.sort();
    Ok(strays)
}

/// A reader finds the old file or the new one whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut temporary = PathBuf::from(path);
    temporary.set_extension("tmp");
    fs::write(&temporary, bytes).map_err(io(&temporary))?;
    fs::rename(&temporary, path).map_err(io(path))
}

fn read_capped(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .map_err(io(path))?
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(io(path))?;
    Ok(bytes)
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::Io { path, source }
}

fn trust(path: &Path) -> impl FnOnce(provost_trust::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::Trust { path, source }
}

//! Bundles on disk: blobs by digest, manifests by digest, and which one is in force.
//!
//! Invariants: a blob has its final name only after its digest was checked; the pointer to the
//! active bundle is replaced last; what the pointer names is never removed. No path of a manifest
//! reaches the file system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use provost_bundle::Contents;
use provost_model::Digest;
use provost_model::limits::{MAX_BLOB_BYTES, MAX_SIGNED_PAYLOAD_BYTES};
use provost_trust::files::{FileCheck, FileEntry};
use provost_trust::{Envelope, PolicyManifest};
use serde::{Deserialize, Serialize};

use crate::damage::{self, Damage};
use crate::disk;

const ACTIVE_FILE: &str = "active.json";
const FORMAT_VERSION: u32 = 1;
/// The active bundle and this many before it stay, so that a rollback needs no network.
pub const KEPT_BEFORE: usize = 2;

#[derive(Debug, thiserror::Error)]
#[error("cannot read or write {}", path.display())]
pub struct Error {
    pub path: PathBuf,
    pub source: io::Error,
}

#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

/// Which bundle is in force, and which were before it, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pointer {
    version: u32,
    pub manifest: Digest,
    /// Under which it was accepted: keys of the policy role may have been replaced since.
    pub root_version: u64,
    #[serde(default)]
    pub before: Vec<Digest>,
}

impl Store {
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let store = Self { folder: folder.to_owned() };
        for name in ["blobs", "manifests", "partial"] {
            let folder = store.folder.join(name);
            disk::create_folder(&folder).map_err(at(&folder))?;
        }
        Ok(store)
    }

    /// None: no bundle was in force yet, or which one it was cannot be read.
    pub fn active(&self) -> Result<Option<Pointer>, Error> {
        Ok(self.pointer()?.ok())
    }

    /// Or why there is none: no damage where there never was one.
    pub fn pointer(&self) -> Result<Result<Pointer, Option<Damage>>, Error> {
        let path = self.folder.join(ACTIVE_FILE);
        let Some(bytes) = read(&path, 64 * 1024)? else { return Ok(Err(None)) };
        let damage = match serde_json::from_slice::<Pointer>(&bytes) {
            Ok(pointer) if pointer.version == FORMAT_VERSION => return Ok(Ok(pointer)),
            Ok(pointer) => Damage::of(&path, format!("format version {}", pointer.version)),
            Err(error) => Damage::of(&path, error),
        };
        Ok(Err(Some(damage)))
    }

    /// Digests of all manifests.
    pub fn manifests(&self) -> Result<Vec<Digest>, Error> {
        let names = names(&self.folder.join("manifests"))?;
        let digest = |name: String| name.strip_suffix(".dsse.json")?.parse().ok();
        Ok(names.into_iter().filter_map(digest).collect())
    }

    /// Points to a bundle whose manifest and blobs are all here; drops what nobody points to.
    pub fn activate(&self, manifest: Digest, root_version: u64) -> Result<(), Error> {
        let mut before = match self.active()? {
            Some(last) => std::iter::once(last.manifest).chain(last.before).collect(),
            None => self.newest_first()?,
        };
        before.retain(|digest| *digest != manifest);
        before.truncate(KEPT_BEFORE);
        let pointer = Pointer { version: FORMAT_VERSION, manifest, root_version, before };
        let path = self.folder.join(ACTIVE_FILE);
        let json = serde_json::to_vec_pretty(&pointer).map_err(|e| at(&path)(e.into()))?;
        disk::replace(&path, &json).map_err(at(&path))?;
        if let Err(error) = self.collect(&pointer) {
            tracing::warn!(%error, path = %error.path.display(), "old bundles were not cleaned up");
        }
        Ok(())
    }

    /// Digests of all manifests that can be read.
    fn newest_first(&self) -> Result<Vec<Digest>, Error> {
        let mut held = Vec::new();
        for digest in self.manifests()? {
            let envelope = self.manifest(&digest)?;
            let manifest = envelope.and_then(|found| PolicyManifest::parse(&found.payload).ok());
            held.extend(manifest.map(|manifest| (manifest.version, digest)));
        }
        held.sort_unstable_by_key(|(version, _)| std::cmp::Reverse(*version));
        Ok(held.into_iter().map(|(_, digest)| digest).collect())
    }

    pub fn keep_manifest(&self, envelope: &Envelope) -> Result<(), Error> {
        let path = self.manifest_path(&envelope.payload_digest());
        disk::replace(&path, envelope.to_json().as_bytes()).map_err(at(&path))
    }

    /// None: not held, or damaged.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<Envelope>, Error> {
        let bytes = read(&self.manifest_path(digest), 2 * MAX_SIGNED_PAYLOAD_BYTES as u64)?;
        let envelope = bytes.and_then(|bytes| Envelope::from_json(&bytes).ok());
        Ok(envelope.filter(|envelope| envelope.payload_digest() == *digest))
    }

    /// For one that cannot be used.
    pub fn damaged_manifest(&self, digest: &Digest, what: impl ToString) -> Damage {
        Damage::of(&self.manifest_path(digest), what)
    }

    #[must_use]
    pub fn holds(&self, blob: &Digest) -> bool {
        self.blob_path(blob).is_file()
    }

    /// Digests of all blobs, at most `limit`.
    pub fn blobs(&self, limit: usize) -> Result<Vec<Digest>, Error> {
        let folder = self.folder.join("blobs");
        Ok(names(&folder)?.into_iter().filter_map(|name| name.parse().ok()).take(limit).collect())
    }

    /// What of a manifest's files is here, and which of them are damaged.
    pub fn contents(&self, files: &[FileEntry]) -> Result<(Contents, Vec<Damage>), Error> {
        let (mut held, mut damages) = (BTreeMap::new(), Vec::new());
        for entry in files {
            let path = self.blob_path(&entry.sha256);
            let Some(bytes) = read(&path, MAX_BLOB_BYTES as u64)? else { continue };
            if whole(entry, &bytes) {
                held.insert(entry.path.clone(), Bytes::from(bytes));
            } else {
                damages.push(Damage::of(&path, format!("it is not the file {}", entry.path)));
            }
        }
        Ok((Contents { files: held }, damages))
    }

    /// Before the missing files are fetched: what is damaged is missing.
    pub fn set_aside_damaged(&self, files: &[FileEntry]) -> Result<Vec<Damage>, Error> {
        let (_, damages) = self.contents(files)?;
        for damage in &damages {
            damage.set_aside().map_err(at(&damage.path))?;
        }
        self.prune_aside()?;
        Ok(damages)
    }

    /// What was set aside stays within bounds.
    pub fn prune_aside(&self) -> Result<(), Error> {
        for name in ["", "manifests", "blobs"] {
            let folder = self.folder.join(name);
            damage::prune(&folder).map_err(at(&folder))?;
        }
        Ok(())
    }

    /// Bytes of a blob that an earlier attempt left.
    pub fn partial(&self, blob: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.partial_path(blob);
        let read = disk::read_optional(&path, MAX_BLOB_BYTES as u64);
        Ok(read.map_err(at(&path))?.unwrap_or_default())
    }

    pub fn append_partial(&self, blob: &Digest, chunk: &[u8]) -> Result<(), Error> {
        let path = self.partial_path(blob);
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(&path).map_err(at(&path))?;
        file.write_all(chunk).map_err(at(&path))
    }

    pub fn drop_partial(&self, blob: &Digest) -> Result<(), Error> {
        let path = self.partial_path(blob);
        disk::remove(&path).map_err(at(&path))
    }

    /// The partial blob is whole and its digest was checked.
    pub fn complete(&self, blob: &Digest) -> Result<(), Error> {
        let (from, to) = (self.partial_path(blob), self.blob_path(blob));
        let file = fs::File::open(&from).map_err(at(&from))?;
        file.sync_all().map_err(at(&from))?;
        disk::rename(&from, &to).map_err(at(&to))
    }

    /// Removes manifests and blobs that the pointer does not reach, and what was fetched in part: of a bundle that never came
    /// into force, as all files of this one are whole.
    fn collect(&self, pointer: &Pointer) -> Result<(), Error> {
        let kept: Vec<Digest> = pointer.before.iter().copied().chain([pointer.manifest]).collect();
        let mut blobs = BTreeSet::new();
        for digest in &kept {
            let Some(envelope) = self.manifest(digest)? else { continue };
            if let Ok(manifest) = PolicyManifest::parse(&envelope.payload) {
                blobs.extend(manifest.files.iter().map(|entry| entry.sha256.to_string()));
            }
        }
        let manifests: BTreeSet<String> = kept.iter().map(|d| format!("{d}.dsse.json")).collect();
        let kept = [("manifests", &manifests), ("blobs", &blobs), ("partial", &BTreeSet::new())];
        for (name, keep) in kept {
            let folder = self.folder.join(name);
            let surplus = |name: &String| !keep.contains(name) && !damage::is_aside(name);
            for name in names(&folder)?.into_iter().filter(surplus) {
                let path = folder.join(name);
                disk::remove(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }

    fn manifest_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("manifests").join(format!("{digest}.dsse.json"))
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.to_string())
    }

    fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("partial").join(digest.to_string())
    }
}

fn whole(entry: &FileEntry, bytes: &[u8]) -> bool {
    let mut check = FileCheck::new(entry);
    check.update(bytes).and_then(|()| check.finish()).is_ok()
}

fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let name = entry.map_err(at(folder))?.file_name();
        names.extend(name.into_string());
    }
    names.sort();
    Ok(names)
}

/// A file beyond all size is as good as damaged, and read as empty.
fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    match disk::read_optional(path, limit) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(Vec::new())),
        other => other.map_err(at(path)),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(path: &Path) -> (i64, i64) {
        use std::os::unix::fs::MetadataExt as _;
        let meta = fs::metadata(path).unwrap();
        (meta.ctime(), meta.ctime_nsec())
    }

    /// Scenario: a bundle was being fetched when another one took its place. Guarantee: what was fetched of it goes once that one is
    /// in force.
    #[test]
    fn what_was_fetched_in_part_does_not_stay_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let blob = Digest::of(b"of another bundle");
        store.append_partial(&blob, b"half").unwrap();
        assert_eq!(store.partial(&blob).unwrap(), b"half");
        store.activate(Digest::of(b"manifest"), 1).unwrap();
        assert!(names(&folder.path().join("partial")).unwrap().is_empty());
    }

    /// A disk that damages one file after the other: the newest few are kept, and nothing else goes.
    #[test]
    fn of_what_is_set_aside_the_newest_few_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let blobs = folder.path().join("blobs");
        fs::write(blobs.join("other"), "kept").unwrap();
        for number in 0..damage::KEPT_ASIDE + 3 {
            let bytes = Bytes::from(format!("file {number}"));
            let entry = FileEntry {
                path: format!("p{number}.rego"),
                size: bytes.len() as u64,
                sha256: Digest::of(&bytes),
                kind: provost_trust::files::FileKind::Policy,
            };
            fs::write(store.blob_path(&entry.sha256), "damaged").unwrap();
            assert_eq!(store.set_aside_damaged(std::slice::from_ref(&entry)).unwrap().len(), 1);
            let aside = store.blob_path(&entry.sha256).with_extension("damaged");
            assert!(aside.is_file(), "the newest is among those kept");
            // So that the next is newer by the file system's clock, which goes in steps.
            let probe = folder.path().join("probe");
            loop {
                fs::write(&probe, "").unwrap();
                if changed(&probe) > changed(&aside) {
                    break;
                }
            }
        }
        let kept: Vec<_> =
            names(&blobs).unwrap().into_iter().filter(|n| damage::is_aside(n)).collect();
        assert_eq!(kept.len(), damage::KEPT_ASIDE);
        assert!(blobs.join("other").is_file());
    }
}

//! The files that a policy manifest names: safe paths, one order, sizes and digests.
//!
//! Contents are addressed by digest, so no path of a manifest ever reaches a file system; it must
//! be safe all the same, because people and tools unpack bundles.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest::{Context, SHA256};
use provost_model::Digest;
use provost_model::limits::{MAX_BLOB_BYTES, MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES};
use serde::{Deserialize, Serialize};
use unicode_normalization::is_nfc;

use crate::error::Error;
use crate::manifest::PolicyManifest;
use crate::text::is_plain;
use crate::verified::Verified;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    pub path: String,
    pub size: u64,
    pub sha256: Digest,
    pub kind: FileKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// Rego of a policy.
    Policy,
    /// A policy's metadata as JSON.
    Metadata,
    /// Rego that policies import.
    Library,
    /// Rego tests of a policy or library.
    Test,
    /// One pass or fail example as JSON.
    Example,
    /// Bindings as JSON.
    Bindings,
}

/// Digest and size cap of one file, while its bytes arrive: nothing over the declared size is
/// taken, and what is incomplete or altered is told at the end.
#[derive(Debug)]
pub struct FileCheck<'a> {
    entry: &'a FileEntry,
    seen: u64,
    context: DigestContext,
}

struct DigestContext(Context);

impl std::fmt::Debug for DigestContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

/// Longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 255;

impl<'a> FileCheck<'a> {
    #[must_use]
    pub fn new(entry: &'a FileEntry) -> Self {
        Self { entry, seen: 0, context: DigestContext(Context::new(&SHA256)) }
    }

    pub fn update(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.seen = self.seen.saturating_add(chunk.len() as u64);
        if self.seen > self.entry.size {
            return Err(Error::FileTooLarge {
                path: self.entry.path.clone(),
                limit: self.entry.size,
            });
        }
        self.context.0.update(chunk);
        Ok(())
    }

    pub fn finish(self) -> Result<(), Error> {
        let digest = self.context.0.finish();
        let found = Digest::try_from(digest.as_ref()).unwrap_or(Digest::from_bytes([0; 32]));
        if found != self.entry.sha256 || self.seen != self.entry.size {
            return Err(Error::DigestMismatch {
                path: self.entry.path.clone(),
                expected: self.entry.sha256,
                found,
            });
        }
        Ok(())
    }
}

/// Checks that `files` are exactly those of the manifest, byte for byte.
pub fn verify<B: AsRef<[u8]>>(
    manifest: &Verified<PolicyManifest>,
    files: BTreeMap<String, B>,
) -> Result<Verified<BTreeMap<String, B>>, Error> {
    check_set(&manifest.files, &files)?;
    Ok(Verified::new(files, manifest.digest(), manifest.signers().to_vec()))
}

/// The same check under a manifest whose signatures nobody looked at.
pub fn check_set<B: AsRef<[u8]>>(
    entries: &[FileEntry],
    files: &BTreeMap<String, B>,
) -> Result<(), Error> {
    let listed: BTreeSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    if let Some(path) = files.keys().find(|path| !listed.contains(path.as_str())) {
        return Err(Error::FileUnexpected { path: path.clone() });
    }
    for entry in entries {
        let bytes = files
            .get(&entry.path)
            .ok_or_else(|| Error::FileMissing { path: entry.path.clone() })?;
        let mut check = FileCheck::new(entry);
        check.update(bytes.as_ref())?;
        check.finish()?;
    }
    Ok(())
}

/// SHA-256 over path, size and digest of each file in order of path: the same for the same files,
/// whoever packs them, whenever.
#[must_use]
pub fn content_digest(entries: &[FileEntry]) -> Digest {
    let mut entries: Vec<&FileEntry> = entries.iter().collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut context = Context::new(&SHA256);
    for FileEntry { path, size, sha256, kind: _ } in entries {
        context.update(&(path.len() as u64).to_be_bytes());
        context.update(path.as_bytes());
        context.update(&size.to_be_bytes());
        context.update(sha256.as_bytes());
    }
    let digest = context.finish();
    Digest::try_from(digest.as_ref()).unwrap_or(Digest::from_bytes([0; 32]))
}

/// Checks what can be known before any file has arrived: number, sizes, paths and their order.
pub fn check_entries(entries: &[FileEntry]) -> Result<(), Error> {
    const WHAT: &str = "policy manifest";
    if entries.len() > MAX_BUNDLE_FILES {
        return Err(Error::TooLarge {
            what: "list of files",
            size: entries.len() as u64,
            limit: MAX_BUNDLE_FILES as u64,
        });
    }
    let mut total: u64 = 0;
    let mut folded = BTreeSet::new();
    for entry in entries {
        check_path(&entry.path)?;
        if entry.size > MAX_BLOB_BYTES as u64 {
            let limit = MAX_BLOB_BYTES as u64;
            return Err(Error::FileTooLarge { path: entry.path.clone(), limit });
        }
        total = total.saturating_add(entry.size);
        if !folded.insert(entry.path.to_lowercase()) {
            let reason = "another path differs from it in upper and lower case only, or not at all";
            return Err(Error::UnsafePath { path: entry.path.clone(), reason });
        }
    }
    if total > MAX_BUNDLE_BYTES as u64 {
        let limit = MAX_BUNDLE_BYTES as u64;
        return Err(Error::TooLarge { what: "bundle", size: total, limit });
    }
    if let Some(pair) = entries.windows(2).find(|pair| pair[0].path >= pair[1].path) {
        let reason = format!("files must be sorted by path, but {} comes late", pair[1].path);
        return Err(Error::Malformed { what: WHAT, reason });
    }
    Ok(())
}

/// A path is relative, in NFC, of plain segments, and ends in `.rego` or `.json`.
pub fn check_path(path: &str) -> Result<(), Error> {
    let reason = if path.is_empty() || path.len() > MAX_PATH_BYTES {
        "it must have 1 to 255 bytes"
    } else if !is_nfc(path) {
        "it must be in Unicode normalisation form C"
    } else if path.starts_with('/') {
        "it must be relative"
    } else if path.chars().any(|c| !is_plain(c) || matches!(c, '\\' | ':')) {
        "it must hold no backslash, no colon and nothing that hides or moves the cursor"
    } else if path.split('/').any(|s| s.is_empty() || s == "." || s == "..") {
        "no segment may be empty, '.' or '..'"
    } else if path.split('/').any(|s| s.ends_with(['.', ' ']) || s.starts_with(' ')) {
        "no segment may end in a dot or start or end with a space"
    } else if !has_known_extension(path) {
        "a bundle holds .rego and .json files only"
    } else {
        return Ok(());
    };
    Err(Error::UnsafePath { path: path.chars().take(MAX_PATH_BYTES).collect(), reason })
}

fn has_known_extension(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.strip_suffix(".rego")
        .or_else(|| name.strip_suffix(".json"))
        .is_some_and(|stem| !stem.is_empty())
}

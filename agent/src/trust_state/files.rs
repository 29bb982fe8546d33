//! The trust folder: the chain of roots, the grant, and the state file.
//!
//! Reading changes nothing on disk: what cannot be used is named, and the rest is taken. The state file
//! is JSON with a last line that says its SHA-256, so that no flipped bit passes for a lower floor.

use std::path::{Path, PathBuf};

use provost_model::Digest;
use provost_trust::grant::{self, Authority, Grant};
use provost_trust::{Envelope, TrustState, TrustedRoot, Verified};

use super::Error;
use crate::damage::{self, Damage};
use crate::disk;

pub const ROOTS_FOLDER: &str = "roots";
const STATE_FILE: &str = "state.json";
const GRANT_FILE: &str = "grant.dsse.json";
const CHECKSUM: &str = "sha256:";
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// What of the folder can be used.
#[derive(Debug, Default)]
pub struct Found {
    /// From the pinned root to the newest that follows on it.
    pub roots: Vec<(Envelope, TrustedRoot)>,
    pub state: Option<TrustState>,
    pub grant: Option<(Verified<Grant>, Authority)>,
    pub damages: Vec<Damage>,
}

pub fn read(folder: &Path, pinned: Digest) -> Result<Found, Error> {
    let mut found = Found::default();
    found.read_roots(&folder.join(ROOTS_FOLDER), pinned)?;
    found.read_state(&folder.join(STATE_FILE))?;
    found.read_grant(&folder.join(GRANT_FILE))?;
    Ok(found)
}

impl Found {
    fn read_roots(&mut self, folder: &Path, pinned: Digest) -> Result<(), Error> {
        for path in root_files(folder)? {
            let Some(bytes) = read_file(&path)? else { continue };
            if let Err(error) = self.add_root(&bytes, pinned) {
                // What comes after it cannot be followed to; the hub sends it again.
                self.damages.push(Damage::of(&path, error));
                return Ok(());
            }
        }
        Ok(())
    }

    fn add_root(&mut self, bytes: &[u8], pinned: Digest) -> Result<(), provost_trust::Error> {
        let envelope = Envelope::from_json(bytes)?;
        let root = match self.roots.last() {
            Some((_, last)) => last.clone().follow(std::slice::from_ref(&envelope))?,
            None => TrustedRoot::pin(pinned, std::slice::from_ref(&envelope))?,
        };
        self.roots.push((envelope, root));
        Ok(())
    }

    fn read_state(&mut self, path: &Path) -> Result<(), Error> {
        let Some(bytes) = read_file(path)? else { return Ok(()) };
        let checked = decode(&bytes).and_then(|state| {
            match self.roots.last().map(|(_, root)| state.check_root(root)) {
                // Roots that are missing here are no fault of the state: it stays, and waits for them.
                Some(Err(error)) if error.code() != provost_model::Code::Older => {
                    Err(error.to_string())
                }
                _ => Ok(state),
            }
        });
        match checked {
            Ok(state) => self.state = Some(state),
            Err(what) => self.damages.push(Damage::of(path, what)),
        }
        Ok(())
    }

    /// The grant was checked when it came; it may have been signed by keys that a later root dropped, and
    /// holds until it is replaced.
    fn read_grant(&mut self, path: &Path) -> Result<(), Error> {
        let Some(bytes) = read_file(path)? else { return Ok(()) };
        if self.roots.is_empty() {
            return Ok(());
        }
        let verified = Envelope::from_json(&bytes).and_then(|envelope| {
            let mut verified = Err(provost_trust::Error::Malformed {
                what: "grant",
                reason: "no root signed it".to_owned(),
            });
            for (_, root) in self.roots.iter().rev() {
                verified = grant::verify(root, &envelope);
                if verified.is_ok() {
                    break;
                }
            }
            verified
        });
        match verified {
            Ok(grant) => self.grant = Some(grant),
            Err(error) => self.damages.push(Damage::of(path, error)),
        }
        Ok(())
    }
}

pub fn write_roots(folder: &Path, first: u64, roots: &[Envelope]) -> Result<(), Error> {
    let folder = folder.join(ROOTS_FOLDER);
    for (version, envelope) in (first..).zip(roots) {
        let path = folder.join(format!("{version:010}.dsse.json"));
        let json = envelope.to_json();
        if read_file(&path)?.is_none_or(|held| held != json.as_bytes()) {
            disk::replace(&path, json.as_bytes()).map_err(io_at(&path))?;
        }
    }
    Ok(())
}

pub fn write_grant(folder: &Path, envelope: &Envelope) -> Result<(), Error> {
    let path = folder.join(GRANT_FILE);
    disk::replace(&path, envelope.to_json().as_bytes()).map_err(io_at(&path))
}

/// Writes nothing where the file says so already.
pub fn write_state(folder: &Path, state: &TrustState) -> Result<(), Error> {
    let path = folder.join(STATE_FILE);
    let bytes = encode(&state.to_json()?);
    if read_file(&path)?.is_some_and(|held| held == bytes) {
        return Ok(());
    }
    disk::replace(&path, &bytes).map_err(io_at(&path))
}

/// A damage for a state that should be here and is not.
pub fn missing_state(folder: &Path) -> Damage {
    Damage::of(&folder.join(STATE_FILE), "it is missing")
}

pub fn is_state(damage: &Damage) -> bool {
    damage.path.ends_with(STATE_FILE)
}

fn encode(json: &[u8]) -> Vec<u8> {
    let mut bytes = json.to_vec();
    bytes.extend(format!("{CHECKSUM}{}\n", Digest::of(json)).into_bytes());
    bytes
}

/// A file without the last line is of a version that wrote none.
fn decode(bytes: &[u8]) -> Result<TrustState, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let json = match text.rsplit_once(CHECKSUM) {
        None => text,
        Some((json, sum)) if sum == format!("{}\n", Digest::of(json.as_bytes())) => json,
        Some(_) => return Err("its checksum does not fit".to_owned()),
    };
    TrustState::from_json(json.as_bytes()).map_err(|error| error.to_string())
}

fn root_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io_at(folder))? {
        let path = entry.map_err(io_at(folder))?.path();
        let is_root = path.extension().is_some_and(|extension| extension == "json");
        if is_root && !path.to_str().is_some_and(damage::is_aside) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// A file beyond all size is as good as damaged, and read as empty.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match disk::read_optional(path, MAX_FILE_BYTES) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(Some(Vec::new())),
        other => other.map_err(io_at(path)),
    }
}

pub fn io_at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = include_str!("state.golden.json");

    /// Cut anywhere or with any bit flipped, it is no state; and a file of before the checksum is one.
    #[test]
    fn no_flipped_bit_and_no_cut_passes_for_a_state() {
        let bytes = JSON.as_bytes();
        let state = decode(bytes).unwrap();
        assert_eq!(encode(&state.to_json().unwrap()), bytes);
        assert_eq!(decode(&state.to_json().unwrap()).unwrap(), state);
        let json_bytes = state.to_json().unwrap().len();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                assert!(decode(&flipped).is_err(), "bit {bit} of byte {at}");
            }
            // Whole but for its last line it cannot be told from one of before the checksum.
            let is_whole = at == json_bytes || at + 1 == json_bytes;
            assert!(is_whole || decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        let newer = JSON.replace("\"version\": 1,", "\"version\": 2,");
        let (json, _) = newer.rsplit_once(CHECKSUM).unwrap();
        let error = decode(&encode(json.as_bytes())).unwrap_err();
        assert!(error.contains("version 2"), "{error}");
    }
}

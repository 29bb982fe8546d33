//! Who this agent is: the instance id and the long-lived keys, made with the data folder.
//!
//! Invariants: `instance.json` is written last, so a folder without it never enrolled and is made
//! anew; a folder with it and without a key is an error, never a silent new identity. Secret keys
//! are readable by their owner alone.

pub mod certificates;
pub mod enrolment;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use provost_model::InstanceId;
use provost_trust::{KeyPair, key_file};
use serde::{Deserialize, Serialize};

use crate::disk;

const INSTANCE_FILE: &str = "instance.json";
const IDENTITY_KEY_FILE: &str = "identity.key.json";
const REPORT_KEY_FILE: &str = "report.key.json";
const FORMAT_VERSION: u32 = 1;
const MAX_FILE_BYTES: u64 = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read or write {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is damaged: {what}; restore it from a backup, or enrol with an empty data folder", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{} is of format version {version}: run the version of the agent that wrote it", path.display())]
    Newer { path: PathBuf, version: u32 },
    #[error("no key could be made")]
    Key(#[from] provost_trust::key::Error),
    #[error("no certificate key could be made or read")]
    Pki(#[from] provost_runtime::pki::Error),
    #[error("the certificate that was issued cannot be used")]
    Tls(#[from] provost_runtime::tls::Error),
}

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Identity {
    pub instance: InstanceId,
    /// Re-enters as this cluster.
    pub identity_key: Arc<KeyPair>,
    /// Signs batches and heartbeats.
    pub report_key: Arc<KeyPair>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InstanceFile {
    version: u32,
    instance_id: InstanceId,
}

impl Identity {
    /// Reads the identity in `folder`, or makes one where there is none yet.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        disk::create_folder(folder).map_err(io_at(folder))?;
        match Self::read(folder)? {
            Some(identity) => Ok(identity),
            None => Self::make(folder),
        }
    }

    /// None: there is no identity in `folder` yet.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(INSTANCE_FILE);
        let Some(file) = read_json::<InstanceFile>(&path)? else { return Ok(None) };
        if file.version != FORMAT_VERSION {
            return Err(Error::Newer { path, version: file.version });
        }
        Ok(Some(Self {
            instance: file.instance_id,
            identity_key: Arc::new(read_key(&folder.join(IDENTITY_KEY_FILE))?),
            report_key: Arc::new(read_key(&folder.join(REPORT_KEY_FILE))?),
        }))
    }

    fn make(folder: &Path) -> Result<Self, Error> {
        let identity = Self {
            instance: InstanceId::from_bytes(rand::random()),
            identity_key: Arc::new(KeyPair::generate()?),
            report_key: Arc::new(KeyPair::generate()?),
        };
        write_key(&folder.join(IDENTITY_KEY_FILE), &identity.identity_key, "agent identity")?;
        write_key(&folder.join(REPORT_KEY_FILE), &identity.report_key, "agent report")?;
        let file = InstanceFile { version: FORMAT_VERSION, instance_id: identity.instance };
        write_json(&folder.join(INSTANCE_FILE), &file)?;
        Ok(identity)
    }
}

fn read_key(path: &Path) -> Result<KeyPair, Error> {
    let bytes = disk::read_optional(path, MAX_FILE_BYTES).map_err(io_at(path))?;
    let bytes = bytes.ok_or_else(|| damaged(path, "it is missing"))?;
    key_file::read_private(&zeroize::Zeroizing::new(bytes)).map_err(|error| damaged(path, error))
}

fn write_key(path: &Path, key: &KeyPair, name: &str) -> Result<(), Error> {
    let json = key_file::private_json(key, name).map_err(|error| damaged(path, error))?;
    disk::replace(path, &json).map_err(io_at(path))
}

pub(crate) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let Some(bytes) = disk::read_optional(path, MAX_FILE_BYTES).map_err(io_at(path))? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(path, error))
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut json = serde_json::to_vec_pretty(value).map_err(|error| damaged(path, error))?;
    json.push(b'\n');
    disk::replace(path, &json).map_err(io_at(path))
}

pub(crate) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

#[expect(clippy::needless_pass_by_value, reason = "callers hand errors and literals over")]
pub(crate) fn damaged(path: &Path, what: impl ToString) -> Error {
    Error::Damaged { path: path.to_owned(), what: what.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let one = Identity::open(folder.path()).unwrap();
        let again = Identity::open(folder.path()).unwrap();
        assert_eq!(one.instance, again.instance);
        assert_eq!(one.identity_key.public(), again.identity_key.public());
        assert_eq!(one.report_key.public(), again.report_key.public());
        assert_ne!(one.identity_key.public(), one.report_key.public());
    }

    #[test]
    fn a_missing_key_is_never_replaced_silently() {
        let folder = tempfile::tempdir().unwrap();
        Identity::open(folder.path()).unwrap();
        std::fs::remove_file(folder.path().join(REPORT_KEY_FILE)).unwrap();
        assert!(matches!(Identity::open(folder.path()), Err(Error::Damaged { .. })));
    }

    /// What says who the agent is has no stand-in: it ends, names the file and changes nothing.
    #[test]
    fn a_torn_or_newer_identity_is_named_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        Identity::open(folder.path()).unwrap();
        for name in [INSTANCE_FILE, IDENTITY_KEY_FILE, REPORT_KEY_FILE] {
            let path = folder.path().join(name);
            let whole = std::fs::read_to_string(&path).unwrap();
            for torn in ["", &whole[..whole.len() / 2]] {
                std::fs::write(&path, torn).unwrap();
                let error = Identity::open(folder.path()).unwrap_err();
                assert!(matches!(&error, Error::Damaged { path: named, .. } if *named == path));
                assert_eq!(std::fs::read_to_string(&path).unwrap(), torn);
            }
            std::fs::write(&path, &whole).unwrap();
        }
        let path = folder.path().join(INSTANCE_FILE);
        let newer = std::fs::read_to_string(&path).unwrap().replace(": 1,", ": 2,");
        std::fs::write(&path, newer).unwrap();
        let error = Identity::open(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Newer { version: 2, .. }), "{error}");
    }

    #[test]
    fn a_folder_that_was_cut_short_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let one = Identity::open(folder.path()).unwrap();
        std::fs::remove_file(folder.path().join(INSTANCE_FILE)).unwrap();
        assert_ne!(Identity::open(folder.path()).unwrap().instance, one.instance);
    }
}

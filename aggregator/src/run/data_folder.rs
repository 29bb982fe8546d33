//! The hub's data folder: one hub at a time, and the addresses it listens on.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::Addresses;
use crate::ca;

const ADDRESSES: &str = "addresses.json";

/// Locked as long as it lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes it if it is missing, and takes it for this process alone.
    pub fn open(path: &Path) -> Result<Self> {
        ca::make_dir(path)?;
        let lock = File::create(path.join("lock")).with_context(|| path.display().to_string())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another hub runs in {}", path.display()),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        // Of the run before: who waits for the file must not read old addresses.
        match fs::remove_file(path.join(ADDRESSES)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)?,
            _ => {}
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says where the hub listens. Last of all, so that who waits for the file finds everything listening.
    pub fn announce(&self, addresses: &Addresses) -> Result<()> {
        Ok(ca::write_private(&self.path.join(ADDRESSES), &serde_json::to_vec(addresses)?, false)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_hub_at_a_time_and_no_old_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub");
        let first = DataFolder::open(&path).unwrap();
        let any = "127.0.0.1:1".parse().unwrap();
        first.announce(&Addresses { agents: any, api: any, admin: any }).unwrap();
        assert!(DataFolder::open(&path).unwrap_err().to_string().contains("another hub"));
        assert!(path.join(ADDRESSES).exists());
        drop(first);
        let _second = DataFolder::open(&path).unwrap();
        assert!(!path.join(ADDRESSES).exists());
    }
}

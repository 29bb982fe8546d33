//! The one folder that a demo lives in, and what dead demos left behind.
//!
//! Invariants: a living demo holds the lock of its folder from the first moment that the lock can
//! be seen; only a folder with such a lock, in the folder for temporary files, is ever removed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

const PREFIX: &str = "provost-demo-";
const LOCK: &str = "demo.lock";

pub struct Folder {
    // Goes first: who sees the lock free finds no folder to sweep, or the rest of one.
    folder: TempDir,
    _lock: File,
}

impl Folder {
    pub fn make() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir()
            .context("cannot make a temporary folder")?;
        let lock = locked(folder.path()).context("cannot lock the temporary folder")?;
        Ok(Self { folder, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Removes the folders of demos that were killed; says which.
    pub fn sweep(&self) -> Vec<PathBuf> {
        let Some(parent) = self.path().parent() else { return Vec::new() };
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let others = entries.map(|entry| entry.path()).filter(|path| path != self.path());
        others.filter(|path| is_free(path) && remove(path).is_ok()).collect()
    }
}

/// Removes a folder that a demo made, and no other.
pub fn remove(path: &Path) -> std::io::Result<()> {
    if is_ours(path) {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Locked under another name first, so that nobody finds it free before its owner has it.
fn locked(folder: &Path) -> std::io::Result<File> {
    let draft = folder.join("demo.lock.new");
    let file = File::create_new(&draft)?;
    file.lock()?;
    fs::rename(draft, folder.join(LOCK))?;
    Ok(file)
}

/// A link to somewhere else is none of ours, nor is what lies elsewhere.
fn is_ours(path: &Path) -> bool {
    let is_named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    let is_temporary = path.parent().is_some_and(|parent| parent == std::env::temp_dir());
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    is_named && is_temporary && is_folder && path.join(LOCK).is_file()
}

/// Whose demo is dead: the system gives its lock back.
fn is_free(path: &Path) -> bool {
    is_ours(path)
        && File::options()
            .write(true)
            .open(path.join(LOCK))
            .is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_dead_demos_are_swept() {
        let living = Folder::make().unwrap();
        let other = Folder::make().unwrap();
        let dead = {
            let Folder { folder, _lock } = Folder::make().unwrap();
            fs::write(folder.path().join("left"), "x").unwrap();
            folder.keep()
        };
        // Named alike, and no demo's: it has no lock.
        let foreign = tempfile::Builder::new().prefix(PREFIX).tempdir().unwrap();
        let swept = living.sweep();
        assert!(swept.contains(&dead) && !dead.exists(), "{swept:?}");
        assert!(living.path().exists() && other.path().exists() && foreign.path().exists());
        remove(foreign.path()).unwrap();
        assert!(foreign.path().exists(), "a folder without a lock is never removed");
        remove(other.path()).unwrap();
        assert!(!other.path().exists());
    }
}

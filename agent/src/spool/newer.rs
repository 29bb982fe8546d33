//! A spool that a newer version of the agent wrote, as after going back to an older program.
//!
//! Invariants: nothing of it is read beyond its version, and nothing of it is changed or removed: folder and head file are
//! set aside together, before anything here opens them. The chain begins another epoch, beyond every one
//! that the folder names, so that nothing forks. What the hub had not acknowledged is in what is set aside alone.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{disk, head, recovery};

/// In the data folder: the folder it is set aside as; further ones are numbered.
const NAME: &str = "spool.newer";
/// Enough of a manifest for its first line.
const FIRST_BYTES: u64 = 64;

/// What was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newer {
    pub version: u32,
    pub path: PathBuf,
    /// The chain begins this one.
    pub epoch: u64,
}

/// Sets `folder` and the head file aside where either is of a version after this one's.
pub fn set_aside(folder: &Path, head: &Path) -> io::Result<Option<Newer>> {
    let beside = folder.join("head");
    // One beside the manifest: this was under way already.
    let newest = manifest_version(folder)?.max(head::version(head)?).max(head::version(&beside)?);
    let known = recovery::MANIFEST_VERSION.max(u32::from(head::VERSION));
    let Some(version) = newest.filter(|version| *version > known) else { return Ok(None) };
    let path = free_name(folder);
    let epoch = disk::newest_epoch(folder)?.unwrap_or(0) + 1;
    // The folder goes last: whatever stops this in between is found again at the next start.
    fs::create_dir_all(folder)?;
    match fs::rename(head, &beside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    fs::rename(folder, &path)?;
    for changed in [head.parent(), folder.parent()].into_iter().flatten() {
        File::open(changed)?.sync_all()?;
    }
    Ok(Some(Newer { version, path, epoch }))
}

/// What is set aside beside `folder` still, oldest first.
#[must_use]
pub fn kept(folder: &Path) -> Vec<PathBuf> {
    let Some(Ok(entries)) = folder.parent().map(fs::read_dir) else { return Vec::new() };
    let names = entries.filter_map(Result::ok).map(|entry| entry.path());
    let is_newer = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(NAME))
    };
    let mut kept: Vec<_> = names.filter(is_newer).collect();
    kept.sort();
    kept
}

fn manifest_version(folder: &Path) -> io::Result<Option<u32>> {
    let file = match File::open(folder.join("manifest")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut first = Vec::new();
    file.take(FIRST_BYTES).read_to_end(&mut first)?;
    Ok(recovery::manifest_version(&first))
}

fn free_name(folder: &Path) -> PathBuf {
    let first = folder.with_file_name(NAME);
    let numbered = (2..).map(|number: u32| folder.with_file_name(format!("{NAME}.{number}")));
    let mut names = std::iter::once(first.clone()).chain(numbered);
    names.find(|name| !name.exists()).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::{Deadlines, Disk};
    use crate::spool::head::HeadFile;
    use crate::spool::ledger::{Lane, Ledger};
    use crate::spool::volume::{Name, Packs, Volume as _};

    fn spool(data: &Path) -> (PathBuf, PathBuf) {
        let (folder, head) = (data.join("spool"), data.join("head"));
        let mut disk = Disk::open(&folder, Deadlines::default()).unwrap();
        let name = Name { epoch: 7, id: 3, lane: Lane::Data };
        disk.put(name, &Packs::from([(1, b"pack".to_vec())])).unwrap();
        disk.save_manifest(&recovery::encode_manifest(&Ledger::new(7, 4))).unwrap();
        let anchor = Ledger::new(7, 4).last;
        let known = recovery::Known { epoch: 7, last: anchor, acked: anchor };
        HeadFile::open(&head).unwrap().0.save(&known).unwrap();
        (folder, head)
    }

    /// The version as the next one would write it.
    fn raise(path: &Path, from: &[u8], to: &[u8]) {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
        bytes[at..at + from.len()].copy_from_slice(to);
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn what_this_version_wrote_stays_where_it_is() {
        let data = tempfile::tempdir().unwrap();
        let (folder, head) = spool(data.path());
        assert_eq!(set_aside(&folder, &head).unwrap(), None);
        fs::write(folder.join("manifest"), "provost-spool-manifest nonsense").unwrap();
        fs::write(&head, [0xff; 200]).unwrap();
        assert_eq!(set_aside(&folder, &head).unwrap(), None, "damaged is another thing");
        let nothing = data.path().join("nothing");
        assert_eq!(set_aside(&nothing.join("spool"), &nothing.join("head")).unwrap(), None);
        assert_eq!(kept(&folder), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_newer_manifest_or_head_sets_both_aside_each_time_anew() {
        let data = tempfile::tempdir().unwrap();
        for (round, name) in ["spool.newer", "spool.newer.2"].into_iter().enumerate() {
            let (folder, head) = spool(data.path());
            match round {
                0 => raise(&folder.join("manifest"), b"manifest 1 ", b"manifest 2 "),
                _ => raise(&head, b"PVHD\x00\x01", b"PVHD\x00\x02"),
            }
            let (manifest, was) = (fs::read(folder.join("manifest")).unwrap(), fs::read(&head));
            let path = data.path().join(name);
            let newer = Newer { version: 2, path: path.clone(), epoch: 8 };
            assert_eq!(set_aside(&folder, &head).unwrap(), Some(newer));
            assert_eq!(fs::read(path.join("manifest")).unwrap(), manifest);
            assert_eq!(fs::read(path.join("head")).unwrap(), was.unwrap());
            assert!(path.join("generation-7-3-data").is_dir() && !folder.exists());
            assert_eq!(kept(&folder).len(), round + 1);
        }
    }

    /// Both were under way when the machine stopped: the head file is gone, the folder is not.
    #[test]
    fn a_stop_half_way_is_gone_on_with() {
        let data = tempfile::tempdir().unwrap();
        let (folder, head) = spool(data.path());
        raise(&head, b"PVHD\x00\x01", b"PVHD\x00\x02");
        fs::rename(&head, folder.join("head")).unwrap();
        let newer = set_aside(&folder, &head).unwrap().unwrap();
        assert_eq!((newer.version, newer.epoch), (2, 8));
    }
}

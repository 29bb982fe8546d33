//! The hub's own keys: CA and director. Made at first start, never shipped, kept in files of mode 0600.
//!
//! A missing half of a pair is an error, never a reason to make a new one: a new CA would lock the whole fleet out. So
//! is a hub with a database and without keys. The CA comes into being whole: key and certificate are made in a folder
//! beside and renamed into place together, so that a crash at any point of the first start leaves nothing or all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use provost_runtime::clock::Clock;
use provost_runtime::pki::{self, Ca, TlsKey};
use provost_runtime::spiffe::TrustDomain;
use provost_trust::{KeyPair, key_file};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is missing, but {} is there; restore it from a backup", missing.display(), present.display())]
    Half { missing: PathBuf, present: PathBuf },
    #[error("cannot use the CA in {}", path.display())]
    Pki { path: PathBuf, source: pki::Error },
    #[error("cannot use the director key in {}", path.display())]
    Director { path: PathBuf, source: provost_trust::Error },
    #[error("cannot make a key")]
    Generate(#[from] provost_trust::key::Error),
}

/// Keys of this hub.
#[derive(Debug)]
pub struct HubKeys {
    pub ca: Ca,
    pub director: KeyPair,
    /// Whether they were made just now.
    pub created: bool,
}

impl HubKeys {
    pub fn open(
        data_dir: &Path,
        trust_domain: &TrustDomain,
        clock: &dyn Clock,
    ) -> Result<Self, Error> {
        make_dir(data_dir)?;
        let (ca, created) = open_ca(data_dir, trust_domain, clock)?;
        let director = open_director(data_dir)?;
        Ok(Self { ca, director, created })
    }
}

/// Writes a file that only its owner reads, whole or not at all. Refuses to replace one where `new` is set.
pub fn write_private(path: &Path, content: &[u8], new: bool) -> Result<(), Error> {
    let at = |source| Error::Io { path: path.to_owned(), source };
    if new && path.exists() {
        return Err(at(io::Error::from(io::ErrorKind::AlreadyExists)));
    }
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(at)?;
    file.write_all(content).map_err(at)?;
    file.sync_all().map_err(at)?;
    fs::rename(&temporary, path).map_err(at)?;
    if let Some(folder) = path.parent() {
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(at)?;
    }
    Ok(())
}

/// A folder that only its owner enters.
pub fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn open_ca(
    data_dir: &Path,
    trust_domain: &TrustDomain,
    clock: &dyn Clock,
) -> Result<(Ca, bool), Error> {
    let folder = &data_dir.join("ca");
    let (certificate_path, key_path) = (folder.join("ca.pem"), folder.join("ca.key"));
    let pki = |source| Error::Pki { path: folder.to_owned(), source };
    match (certificate_path.exists(), key_path.exists()) {
        (false, false) => {
            never_without(data_dir, &key_path)?;
            let ca = Ca::create(trust_domain, clock.wall_ms() / 1000).map_err(pki)?;
            install_ca(data_dir, &ca, &mut || Ok(()))?;
            Ok((ca, true))
        }
        (true, true) => {
            let certificate = read_text(&certificate_path)?;
            let certificate = pki::certificates_from_pem(&certificate).map_err(pki)?.swap_remove(0);
            let key = zeroize::Zeroizing::new(read_text(&key_path)?);
            let key = TlsKey::from_pem(&key).map_err(pki)?;
            Ok((Ca::load(certificate, key).map_err(pki)?, false))
        }
        (true, false) => Err(Error::Half { missing: key_path, present: certificate_path }),
        (false, true) => Err(Error::Half { missing: certificate_path, present: key_path }),
    }
}

/// Puts a new CA in its place. `step` stands between any two changes on disk; where it fails, they end there.
fn install_ca(
    data_dir: &Path,
    ca: &Ca,
    step: &mut dyn FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    let (made, folder) = (data_dir.join("ca.new"), data_dir.join("ca"));
    let at = |source| Error::Io { path: made.clone(), source };
    // Of a first start that was cut short: nobody has seen it.
    match fs::remove_dir_all(&made) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
        _ => step()?,
    }
    make_dir(&made)?;
    step()?;
    write_private(&made.join("ca.key"), ca.key().to_pem().as_bytes(), true)?;
    step()?;
    let pem = pki::certificates_to_pem(std::slice::from_ref(ca.certificate()));
    write_private(&made.join("ca.pem"), pem.as_bytes(), true)?;
    step()?;
    // An empty folder of that name gives way; one with anything in it does not.
    fs::rename(&made, &folder).map_err(at)?;
    step()?;
    fs::File::open(data_dir).and_then(|folder| folder.sync_all()).map_err(at)
}

/// What a hub has that served before: its keys were lost, and are not to be made anew.
fn never_without(data_dir: &Path, missing: &Path) -> Result<(), Error> {
    let present = data_dir.join("hub.db");
    if present.exists() {
        return Err(Error::Half { missing: missing.to_owned(), present });
    }
    Ok(())
}

/// The director's key, and its public half beside it in the form that `provost root add-key` takes.
fn open_director(data_dir: &Path) -> Result<KeyPair, Error> {
    let path = data_dir.join("director.key.json");
    let at = |source| Error::Director { path: path.clone(), source };
    let director = if path.exists() {
        key_file::read_private(read_text(&path)?.as_bytes()).map_err(at)?
    } else {
        never_without(data_dir, &path)?;
        let director = KeyPair::generate()?;
        write_private(&path, &key_file::private_json(&director, "director").map_err(at)?, true)?;
        director
    };
    let public = key_file::public_json(director.public(), "director").map_err(at)?;
    write_private(&data_dir.join("director.pub.json"), &public, false)?;
    Ok(director)
}

fn read_text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use provost_runtime::clock::Manual;

    use super::*;

    #[test]
    fn keys_are_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Manual::at(1_800_000_000_000);
        let domain: TrustDomain = "fleet.test".parse().unwrap();
        let first = HubKeys::open(folder.path(), &domain, &*clock).unwrap();
        let again = HubKeys::open(folder.path(), &domain, &*clock).unwrap();
        assert!(first.created && !again.created);
        assert_eq!(first.ca.sha256(), again.ca.sha256());
        assert_eq!(first.director.public(), again.director.public());
        for name in ["ca/ca.key", "director.key.json"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    /// Scenario: the first start is cut short between any two of its steps. Guarantee: the next start finds a usable CA or
    /// makes one, and keeps it.
    #[test]
    fn a_first_start_may_be_cut_short_anywhere() {
        let clock = Manual::at(1_800_000_000_000);
        let domain: TrustDomain = "fleet.test".parse().unwrap();
        let mut steps = 0;
        for cut_after in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let ca = Ca::create(&domain, 1_800_000_000).unwrap();
            let mut left = cut_after;
            let mut step = || {
                if left == 0 {
                    let source = io::Error::other("the power is gone");
                    return Err(Error::Io { path: PathBuf::new(), source });
                }
                left -= 1;
                Ok(())
            };
            let cut = install_ca(folder.path(), &ca, &mut step).is_err();
            let opened = HubKeys::open(folder.path(), &domain, &*clock).unwrap();
            let again = HubKeys::open(folder.path(), &domain, &*clock).unwrap();
            assert_eq!(opened.ca.sha256(), again.ca.sha256(), "cut after {cut_after} steps");
            assert!(!folder.path().join("ca.new").exists(), "cut after {cut_after} steps");
            if !cut {
                assert_eq!(opened.ca.sha256(), ca.sha256());
                break;
            }
            steps += 1;
        }
        assert_eq!(steps, 5, "each was tried");
    }

    #[test]
    fn a_hub_that_served_gets_no_new_keys() {
        let clock = Manual::at(1_800_000_000_000);
        let domain: TrustDomain = "fleet.test".parse().unwrap();
        for lost in ["ca", "director.key.json"] {
            let folder = tempfile::tempdir().unwrap();
            HubKeys::open(folder.path(), &domain, &*clock).unwrap();
            fs::write(folder.path().join("hub.db"), "").unwrap();
            let path = folder.path().join(lost);
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
            let error = HubKeys::open(folder.path(), &domain, &*clock).unwrap_err();
            assert!(matches!(error, Error::Half { .. }), "{lost}: {error}");
        }
    }

    #[test]
    fn a_lost_half_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Manual::at(1_800_000_000_000);
        let domain: TrustDomain = "fleet.test".parse().unwrap();
        HubKeys::open(folder.path(), &domain, &*clock).unwrap();
        fs::remove_file(folder.path().join("ca/ca.key")).unwrap();
        let error = HubKeys::open(folder.path(), &domain, &*clock).unwrap_err();
        assert!(matches!(error, Error::Half { .. }), "{error}");
    }
}

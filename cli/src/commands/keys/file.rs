//! Key files on disk. A private one is made with mode 0600 and never written over; no secret is
//! ever printed.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use provost_trust::key_file::{self, MAX_KEY_FILE_BYTES};
use provost_trust::{KeyPair, PublicKey};
use zeroize::Zeroizing;

use crate::exit::{UsageError, unreadable};

/// `policy.key.json` and `policy.json` have their public half in `policy.pub.json`.
pub fn public_path(private: &Path) -> PathBuf {
    let name = private.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".json").unwrap_or(&name);
    let stem = stem.strip_suffix(".key").unwrap_or(stem);
    private.with_file_name(format!("{stem}.pub.json"))
}

pub fn write_pair(private: &Path, public: &Path, pair: &KeyPair, name: &str) -> anyhow::Result<()> {
    write_new(private, &key_file::private_json(pair, name)?, 0o600)?;
    write_new(public, &key_file::public_json(pair.public(), name)?, 0o644)
}

/// A private key, to sign with.
pub fn read_private(path: &Path) -> anyhow::Result<KeyPair> {
    let bytes = read(path)?;
    let pair = key_file::read_private(&bytes);
    Ok(pair.map_err(|error| UsageError(format!("{}: {error}", path.display())))?)
}

/// The public half and the name: of a key file, private or public, or of 64 hex digits.
pub fn read_public(key: &str) -> anyhow::Result<(PublicKey, String)> {
    let path = Path::new(key);
    if !path.exists() {
        let public = key.parse().map_err(|error| {
            UsageError(format!("{key}: neither a file that exists nor a public key: {error}"))
        })?;
        return Ok((public, String::new()));
    }
    let bytes = read(path)?;
    // The hub and people also keep a bare hex key in a file.
    if let Some(public) = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok())
    {
        return Ok((public, String::new()));
    }
    Ok(key_file::read_public(&bytes).map_err(|error| UsageError(format!("{key}: {error}")))?)
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE_BYTES + 1));
    fs::File::open(path)
        .and_then(|file| file.take(MAX_KEY_FILE_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, error))?;
    Ok(bytes)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn public_halves_stand_beside_private_ones() {
        for (private, public) in [
            ("a/policy.key.json", "a/policy.pub.json"),
            ("policy.json", "policy.pub.json"),
            ("policy", "policy.pub.json"),
        ] {
            assert_eq!(public_path(Path::new(private)), Path::new(public));
        }
    }

    #[test]
    fn a_private_key_is_for_its_owner_and_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (private, public) =
            (folder.path().join("k.key.json"), folder.path().join("k.pub.json"));
        let pair = KeyPair::generate().unwrap();
        write_pair(&private, &public, &pair, "Ada").unwrap();
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_private(&private).unwrap().public(), pair.public());
        for shown in [&private, &public] {
            let read = read_public(shown.to_str().unwrap()).unwrap();
            assert_eq!(read, (pair.public(), "Ada".to_owned()));
        }
        assert!(read_private(&public).is_err());

        let before = fs::read(&private).unwrap();
        assert!(write_pair(&private, &public, &KeyPair::generate().unwrap(), "").is_err());
        assert_eq!(fs::read(&private).unwrap(), before);
    }

    #[test]
    fn a_public_key_may_be_given_in_hex_or_in_a_file_of_hex() {
        let folder = tempfile::tempdir().unwrap();
        let public = KeyPair::generate().unwrap().public();
        assert_eq!(read_public(&public.to_string()).unwrap().0, public);
        let file = folder.path().join("director.hex");
        fs::write(&file, format!("{public}\n")).unwrap();
        assert_eq!(read_public(file.to_str().unwrap()).unwrap().0, public);
        assert!(read_public("nowhere.json").unwrap_err().downcast_ref::<UsageError>().is_some());
    }
}

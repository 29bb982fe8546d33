//! The TLS certificate, on disk in two slots.
//!
//! Invariant: each slot is one file with key and chain, replaced whole; a renewal writes the slot
//! that is not in use. So a crash at any point leaves at least one usable pair.

use std::path::{Path, PathBuf};

use provost_runtime::pki::{self, Identity, TlsKey, Validity};
use provost_runtime::tls::CertificateSlot;
use rustls_pki_types::CertificateDer;

use super::{Error, MAX_FILE_BYTES, damaged, io_at};
use crate::disk;

const SLOTS: [&str; 2] = ["tls-a.pem", "tls-b.pem"];

/// The current pair, offered to the hub through [`Certificates::slot`].
#[derive(Debug)]
pub struct Certificates {
    folder: PathBuf,
    slot: CertificateSlot,
    current: Option<Current>,
}

#[derive(Clone, Debug)]
struct Current {
    position: usize,
    identity: Identity,
}

impl Certificates {
    /// Takes the pair that lasts longest; a damaged slot counts as empty.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let mut this =
            Self { folder: folder.to_owned(), slot: CertificateSlot::empty(), current: None };
        let mut best: Option<(usize, Pair)> = None;
        for (position, name) in SLOTS.iter().enumerate() {
            let path = folder.join(name);
            match read_pair(&path) {
                Ok(None) => {}
                Ok(Some(pair)) => {
                    let not_after = pair.identity.validity.not_after;
                    if best.as_ref().is_none_or(|(_, b)| b.identity.validity.not_after < not_after)
                    {
                        best = Some((position, pair));
                    }
                }
                Err(error) => tracing::warn!(%error, "certificate slot skipped"),
            }
        }
        if let Some((position, pair)) = best {
            this.slot.replace(pair.chain, &pair.key)?;
            this.current = Some(Current { position, identity: pair.identity });
        }
        Ok(this)
    }

    /// What new connections present.
    #[must_use]
    pub fn slot(&self) -> CertificateSlot {
        self.slot.clone()
    }

    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.current.as_ref().map(|current| &current.identity)
    }

    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        self.identity().map(|identity| identity.validity)
    }

    /// Keeps what was issued for `key`, and uses it from now on.
    pub fn keep(&mut self, key: &TlsKey, chain: Vec<Vec<u8>>) -> Result<(), Error> {
        let position = self.current.as_ref().map_or(0, |current| 1 - current.position);
        let path = self.folder.join(SLOTS[position]);
        let chain: Vec<CertificateDer<'static>> = chain.into_iter().map(Into::into).collect();
        let leaf = chain.first().ok_or_else(|| damaged(&path, "no certificate was issued"))?;
        let identity = Identity::of(leaf)?;
        if identity.public_key_sha256 != key.public_key_sha256()? {
            return Err(damaged(&path, "the certificate was issued for another key"));
        }
        let text = zeroize::Zeroizing::new(format!(
            "{}{}",
            key.to_pem().as_str(),
            pki::certificates_to_pem(&chain)
        ));
        disk::replace(&path, text.as_bytes()).map_err(io_at(&path))?;
        self.slot.replace(chain, key)?;
        self.current = Some(Current { position, identity });
        Ok(())
    }
}

struct Pair {
    key: TlsKey,
    chain: Vec<CertificateDer<'static>>,
    identity: Identity,
}

fn read_pair(path: &Path) -> Result<Option<Pair>, Error> {
    let Some(bytes) = disk::read_optional(path, MAX_FILE_BYTES).map_err(io_at(path))? else {
        return Ok(None);
    };
    let text = zeroize::Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    let key = TlsKey::from_pem(&text)?;
    let chain = pki::certificates_from_pem(&text)?;
    let leaf = chain.first().ok_or_else(|| damaged(path, "no certificate"))?;
    let identity = Identity::of(leaf)?;
    if identity.public_key_sha256 != key.public_key_sha256()? {
        return Err(damaged(path, "key and certificate do not belong together"));
    }
    Ok(Some(Pair { key, chain, identity }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use provost_runtime::pki::{Ca, RequestedKey, Usage};

    fn issue(ca: &Ca, not_after: i64) -> (TlsKey, Vec<Vec<u8>>) {
        let key = TlsKey::generate().unwrap();
        let request = RequestedKey::from_csr(&key.csr().unwrap()).unwrap();
        let usage = Usage::Cluster { trust_domain: "fleet.test".parse().unwrap(), id: [1; 16] };
        let validity = Validity { not_before: 0, not_after };
        let issued = ca.issue(&request, &usage, validity).unwrap();
        (key, vec![issued.certificate.to_vec()])
    }

    #[test]
    fn renewals_alternate_and_the_newest_survives_a_torn_slot() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::create(&"fleet.test".parse().unwrap(), 0).unwrap();
        let mut certificates = Certificates::open(folder.path()).unwrap();
        assert!(certificates.slot().is_empty() && certificates.identity().is_none());
        for not_after in [1_000, 2_000, 3_000] {
            let (key, chain) = issue(&ca, not_after);
            certificates.keep(&key, chain).unwrap();
            let again = Certificates::open(folder.path()).unwrap();
            assert_eq!(again.validity().unwrap().not_after, not_after);
            assert!(!again.slot().is_empty());
        }
        // The third went over the first: without it the second is still there.
        std::fs::write(folder.path().join(SLOTS[0]), "torn").unwrap();
        let again = Certificates::open(folder.path()).unwrap();
        assert_eq!(again.validity().unwrap().not_after, 2_000);
        // With neither, the agent re-enters by its identity key, and the next pair is kept.
        std::fs::write(folder.path().join(SLOTS[1]), "").unwrap();
        let mut none = Certificates::open(folder.path()).unwrap();
        assert!(none.slot().is_empty() && none.identity().is_none());
        let (key, chain) = issue(&ca, 4_000);
        none.keep(&key, chain).unwrap();
        assert_eq!(Certificates::open(folder.path()).unwrap().validity().unwrap().not_after, 4_000);
    }

    #[test]
    fn a_certificate_for_another_key_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::create(&"fleet.test".parse().unwrap(), 0).unwrap();
        let (_, chain) = issue(&ca, 1_000);
        let mut certificates = Certificates::open(folder.path()).unwrap();
        let error = certificates.keep(&TlsKey::generate().unwrap(), chain).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }));
        assert!(certificates.slot().is_empty());
    }
}

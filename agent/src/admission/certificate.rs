//! The certificate of the admission port, which the agent makes itself: an authority that signs
//! one web certificate. The registration carries the authority, so that only this agent answers.
//!
//! Both are kept in the data folder, so that a restart needs no new registration. A pair that
//! cannot be read is made anew, and said.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use provost_runtime::pki::{
    self, Ca, TlsKey, Usage, Validity, certificates_from_pem, certificates_to_pem,
};
use provost_runtime::spiffe::TrustDomain;
use provost_runtime::tls::CertificateSlot;

const YEAR_SECS: i64 = 365 * 24 * 3600;
/// A hundred years from the end of 2019 on, whatever the clock says here: API servers go by theirs, the clock of a machine
/// that has heard nobody yet may be wrong by years, nobody rotates the pair, and its key never leaves the data folder.
const VALIDITY: Validity = Validity { not_before: 50 * YEAR_SECS, not_after: 150 * YEAR_SECS };

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot keep the admission certificate in {folder}")]
    Io {
        folder: String,
        #[source]
        cause: io::Error,
    },
    #[error("cannot make the admission certificate")]
    Pki(#[from] pki::Error),
    #[error("the admission certificate and its key do not fit")]
    Tls(#[from] provost_runtime::tls::Error),
    #[error("the name of the certificate's authority is not valid")]
    Name,
    #[error("the certificate in {folder} was made for other names than the settings have")]
    OtherNames { folder: String },
}

pub struct Certificate {
    ca_pem: String,
    slot: CertificateSlot,
}

impl Certificate {
    /// The pair in `folder`; writes nothing.
    pub fn load(folder: &Path, dns: &[String]) -> Result<Self, Error> {
        load(folder, dns)
    }

    /// The pair in `folder`, or a new one for these DNS names and loopback.
    pub fn load_or_create(folder: &Path, dns: &[String]) -> Result<Self, Error> {
        let failed = |cause| Error::Io { folder: folder.display().to_string(), cause };
        fs::create_dir_all(folder).map_err(failed)?;
        match load(folder, dns) {
            Ok(certificate) => return Ok(certificate),
            Err(error) if folder.join("server.pem").exists() => {
                tracing::warn!(%error, "the admission certificate is made anew; register again");
            }
            Err(_) => {}
        }
        let domain: TrustDomain = "admission.provost.internal".parse().map_err(|_| Error::Name)?;
        let ca = Ca::create_valid(&domain, VALIDITY)?;
        let key = TlsKey::generate()?;
        let addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let usage = Usage::Web { dns: dns.to_vec(), addresses };
        let issued = ca.issue_own(&key, &usage, VALIDITY)?;
        let write =
            |name: &str, text: &str| write_private(&folder.join(name), text).map_err(failed);
        write("ca.pem", &certificates_to_pem(std::slice::from_ref(ca.certificate())))?;
        write("server.key", &key.to_pem())?;
        write("names", &dns.join("\n"))?;
        // Last: its presence says that the rest is whole.
        write("server.pem", &certificates_to_pem(&[issued.certificate]))?;
        load(folder, dns)
    }

    /// Of the authority, for the registration.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    #[must_use]
    pub const fn slot(&self) -> &CertificateSlot {
        &self.slot
    }
}

fn load(folder: &Path, dns: &[String]) -> Result<Certificate, Error> {
    let failed = |cause| Error::Io { folder: folder.display().to_string(), cause };
    let read = |name: &str| fs::read_to_string(folder.join(name)).map_err(failed);
    let chain = certificates_from_pem(&read("server.pem")?)?;
    if read("names")? != dns.join("\n") {
        return Err(Error::OtherNames { folder: folder.display().to_string() });
    }
    let key = TlsKey::from_pem(&read("server.key")?)?;
    let ca_pem = read("ca.pem")?;
    // A registration with an authority that cannot be read would shut the door.
    pki::validity(certificates_from_pem(&ca_pem)?.first().ok_or(Error::Name)?)?;
    Ok(Certificate { ca_pem, slot: CertificateSlot::new(chain, &key)? })
}

/// Written beside and renamed, readable by its owner alone.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let partial = path.with_extension("partial");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_keeps_the_pair_and_damage_makes_another() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["provost-agent.provost-system.svc".to_owned()];
        let first = Certificate::load_or_create(folder.path(), &names).unwrap();
        let again = Certificate::load_or_create(folder.path(), &names).unwrap();
        assert_eq!(first.ca_pem(), again.ca_pem());
        let mut last = first.ca_pem().to_owned();
        for file in ["server.key", "server.pem", "ca.pem", "names"] {
            fs::write(folder.path().join(file), "damaged").unwrap();
            let other = Certificate::load_or_create(folder.path(), &names).unwrap();
            assert_ne!(last, other.ca_pem(), "{file}");
            other.ca_pem().clone_into(&mut last);
        }
    }

    #[test]
    fn loading_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["provost-agent.provost-system.svc".to_owned()];
        assert!(Certificate::load(folder.path(), &names).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let made = Certificate::load_or_create(folder.path(), &names).unwrap();
        let other = ["another.svc".to_owned()];
        let refused = Certificate::load(folder.path(), &other);
        assert!(matches!(refused, Err(Error::OtherNames { .. })));
        let loaded = Certificate::load(folder.path(), &names).unwrap();
        assert_eq!(loaded.ca_pem(), made.ca_pem());
    }
}

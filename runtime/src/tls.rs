//! TLS of every listener and of the agent's way to its hub.
//!
//! Invariants: TLS 1.3 only; no session resumption on either side, because a resumed session
//! would skip the check of an expired certificate; the one crypto provider is aws-lc-rs; time
//! comes from the injected clock, and `notBefore` is not looked at, so that a slow clock bricks
//! nobody.

mod carrier;
mod client;
mod proxy;
mod server;
mod verify;

use std::sync::{Arc, PoisonError, RwLock};

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use crate::clock::SharedClock;
use crate::pki::TlsKey;

pub use client::{BadHubUrl, ClientStream, ConnectError, Connector, HubUrl};
pub use proxy::{BadProxy, Proxy};
pub use server::{Clients, Connection, Incoming, Limits, Peer, listen, server_config};

/// ALPN of gRPC listeners.
pub const ALPN_H2: &[&[u8]] = &[b"h2"];
/// ALPN of web listeners.
pub const ALPN_WEB: &[&[u8]] = &[b"h2", b"http/1.1"];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("TLS settings are not usable")]
    Rustls(#[from] rustls::Error),
    #[error("the CA certificate is not usable as a trust anchor: {what}")]
    Anchor { what: String },
}

/// Whether the other side refused our certificate: in TLS 1.3 a client learns it only after its own
/// handshake is over, as the cause of whatever failed next.
#[must_use]
pub fn certificate_was_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    use rustls::AlertDescription as Alert;
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::AlertReceived(alert)) = error.downcast_ref() {
            return matches!(
                alert,
                Alert::BadCertificate
                    | Alert::CertificateExpired
                    | Alert::CertificateRevoked
                    | Alert::CertificateUnknown
                    | Alert::UnsupportedCertificate
                    | Alert::UnknownCA
                    | Alert::AccessDenied
                    // A CA of the same name, which signed nothing of ours.
                    | Alert::DecryptError
            );
        }
        // What an I/O error wraps is not its source but itself.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

/// Makes aws-lc-rs the process's crypto provider. For mains and tests; calling it again is harmless.
pub fn install_crypto_provider() {
    // An error means that one is installed already, and only this function installs any.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// A certificate chain and its key, replaced while connections go on.
#[derive(Clone, Debug)]
pub struct CertificateSlot {
    current: Arc<RwLock<Option<Arc<CertifiedKey>>>>,
}

impl CertificateSlot {
    /// A slot that offers no certificate.
    #[must_use]
    pub fn empty() -> Self {
        Self { current: Arc::default() }
    }

    /// `chain`: leaf first.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: &TlsKey) -> Result<Self, Error> {
        let slot = Self::empty();
        slot.replace(chain, key)?;
        Ok(slot)
    }

    /// New handshakes use the new pair; a pair that does not belong together changes nothing.
    pub fn replace(&self, chain: Vec<CertificateDer<'static>>, key: &TlsKey) -> Result<(), Error> {
        let certified = CertifiedKey::from_der(chain, key.private_key(), &provider())?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
        Ok(())
    }

    pub fn clear(&self) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.get().is_none()
    }

    fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl rustls::server::ResolvesServerCert for CertificateSlot {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get()
    }
}

impl rustls::client::ResolvesClientCert for CertificateSlot {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.get()
    }

    fn has_certs(&self) -> bool {
        !self.is_empty()
    }
}

fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// The injected clock as rustls asks for it.
#[derive(Debug)]
struct Time(SharedClock);

impl rustls::time_provider::TimeProvider for Time {
    fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
        let since = std::time::Duration::from_secs(self.0.wall_secs());
        Some(rustls_pki_types::UnixTime::since_unix_epoch(since))
    }
}

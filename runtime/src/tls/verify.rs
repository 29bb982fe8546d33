//! Who the other side is: its chain to our CA and exactly one identity.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Error, provider};
use crate::pki::{Identity, sha256};
use crate::spiffe::{Role, SpiffeId, TrustDomain};

/// Why a certificate was refused, beyond what rustls has words for.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no certificate of the chain is the pinned CA")]
    WrongCa,
    #[error("expected {expected}, found {found}")]
    WrongIdentity { expected: String, found: String },
}

/// Agents check the hub: the pinned CA is in the chain, signed the leaf, and the leaf is the hub.
#[derive(Debug)]
pub(super) struct HubVerifier {
    pub ca_sha256: [u8; 32],
    pub expected: SpiffeId,
    pub algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let ca = rest
            .iter()
            .find(|certificate| sha256(certificate) == self.ca_sha256)
            .ok_or_else(|| refuse(Refusal::WrongCa))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &roots,
            &[],
            not_before_begun(leaf, now)?,
            self.algorithms.all,
        )?;
        let found = identity(leaf)?.spiffe;
        if found != self.expected {
            let (expected, found) = (self.expected.to_string(), found.to_string());
            return Err(refuse(Refusal::WrongIdentity { expected, found }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A listener checks its clients: a certificate is optional, and where there is one it is of these CAs and, where a
/// trust domain is given, a cluster's of it.
#[derive(Debug)]
pub(super) struct ClientsVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    clusters_of: Option<TrustDomain>,
}

impl ClientsVerifier {
    pub(super) fn new(
        roots: Vec<CertificateDer<'static>>,
        clusters_of: Option<TrustDomain>,
    ) -> Result<Self, Error> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root)?;
        }
        let inner =
            WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::new(provider()))
                .allow_unauthenticated()
                .build()
                .map_err(|error| Error::Anchor { what: error.to_string() })?;
        Ok(Self { inner, clusters_of })
    }
}

impl ClientCertVerifier for ClientsVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(leaf, rest, not_before_begun(leaf, now)?)?;
        let Some(trust_domain) = &self.clusters_of else { return Ok(verified) };
        let found = identity(leaf)?.spiffe;
        if !matches!(found.role(), Role::Cluster(_)) || found.trust_domain() != trust_domain {
            let expected = format!("a cluster of {trust_domain}");
            return Err(refuse(Refusal::WrongIdentity { expected, found: found.to_string() }));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// `now`, or the leaf's `notBefore` where the clock stands before it: what a CA of ours issued is
/// never too new, only too old, because the time here is a lower bound.
fn not_before_begun(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<UnixTime, rustls::Error> {
    let validity = crate::pki::validity(leaf).map_err(|_| bad_encoding())?;
    let begun = u64::try_from(validity.not_before).unwrap_or(0);
    Ok(UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs().max(begun))))
}

fn identity(leaf: &CertificateDer<'_>) -> Result<Identity, rustls::Error> {
    Identity::of(leaf).map_err(|error| {
        let (expected, found) = ("one identity".to_owned(), error.to_string());
        refuse(Refusal::WrongIdentity { expected, found })
    })
}

fn refuse(refusal: Refusal) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(refusal))).into()
}

fn bad_encoding() -> rustls::Error {
    CertificateError::BadEncoding.into()
}

fn only_tls13() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not spoken here".to_owned())
}

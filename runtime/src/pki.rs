//! Certificates: the embedded CA, requests, issuing, and reading an identity back.
//!
//! Invariants: from a request only the public key is taken, after its proof of possession was
//! checked; every other field of a certificate is built afresh here (a request's own extensions
//! could ask for a CA). An identity has exactly one URI name. Secret keys are wiped when dropped.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
    SubjectPublicKeyInfo,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use crate::spiffe::{SpiffeId, TrustDomain};

/// A certificate request is smaller than this, whatever it asks for.
pub const MAX_CSR_BYTES: usize = 8 * 1024;
/// The CA outlives every root rotation that a fleet plans; replacing it is an operation of its own.
const CA_VALIDITY_SECS: i64 = 20 * 365 * 86_400;
/// Clocks of two machines differ: what is issued now counts from a little earlier.
const ISSUED_EARLIER_SECS: i64 = 300;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make or read a key or certificate")]
    Rcgen(#[from] rcgen::Error),
    #[error("not a certificate: {what}")]
    NotACertificate { what: String },
    #[error("not a certificate request: {what}")]
    BadRequest { what: &'static str },
    #[error("not a {what} in PEM")]
    Pem { what: &'static str },
    #[error("the certificate does not carry exactly one URI name of this product")]
    NoIdentity,
    #[error("the CA's certificate and key do not belong together")]
    Mismatch,
    #[error("a time is out of range")]
    Time,
}

/// A TLS key (P-256), as PKCS#8.
pub struct TlsKey {
    pkcs8: Zeroizing<Vec<u8>>,
}

impl TlsKey {
    pub fn generate() -> Result<Self, Error> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        Ok(Self { pkcs8: Zeroizing::new(pair.serialize_der()) })
    }

    pub fn from_pkcs8_der(der: Vec<u8>) -> Result<Self, Error> {
        let key = Self { pkcs8: Zeroizing::new(der) };
        key.pair()?;
        Ok(key)
    }

    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| Error::Pem { what: "private key (PKCS#8)" })?;
        Self::from_pkcs8_der(der.secret_pkcs8_der().to_vec())
    }

    #[must_use]
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.pkcs8
    }

    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(pem("PRIVATE KEY", &self.pkcs8))
    }

    /// A PKCS#10 request that proves possession and asks for nothing else.
    pub fn csr(&self) -> Result<Vec<u8>, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&self.pair()?)?.der().to_vec())
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn public_key_sha256(&self) -> Result<[u8; 32], Error> {
        Ok(sha256(&self.pair()?.subject_public_key_info()))
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pkcs8.to_vec()).into()
    }

    fn pair(&self) -> Result<KeyPair, Error> {
        Ok(KeyPair::try_from(&PrivatePkcs8KeyDer::from(self.pkcs8.as_slice()))?)
    }
}

impl std::fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsKey(..)")
    }
}

/// The public key of a request, after its signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedKey {
    key: SubjectPublicKeyInfo,
}

impl RequestedKey {
    /// Reads a PKCS#10 request and forgets everything of it but its key.
    pub fn from_csr(der: &[u8]) -> Result<Self, Error> {
        use x509_parser::certification_request::X509CertificationRequest;
        if der.len() > MAX_CSR_BYTES {
            return Err(Error::BadRequest { what: "larger than 8 KiB" });
        }
        let (rest, csr) = X509CertificationRequest::from_der(der)
            .map_err(|_| Error::BadRequest { what: "does not parse" })?;
        if !rest.is_empty() {
            return Err(Error::BadRequest { what: "trailing bytes" });
        }
        csr.verify_signature()
            .map_err(|_| Error::BadRequest { what: "its signature is not by its own key" })?;
        let key = SubjectPublicKeyInfo::from_der(csr.certification_request_info.subject_pki.raw)
            .map_err(|_| Error::BadRequest { what: "key type not known" })?;
        let algorithm = key.algorithm();
        if *algorithm != rcgen::PKCS_ECDSA_P256_SHA256 && *algorithm != rcgen::PKCS_ED25519 {
            return Err(Error::BadRequest { what: "use a P-256 or Ed25519 key" });
        }
        Ok(Self { key })
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.key.subject_public_key_info())
    }
}

/// What a certificate is for.
#[derive(Clone, Debug)]
pub enum Usage {
    /// The hub's agent listener: a server, and nothing else.
    Hub { trust_domain: TrustDomain },
    /// An agent: a client, and nothing else.
    Cluster { trust_domain: TrustDomain, id: [u8; 16] },
    /// A web server (admission, API), known by its names.
    Web { dns: Vec<String>, addresses: Vec<IpAddr> },
}

/// Times in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

impl Validity {
    /// From a little before `now`, for `duration_secs` from it.
    #[must_use]
    pub const fn from_now(now_secs: i64, duration_secs: i64) -> Self {
        Self { not_before: now_secs - ISSUED_EARLIER_SECS, not_after: now_secs + duration_secs }
    }
}

/// A certificate that was just made, with what an issuance table keeps of it.
#[derive(Clone, Debug)]
pub struct Issued {
    pub certificate: CertificateDer<'static>,
    /// Hex.
    pub serial: String,
    pub public_key_sha256: [u8; 32],
    pub validity: Validity,
}

/// The embedded certificate authority.
pub struct Ca {
    certificate: CertificateDer<'static>,
    key: TlsKey,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ca({})", hex::encode(self.sha256()))
    }
}

impl Ca {
    pub fn create(trust_domain: &TrustDomain, now_secs: i64) -> Result<Self, Error> {
        Self::create_valid(trust_domain, Validity::from_now(now_secs, CA_VALIDITY_SECS))
    }

    /// As [`Self::create`], where no clock says how long.
    pub fn create_valid(trust_domain: &TrustDomain, validity: Validity) -> Result<Self, Error> {
        let key = TlsKey::generate()?;
        let name = format!("Provost fleet CA of {trust_domain}");
        let mut params = fresh_params(&name, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = false;
        let certificate = params.self_signed(&key.pair()?)?.der().clone();
        Ok(Self { certificate, key })
    }

    /// Refuses a pair that does not belong together.
    pub fn load(certificate: CertificateDer<'static>, key: TlsKey) -> Result<Self, Error> {
        let parsed = parse(&certificate)?;
        if sha256(parsed.public_key().raw) != key.public_key_sha256()? || !parsed.is_ca() {
            return Err(Error::Mismatch);
        }
        Ok(Self { certificate, key })
    }

    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    #[must_use]
    pub const fn key(&self) -> &TlsKey {
        &self.key
    }

    /// SHA-256 of the certificate's DER: what tokens pin.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }

    /// Issues for a key that was proved by a request.
    pub fn issue(
        &self,
        key: &RequestedKey,
        usage: &Usage,
        validity: Validity,
    ) -> Result<Issued, Error> {
        self.issue_for(&key.key, usage, validity)
    }

    /// Issues for a key of this process.
    pub fn issue_own(
        &self,
        key: &TlsKey,
        usage: &Usage,
        validity: Validity,
    ) -> Result<Issued, Error> {
        self.issue_for(&key.pair()?, usage, validity)
    }

    fn issue_for(
        &self,
        key: &impl rcgen::PublicKeyData,
        usage: &Usage,
        validity: Validity,
    ) -> Result<Issued, Error> {
        let mut params = match usage {
            Usage::Hub { trust_domain } => named(
                "Provost hub",
                &SpiffeId::hub(trust_domain.clone()),
                ExtendedKeyUsagePurpose::ServerAuth,
                validity,
            )?,
            Usage::Cluster { trust_domain, id } => named(
                "Provost agent",
                &SpiffeId::cluster(trust_domain.clone(), *id),
                ExtendedKeyUsagePurpose::ClientAuth,
                validity,
            )?,
            Usage::Web { dns, addresses } => web(dns, addresses, validity)?,
        };
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let serial: [u8; 16] = positive(rand::random());
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let issuer = Issuer::from_ca_cert_der(&self.certificate, self.key.pair()?)?;
        let certificate = params.signed_by(key, &issuer)?.der().clone();
        Ok(Issued {
            certificate,
            serial: hex::encode(serial),
            public_key_sha256: sha256(&key.subject_public_key_info()),
            validity,
        })
    }
}

/// Who a certificate says it is. Says nothing about who signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub spiffe: SpiffeId,
    /// Hex.
    pub serial: String,
    pub public_key_sha256: [u8; 32],
    pub validity: Validity,
}

impl Identity {
    /// Refuses anything but exactly one URI name in one of the two known shapes.
    pub fn of(certificate: &[u8]) -> Result<Self, Error> {
        let parsed = parse(certificate)?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|_| Error::NoIdentity)?
            .ok_or(Error::NoIdentity)?;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let (Some(uri), None) = (uris.next(), uris.next()) else { return Err(Error::NoIdentity) };
        Ok(Self {
            spiffe: uri.parse().map_err(|_| Error::NoIdentity)?,
            serial: hex::encode(parsed.raw_serial()),
            public_key_sha256: sha256(parsed.public_key().raw),
            validity: validity_of(&parsed),
        })
    }
}

/// The validity that a certificate states.
pub fn validity(certificate: &[u8]) -> Result<Validity, Error> {
    Ok(validity_of(&parse(certificate)?))
}

/// One or more certificates as PEM.
#[must_use]
pub fn certificates_to_pem(certificates: &[CertificateDer<'_>]) -> String {
    certificates.iter().map(|der| pem("CERTIFICATE", der)).collect()
}

/// All certificates of a PEM text, at least one.
pub fn certificates_from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad = Error::Pem { what: "certificate" };
    let Ok(all) = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>()
    else {
        return Err(bad);
    };
    if all.is_empty() { Err(bad) } else { Ok(all) }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

fn parse(der: &[u8]) -> Result<x509_parser::certificate::X509Certificate<'_>, Error> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(Error::NotACertificate { what: "trailing bytes".to_owned() }),
        Err(error) => Err(Error::NotACertificate { what: error.to_string() }),
    }
}

fn validity_of(parsed: &x509_parser::certificate::X509Certificate<'_>) -> Validity {
    let validity = parsed.validity();
    Validity {
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    }
}

fn fresh_params(common_name: &str, validity: Validity) -> Result<CertificateParams, Error> {
    let time = |secs| OffsetDateTime::from_unix_timestamp(secs).map_err(|_| Error::Time);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = time(validity.not_before)?;
    params.not_after = time(validity.not_after)?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(
    common_name: &str,
    id: &SpiffeId,
    usage: ExtendedKeyUsagePurpose,
    validity: Validity,
) -> Result<CertificateParams, Error> {
    let mut params = fresh_params(common_name, validity)?;
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id.to_string())?)];
    params.extended_key_usages = vec![usage];
    Ok(params)
}

fn web(
    dns: &[String],
    addresses: &[IpAddr],
    validity: Validity,
) -> Result<CertificateParams, Error> {
    let mut params = fresh_params("Provost", validity)?;
    for name in dns {
        params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(name.as_str())?));
    }
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// Serial numbers are positive and keep their 16 bytes.
fn positive(mut serial: [u8; 16]) -> [u8; 16] {
    serial[0] = (serial[0] & 0x7f) | 0x40;
    serial
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

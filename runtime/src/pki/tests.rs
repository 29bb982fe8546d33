//! What is issued reads back, and hostile requests give nothing but their keys.

use super::*;

const NOW: i64 = 1_800_000_000;

fn domain() -> TrustDomain {
    "fleet.test".parse().unwrap()
}

#[test]
fn what_is_issued_reads_back() {
    let ca = Ca::create(&domain(), NOW).unwrap();
    let key = TlsKey::generate().unwrap();
    let request = RequestedKey::from_csr(&key.csr().unwrap()).unwrap();
    let usage = Usage::Cluster { trust_domain: domain(), id: [7; 16] };
    let validity = Validity::from_now(NOW, 86_400);
    let issued = ca.issue(&request, &usage, validity).unwrap();
    let identity = Identity::of(&issued.certificate).unwrap();
    assert_eq!(identity.spiffe, SpiffeId::cluster(domain(), [7; 16]));
    assert_eq!(identity.serial, issued.serial);
    assert_eq!(identity.public_key_sha256, key.public_key_sha256().unwrap());
    assert_eq!(identity.validity, validity);
}

#[test]
fn a_hostile_request_gives_only_its_key() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut wish = CertificateParams::default();
    wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wish.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    wish.subject_alt_names =
        vec![SanType::URI(Ia5String::try_from("spiffe://fleet.test/hub").unwrap())];
    let csr = wish.serialize_request(&key).unwrap();
    let request = RequestedKey::from_csr(csr.der()).unwrap();
    let ca = Ca::create(&domain(), NOW).unwrap();
    let usage = Usage::Cluster { trust_domain: domain(), id: [1; 16] };
    let issued = ca.issue(&request, &usage, Validity::from_now(NOW, 60)).unwrap();
    let parsed = parse(&issued.certificate).unwrap();
    assert!(!parsed.is_ca());
    let usage = parsed.key_usage().unwrap().unwrap().value;
    assert!(!usage.key_cert_sign() && usage.digital_signature());
    let extended = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth);
    let identity = Identity::of(&issued.certificate).unwrap();
    assert_eq!(identity.spiffe.cluster_id(), Some([1; 16]));
}

#[test]
fn a_request_must_prove_its_key() {
    let mut csr = TlsKey::generate().unwrap().csr().unwrap();
    let last = csr.len() - 1;
    csr[last] ^= 1;
    assert!(matches!(RequestedKey::from_csr(&csr), Err(Error::BadRequest { .. })));
    assert!(RequestedKey::from_csr(&[0x30; 9_000]).is_err());
    assert!(RequestedKey::from_csr(&[]).is_err());
}

#[test]
fn a_ca_survives_its_files_and_only_its_own_key() {
    let ca = Ca::create(&domain(), NOW).unwrap();
    let certificate =
        certificates_from_pem(&certificates_to_pem(std::slice::from_ref(ca.certificate())))
            .unwrap()
            .remove(0);
    let key = TlsKey::from_pem(&ca.key().to_pem()).unwrap();
    assert_eq!(Ca::load(certificate.clone(), key).unwrap().sha256(), ca.sha256());
    let other = TlsKey::generate().unwrap();
    assert!(matches!(Ca::load(certificate, other), Err(Error::Mismatch)));
    assert!(certificates_from_pem("nothing").is_err());
}

#[test]
fn a_web_certificate_is_no_identity() {
    let ca = Ca::create(&domain(), NOW).unwrap();
    let key = TlsKey::generate().unwrap();
    let usage = Usage::Web { dns: vec!["localhost".to_owned()], addresses: Vec::new() };
    let issued = ca.issue_own(&key, &usage, Validity::from_now(NOW, 60)).unwrap();
    assert!(matches!(Identity::of(&issued.certificate), Err(Error::NoIdentity)));
}

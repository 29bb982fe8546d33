//! The bytes of every signed payload and of the files that hold them. A change here is a change of
//! the format: old objects must still be read.

use provost_trust::{Envelope, key_file};

use crate::exemption_sets::set;
use crate::fleet::{
    assignment, director_key, exemption_key, grant, key, manifest, operator_key, policy_key, root,
    root_key, signed, signed_root,
};

fn payload(envelope: &Envelope) -> String {
    let text = String::from_utf8(envelope.payload.clone()).unwrap();
    format!("{}\n{}\n{text}", envelope.payload_type, envelope.payload_digest())
}

#[test]
fn payloads() {
    insta::assert_snapshot!("root", payload(&signed_root(&root(), &[root_key()])));
    insta::assert_snapshot!(
        "manifest",
        payload(&signed(manifest().to_unsigned(), &[policy_key()]))
    );
    insta::assert_snapshot!(
        "assignment",
        payload(&signed(assignment().to_unsigned(), &[director_key()]))
    );
    insta::assert_snapshot!("grant", payload(&signed(grant().to_unsigned(), &[operator_key()])));
    insta::assert_snapshot!(
        "exemptions",
        payload(&signed(set().to_unsigned(), &[exemption_key()]))
    );
}

#[test]
fn files() {
    let envelope = signed(assignment().to_unsigned(), &[director_key(), operator_key()]);
    insta::assert_snapshot!("envelope", envelope.to_json());
    let private = key_file::private_json(&key(1), "Ada").unwrap();
    insta::assert_snapshot!("private_key", String::from_utf8(private.to_vec()).unwrap());
    let public = key_file::public_json(key(1).public(), "Ada").unwrap();
    insta::assert_snapshot!("public_key", String::from_utf8(public).unwrap());
}

#[test]
fn key_files_are_read_strictly() {
    let private = key_file::private_json(&key(1), "Ada").unwrap();
    assert_eq!(key_file::read_private(&private).unwrap().public(), key(1).public());
    let public = key_file::public_json(key(1).public(), "Ada").unwrap();
    assert_eq!(key_file::read_public(&public).unwrap(), (key(1).public(), "Ada".to_owned()));
    assert!(key_file::read_private(&public).unwrap_err().to_string().contains("private key"));

    let text = String::from_utf8(private.to_vec()).unwrap();
    let seed = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    for (name, from, to) in [
        ("another version", "\"version\": 1", "\"version\": 2"),
        ("another kind", "ed25519", "p256"),
        ("unknown field", "{", "{\"x\": 1,"),
        ("field twice", "{", "{\"version\": 1,"),
        ("a name that moves the cursor", "Ada", "A\\u001b[2J"),
        ("the public half of another", &key(1).public().to_string(), &key(2).public().to_string()),
        ("short seed", seed, "AQEB"),
        ("no base64", seed, "secret-secret"),
    ] {
        assert!(text.contains(from), "{name}");
        let error = key_file::read_private(text.replacen(from, to, 1).as_bytes()).expect_err(name);
        assert!(!error.to_string().contains("secret"), "{name}: {error}");
    }
    assert!(key_file::read_public(&vec![b' '; 5000]).is_err());
}

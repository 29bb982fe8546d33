//! DSSE envelopes: what is signed, what is read, what is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use provost_model::Code;
use provost_trust::dsse::{MAX_ENVELOPE_JSON_BYTES, payload_type};
use provost_trust::{Envelope, Error, Signature};

use crate::fleet::{key, policy_key, second_policy_key, stranger};

fn envelope() -> Envelope {
    Envelope::sign(payload_type::BATCH, b"hello world".to_vec(), &[&policy_key()])
}

fn code(envelope: &Envelope, keys: &[u8], threshold: u32) -> Code {
    let keys: Vec<_> = keys.iter().map(|seed| key(*seed).public()).collect();
    match envelope.verify(payload_type::BATCH, &keys, threshold) {
        Ok(verified) => panic!("accepted {verified:?}"),
        Err(error) => error.code(),
    }
}

#[test]
fn the_signed_bytes_are_those_of_the_dsse_specification() {
    // The specification's own example of the pre-authentication encoding.
    let key = policy_key();
    let envelope =
        Envelope::sign("http://example.com/HelloWorld", b"hello world".to_vec(), &[&key]);
    let pae = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
    assert!(key.public().verifies(pae, &envelope.signatures[0].signature));
}

#[test]
fn a_good_envelope_gives_its_payload_digest_and_signers() {
    let envelope = envelope();
    let verified = envelope.verify(payload_type::BATCH, &[policy_key().public()], 1).unwrap();
    assert_eq!(**verified, b"hello world"[..]);
    assert_eq!(verified.digest(), envelope.payload_digest());
    assert_eq!(verified.signers(), [policy_key().id()]);
}

#[test]
fn an_alteration_of_any_part_is_refused() {
    for position in 0..envelope().payload.len() {
        let mut altered = envelope();
        altered.payload[position] ^= 1;
        assert_eq!(code(&altered, &[2], 1), Code::BadSignature);
    }
    for position in [0, 31, 32, 63] {
        let mut altered = envelope();
        altered.signatures[0].signature[position] ^= 1;
        assert_eq!(code(&altered, &[2], 1), Code::BadSignature);
    }
    let mut altered = envelope();
    altered.payload.clear();
    assert_eq!(code(&altered, &[2], 1), Code::BadSignature);

    let mut altered = envelope();
    payload_type::HEARTBEAT.clone_into(&mut altered.payload_type);
    assert_eq!(code(&altered, &[2], 1), Code::BadSignature);

    let mut altered = envelope();
    altered.signatures[0].key_id = second_policy_key().id();
    assert_eq!(code(&altered, &[2], 1), Code::ThresholdNotMet);
    assert_eq!(code(&altered, &[2, 3], 1), Code::BadSignature);

    for length in [0, 63, 65] {
        let mut altered = envelope();
        altered.signatures[0].signature.resize(length, 0);
        assert_eq!(code(&altered, &[2], 1), Code::BadSignature);
    }
}

#[test]
fn no_signature_a_strangers_and_another_type_have_codes_of_their_own() {
    let unsigned = Envelope::unsigned(payload_type::BATCH, b"x".to_vec());
    assert_eq!(code(&unsigned, &[2], 1), Code::Unsigned);

    let strange = Envelope::sign(payload_type::BATCH, b"x".to_vec(), &[&stranger()]);
    assert_eq!(code(&strange, &[2], 1), Code::ThresholdNotMet);

    let other = Envelope::sign(payload_type::HEARTBEAT, b"x".to_vec(), &[&policy_key()]);
    assert_eq!(code(&other, &[2], 1), Code::WrongType);
}

#[test]
fn a_threshold_counts_distinct_keys() {
    let one = Envelope::sign(payload_type::BATCH, b"x".to_vec(), &[&policy_key()]);
    assert_eq!(code(&one, &[2, 3], 2), Code::ThresholdNotMet);

    // The same signature twice, and the same key given twice.
    let mut twice = one.clone();
    twice.signatures.push(twice.signatures[0].clone());
    assert_eq!(code(&twice, &[2, 3], 2), Code::ThresholdNotMet);
    assert_eq!(code(&twice, &[2, 2], 2), Code::ThresholdNotMet);

    // The same signature under another key's id.
    let mut disguised = one.clone();
    disguised.signatures.push(Signature {
        key_id: second_policy_key().id(),
        signature: one.signatures[0].signature.clone(),
    });
    assert_eq!(code(&disguised, &[2, 3], 2), Code::BadSignature);

    let both =
        Envelope::sign(payload_type::BATCH, b"x".to_vec(), &[&policy_key(), &second_policy_key()]);
    let keys = [policy_key().public(), second_policy_key().public()];
    assert_eq!(both.verify(payload_type::BATCH, &keys, 2).unwrap().signers().len(), 2);
}

#[test]
fn a_bad_signature_beside_enough_good_ones_does_no_harm() {
    let mut envelope = envelope();
    envelope
        .signatures
        .insert(0, Signature { key_id: second_policy_key().id(), signature: vec![0; 64] });
    envelope.add_signature(&stranger());
    let keys = [policy_key().public(), second_policy_key().public()];
    assert_eq!(
        envelope.verify(payload_type::BATCH, &keys, 1).unwrap().signers(),
        [policy_key().id()]
    );
}

#[test]
fn a_threshold_of_none_is_never_met() {
    assert_eq!(code(&envelope(), &[2], 0), Code::ThresholdNotMet);
    assert_eq!(code(&envelope(), &[], 1), Code::ThresholdNotMet);
}

#[test]
fn seventeen_signatures_are_too_many() {
    let mut envelope = Envelope::unsigned(payload_type::BATCH, b"x".to_vec());
    for seed in 100..116 {
        envelope.add_signature(&key(seed));
    }
    envelope.verify(payload_type::BATCH, &[key(100).public()], 1).unwrap();
    Envelope::from_json(envelope.to_json().as_bytes()).unwrap();

    envelope.add_signature(&key(116));
    assert_eq!(code(&envelope, &[100], 1), Code::TooLarge);
    let error = Envelope::from_json(envelope.to_json().as_bytes()).unwrap_err();
    assert_eq!(error, Error::TooManySignatures { count: 17, limit: 16 });
}

#[test]
fn signing_again_replaces_a_keys_signature() {
    let mut envelope = envelope();
    envelope.add_signature(&policy_key());
    assert_eq!(envelope.signatures.len(), 1);
}

#[test]
fn size_is_asked_before_anything_else() {
    let huge =
        Envelope::sign(payload_type::BATCH, vec![b'x'; 2 * 1024 * 1024 + 1], &[&policy_key()]);
    assert_eq!(code(&huge, &[2], 1), Code::TooLarge);
    let text = vec![b'{'; MAX_ENVELOPE_JSON_BYTES + 1];
    assert_eq!(Envelope::from_json(&text).unwrap_err().code(), Code::TooLarge);

    let largest =
        Envelope::sign(payload_type::BATCH, vec![b'x'; 2 * 1024 * 1024], &[&policy_key()]);
    assert_eq!(Envelope::from_json(largest.to_json().as_bytes()).unwrap(), largest);
}

#[test]
fn json_is_read_strictly() {
    let envelope = envelope();
    let json = envelope.to_json();
    assert_eq!(Envelope::from_json(json.as_bytes()), Ok(envelope.clone()));
    let payload = STANDARD.encode(&envelope.payload);
    let signature = STANDARD.encode(&envelope.signatures[0].signature);
    for (name, altered) in [
        ("unknown field", json.replacen('{', "{\"x\":1,", 1)),
        ("unknown field of a signature", json.replace("{\"keyid\"", "{\"x\":1,\"keyid\"")),
        ("field twice", json.replacen('{', "{\"payload\":\"\",", 1)),
        ("field of a signature twice", json.replace("{\"keyid\"", "{\"sig\":\"\",\"keyid\"")),
        ("something after the end", format!("{json}{{}}")),
        ("list in place of the object", format!("[\"{}\",\"{payload}\",[]]", payload_type::BATCH)),
        ("missing field", json.replace("\"payload\":", "\"payloads\":")),
        ("no padding", json.replace(&signature, signature.trim_end_matches('='))),
        ("other base64 alphabet", json.replace(&payload, "aGVsbG8-d29ybGQ=")),
        ("trailing bits", json.replace(&payload, "aGVsbG8gd29ybGR=")),
        ("a space in base64", json.replace(&payload, &format!(" {payload}"))),
        (
            "key id in upper case",
            json.replace(
                &policy_key().id().to_string(),
                &policy_key().id().to_string().to_uppercase(),
            ),
        ),
        ("not JSON", "hello".to_owned()),
        ("empty", String::new()),
    ] {
        assert_ne!(altered, json, "{name}");
        let error = Envelope::from_json(altered.as_bytes()).expect_err(name);
        assert_eq!(error.code(), Code::Malformed, "{name}: {error}");
    }
}

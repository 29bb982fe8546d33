//! Grants: the director's word until an operator's replaces it.

use provost_model::{ClusterId, Code};
use provost_trust::grant::{Authority, Grant, GrantedInstance, HeldGrant, accept, verify};
use provost_trust::{Error, KeyPair};

use crate::fleet::{
    cluster_id, director_key, grant, instance_id, key, labels, operator_key, policy_key, signed,
    trusted,
};

fn asked(grant: &Grant, signer: KeyPair, held: Option<&HeldGrant>) -> Result<Authority, Error> {
    let envelope = signed(grant.to_unsigned(), &[signer]);
    accept(&trusted(), &envelope, Some(cluster_id()), key(20).public(), held).map(|(_, by)| by)
}

fn held(version: u64, authority: Authority) -> HeldGrant {
    let grant = Grant { version, ..grant() };
    let digest = grant.to_unsigned().unwrap().payload_digest();
    HeldGrant { version, digest, authority }
}

fn refusal(result: Result<Authority, Error>) -> Code {
    result.map(|by| panic!("accepted by {by:?}")).unwrap_err().code()
}

#[test]
fn it_tells_whose_word_it_is() {
    assert_eq!(asked(&grant(), director_key(), None), Ok(Authority::Director));
    assert_eq!(asked(&grant(), operator_key(), None), Ok(Authority::Operator));
    assert_eq!(refusal(asked(&grant(), policy_key(), None)), Code::ThresholdNotMet);
    let both = signed(grant().to_unsigned(), &[director_key(), operator_key()]);
    assert_eq!(verify(&trusted(), &both).unwrap().1, Authority::Operator);
}

#[test]
fn a_broken_signature_of_an_operator_is_told_but_takes_nothing_from_the_director() {
    let mut broken = signed(grant().to_unsigned(), &[operator_key()]);
    broken.signatures[0].signature[0] ^= 1;
    let error = verify(&trusted(), &broken).unwrap_err();
    assert!(matches!(error, Error::BadSignature { key_id, .. } if key_id == operator_key().id()));
    broken.add_signature(&director_key());
    assert_eq!(verify(&trusted(), &broken).unwrap().1, Authority::Director);
}

#[test]
fn the_directors_word_gives_way_and_never_comes_back() {
    let director = held(5, Authority::Director);
    assert_eq!(asked(&grant(), operator_key(), Some(&director)), Ok(Authority::Operator));
    let operator = held(1, Authority::Operator);
    assert_eq!(refusal(asked(&grant(), director_key(), Some(&operator))), Code::Forbidden);
}

#[test]
fn versions_never_go_back() {
    for (authority, signer) in [
        (Authority::Director, director_key as fn() -> KeyPair),
        (Authority::Operator, operator_key),
    ] {
        assert_eq!(refusal(asked(&grant(), signer(), Some(&held(3, authority)))), Code::Older);
        asked(&grant(), signer(), Some(&held(2, authority))).unwrap();
        asked(&grant(), signer(), Some(&held(1, authority))).unwrap();
        let other = Grant { labels: labels(&[("tier", "cloud")]), ..grant() };
        assert_eq!(
            refusal(asked(&other, signer(), Some(&held(2, authority)))),
            Code::SameVersionDiffers
        );
    }
}

#[test]
fn another_clusters_grant_is_refused() {
    let other = Grant { cluster_id: ClusterId::from_bytes([2; 16]), ..grant() };
    assert_eq!(refusal(asked(&other, director_key(), None)), Code::WrongCluster);
    let other = Grant { identity_key: key(22).public(), ..grant() };
    assert_eq!(refusal(asked(&other, director_key(), None)), Code::WrongCluster);
}

#[test]
fn it_names_each_instance_once_with_its_key() {
    let instance =
        |byte| GrantedInstance { instance_id: instance_id(byte), report_key: key(byte).public() };
    let with = |instances| Grant { instances, ..grant() };
    let two = with(vec![instance(1), instance(2)]);
    two.to_unsigned().unwrap();
    assert_eq!(two.report_key(instance_id(2)), Some(key(2).public()));
    assert_eq!(two.report_key(instance_id(3)), None);
    for wrong in [vec![], vec![instance(2), instance(1)], vec![instance(1), instance(1)]] {
        assert_eq!(with(wrong).to_unsigned().unwrap_err().code(), Code::Malformed);
    }
    assert!(Grant { version: 0, ..grant() }.to_unsigned().is_err());
}

#[test]
fn it_is_read_strictly() {
    let text = String::from_utf8(grant().to_unsigned().unwrap().payload).unwrap();
    for (name, from, to) in [
        ("unknown field", "{", "{\"x\": 1,"),
        ("unknown field of an instance", "\"instanceId\"", "\"x\": 1, \"instanceId\""),
        ("label twice", "\"tier\"", "\"tier\": \"cloud\", \"tier\""),
        ("small-order key", &key(20).public().to_string(), &"00".repeat(32)),
    ] {
        assert!(text.contains(from), "{name}");
        let error = Grant::parse(text.replacen(from, to, 1).as_bytes()).expect_err(name);
        assert_eq!(error.code(), Code::Malformed, "{name}");
    }
}

//! The root, and walking from one to the next.

use provost_model::{Code, Digest};
use provost_trust::dsse::payload_type;
use provost_trust::root::{Role, Root};
use provost_trust::{Envelope, Error, KeyPair, TrustedRoot};

use crate::fleet::{
    CREATED, at, director_key, key, root, root_key, signed_root, stranger, trusted,
};

fn next(version: u64, change: impl FnOnce(&mut Root)) -> Root {
    let mut next = Root { version, ..root() };
    change(&mut next);
    next
}

fn follow(next: &Envelope) -> Result<TrustedRoot, Error> {
    trusted().follow(std::slice::from_ref(next))
}

fn refusal(result: Result<TrustedRoot, Error>) -> Code {
    result.map(|root| panic!("accepted version {}", root.version())).unwrap_err().code()
}

#[test]
fn a_root_is_trusted_by_the_digest_that_was_agreed_on() {
    let envelope = signed_root(&root(), &[root_key()]);
    let digest = envelope.payload_digest();
    let pinned = TrustedRoot::pin(digest, std::slice::from_ref(&envelope)).unwrap();
    assert_eq!((pinned.digest(), pinned.version()), (digest, 1));
    assert_eq!(refusal(TrustedRoot::pin(Digest::of(b"another"), &[envelope])), Code::WrongRoot);
    assert_eq!(refusal(TrustedRoot::pin(digest, &[])), Code::WrongRoot);
}

#[test]
fn a_pin_may_be_any_version_and_goes_on_from_there() {
    let one = signed_root(&root(), &[root_key()]);
    let two = signed_root(&next(2, |r| r.created = at("2026-11-23T00:00:00Z")), &[root_key()]);
    let three = signed_root(&next(3, |r| r.created = at("2026-11-24T00:00:00Z")), &[root_key()]);
    let chain = [one, two.clone(), three];
    let pinned = TrustedRoot::pin(two.payload_digest(), &chain).unwrap();
    assert_eq!(pinned.version(), 3);
}

#[test]
fn a_root_must_be_signed_by_its_own_role() {
    for (keys, code) in [
        (vec![], Code::Unsigned),
        (vec![stranger()], Code::ThresholdNotMet),
        (vec![director_key()], Code::ThresholdNotMet),
    ] {
        let envelope = signed_root(&root(), &keys);
        assert_eq!(refusal(TrustedRoot::from_operator(&envelope)), code);
        assert_eq!(refusal(TrustedRoot::pin(envelope.payload_digest(), &[envelope])), code);
    }
    let mut other_type = root().to_unsigned().unwrap();
    payload_type::GRANT.clone_into(&mut other_type.payload_type);
    other_type.add_signature(&root_key());
    assert_eq!(refusal(TrustedRoot::from_operator(&other_type)), Code::WrongType);
}

#[test]
fn a_rotation_needs_the_old_keys_and_the_new_ones() {
    let rotated = next(2, |r| {
        r.add_key(Role::Root, key(11).public(), "Bob");
        r.remove_key(Role::Root, root_key().id());
    });
    let signed = |keys: &[KeyPair]| signed_root(&rotated, keys);
    assert_eq!(follow(&signed(&[root_key(), key(11)])).unwrap().version(), 2);
    assert_eq!(refusal(follow(&signed(&[root_key()]))), Code::RootChainBroken);
    assert_eq!(refusal(follow(&signed(&[key(11)]))), Code::RootChainBroken);
    assert_eq!(refusal(follow(&signed(&[]))), Code::Unsigned);
}

#[test]
fn both_thresholds_must_be_reached_by_distinct_keys() {
    let two_of_three = |version| {
        next(version, |r| {
            r.add_key(Role::Root, key(11).public(), "Bob");
            r.add_key(Role::Root, key(12).public(), "Eve");
            r.role_mut(Role::Root).threshold = 2;
        })
    };
    let second = signed_root(&two_of_three(2), &[root_key(), key(11)]);
    let at_two = follow(&second).unwrap();
    let third = |keys: &[KeyPair]| at_two.clone().follow(&[signed_root(&two_of_three(3), keys)]);
    assert_eq!(third(&[key(11), key(12)]).unwrap().version(), 3);
    assert_eq!(refusal(third(&[key(11)])), Code::RootChainBroken);

    let mut twice = signed_root(&two_of_three(3), &[key(11)]);
    twice.signatures.push(twice.signatures[0].clone());
    assert_eq!(refusal(at_two.follow(&[twice])), Code::RootChainBroken);
}

#[test]
fn versions_go_up_by_one() {
    let skipping = signed_root(&next(3, |_| {}), &[root_key()]);
    assert_eq!(refusal(follow(&skipping)), Code::RootChainBroken);

    let other = signed_root(&next(1, |r| r.created = at("2026-11-23T00:00:00Z")), &[root_key()]);
    assert_eq!(refusal(follow(&other)), Code::SameVersionDiffers);

    let same = signed_root(&root(), &[root_key()]);
    assert_eq!(follow(&same).unwrap().version(), 1);

    let two = follow(&signed_root(&next(2, |_| {}), &[root_key()])).unwrap();
    assert_eq!(two.clone().follow(&[same]).unwrap(), two, "an older one is passed over");
}

#[test]
fn a_chain_goes_through_expired_roots_but_nothing_is_accepted_under_one() {
    let expired = next(2, |r| r.expires = at("2026-11-22T05:00:01Z"));
    let good = next(3, |_| {});
    let chain = [signed_root(&expired, &[root_key()]), signed_root(&good, &[root_key()])];
    let now = at("2026-12-01T00:00:00Z");
    let third = trusted().follow(&chain).unwrap();
    third.check_expiry(now).unwrap();
    let second = trusted().follow(&chain[..1]).unwrap();
    assert_eq!(second.check_expiry(now).unwrap_err().code(), Code::Expired);
    assert_eq!(second.check_expiry(at(CREATED)), Ok(()));
    assert_eq!(second.check_expiry(at("2026-11-22T05:00:01Z")).unwrap_err().code(), Code::Expired);
}

#[test]
fn a_root_that_could_not_hold_is_not_written() {
    for (name, root) in [
        ("no root key", Root { keys: Default::default(), roles: Default::default(), ..root() }),
        ("version 0", next(0, |_| {})),
        ("expired when made", next(1, |r| r.expires = r.created)),
        ("threshold 0", next(1, |r| r.role_mut(Role::Policy).threshold = 0)),
        ("threshold out of reach", next(1, |r| r.role_mut(Role::Policy).threshold = 3)),
        ("threshold over 16", next(1, |r| r.role_mut(Role::Exemption).threshold = 17)),
        (
            "director signs policies",
            next(1, |r| r.add_key(Role::Policy, director_key().public(), "")),
        ),
        ("director signs roots", next(1, |r| r.add_key(Role::Director, root_key().public(), ""))),
        (
            "director is an operator",
            next(1, |r| r.add_key(Role::Operator, director_key().public(), "")),
        ),
        (
            "key not listed",
            next(1, |r| {
                r.role_mut(Role::Policy).keys.insert(stranger().id());
            }),
        ),
        (
            "a name that moves the cursor",
            next(1, |r| r.add_key(Role::Policy, stranger().public(), "a\u{1b}[2J")),
        ),
        (
            "key without a role",
            next(1, |r| {
                r.role_mut(Role::Policy).keys.clear();
            }),
        ),
        (
            "id of another key",
            next(1, |r| {
                let record = r.keys[&root_key().id()].clone();
                r.keys.insert(stranger().id(), record);
                r.role_mut(Role::Policy).keys.insert(stranger().id());
            }),
        ),
    ] {
        let error = root.to_unsigned().expect_err(name);
        assert_eq!(error.code(), Code::Malformed, "{name}: {error}");
    }
}

#[test]
fn a_roots_json_is_read_strictly() {
    let text = String::from_utf8(root().to_unsigned().unwrap().payload).unwrap();
    assert_eq!(Root::parse(text.as_bytes()).unwrap(), root());
    let id = root_key().id().to_string();
    for (name, from, to) in [
        ("unknown field", "{", "{\"x\": 1,"),
        ("unknown field of a role", "\"threshold\"", "\"x\": 1, \"threshold\""),
        ("unknown field of a key", "\"algorithm\"", "\"x\": 1, \"algorithm\""),
        ("field twice", "{", "{\"version\": 2,"),
        ("key twice", &format!("\"{id}\": {{"), &format!("\"{id}\": {{}}, \"{id}\": {{")),
        (
            "role twice",
            "\"policy\": {",
            "\"policy\": {\"threshold\": 9, \"keys\": []}, \"policy\": {",
        ),
        ("another algorithm", "\"ed25519\"", "\"rsa\""),
        ("a fraction", "\"version\": 1,", "\"version\": 1.0,"),
        ("a negative number", "\"version\": 1,", "\"version\": -1,"),
        ("a number as text", "\"version\": 1,", "\"version\": \"1\","),
        ("another form of time", CREATED, "2026-11-22T05:00:00+00:00"),
        ("a missing role", "\"operator\"", "\"operators\""),
    ] {
        assert!(text.contains(from), "{name}");
        let altered = text.replacen(from, to, 1);
        let error = Root::parse(altered.as_bytes()).expect_err(name);
        assert_eq!(error.code(), Code::Malformed, "{name}: {error}");
    }
}

#[test]
fn a_key_leaves_the_root_with_its_last_role() {
    let mut root = root();
    root.add_key(Role::Exemption, root_key().public(), "");
    assert!(root.remove_key(Role::Exemption, root_key().id()));
    assert!(root.keys.contains_key(&root_key().id()));
    assert!(!root.remove_key(Role::Exemption, root_key().id()));
    assert!(root.remove_key(Role::Director, director_key().id()));
    assert!(!root.keys.contains_key(&director_key().id()));
    assert!(root.keys_of(Role::Director).is_empty());
    root.to_unsigned().unwrap();
}

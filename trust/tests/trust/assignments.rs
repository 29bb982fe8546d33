//! Assignments: for one session of one cluster, for a day at most.

use provost_model::{ClusterId, Code, Digest};
use provost_trust::assignment::{Assignment, Nonce, Session, verify};
use provost_trust::{Error, KeyPair, Verified, manifest};

use crate::fleet::{
    NOW, assignment, at, cluster_id, director_key, manifest as good, nonce, operator_key,
    policy_key, signed, signed_manifest, trusted,
};

fn session() -> Session {
    Session { cluster_id: cluster_id(), nonce: nonce(), now: at(NOW) }
}

fn asked(
    assignment: &Assignment,
    key: KeyPair,
    session: &Session,
) -> Result<Verified<Assignment>, Error> {
    verify(&trusted(), &signed(assignment.to_unsigned(), &[key]), session)
}

fn refusal(result: Result<Verified<Assignment>, Error>) -> Code {
    result.map(|_| panic!("accepted")).unwrap_err().code()
}

#[test]
fn the_director_assigns_and_nobody_else() {
    assert_eq!(*asked(&assignment(), director_key(), &session()).unwrap(), assignment());
    for key in [policy_key(), operator_key()] {
        assert_eq!(refusal(asked(&assignment(), key, &session())), Code::ThresholdNotMet);
    }
}

#[test]
fn another_session_cluster_or_day_is_refused() {
    let of = |session: Session| refusal(asked(&assignment(), director_key(), &session));
    let other_nonce = Nonce::from_bytes([8; 32]);
    assert_eq!(of(Session { nonce: other_nonce, ..session() }), Code::WrongAssignment);
    let other_cluster = ClusterId::from_bytes([1; 16]);
    assert_eq!(of(Session { cluster_id: other_cluster, ..session() }), Code::WrongAssignment);
    assert_eq!(of(Session { now: at("2026-12-01T12:00:00Z"), ..session() }), Code::Expired);
}

#[test]
fn it_lives_a_day_at_most() {
    let issued = at("2026-11-30T12:00:00Z");
    for (expires, good) in [
        ("2026-12-01T12:00:00Z", true),
        ("2026-12-01T12:00:01Z", false),
        ("2026-11-30T12:00:00Z", false),
        ("2026-11-30T11:00:00Z", false),
    ] {
        let assignment = Assignment { issued, expires: at(expires), ..assignment() };
        assert_eq!(assignment.to_unsigned().is_ok(), good, "{expires}");
    }
}

#[test]
fn the_manifest_must_be_the_one_it_names() {
    let root = trusted();
    let verified = |m| manifest::verify(&root, &signed_manifest(&m)).unwrap();
    assignment().check_manifest(&verified(good())).unwrap();
    let mut other = good();
    other.created = at("2026-11-23T00:00:00Z");
    let refusals = [
        assignment().check_manifest(&verified(other)),
        Assignment { version: 8, ..assignment() }.check_manifest(&verified(good())),
        Assignment { channel: "edge".to_owned(), ..assignment() }.check_manifest(&verified(good())),
        Assignment { digest: Digest::of(b""), ..assignment() }.check_manifest(&verified(good())),
    ];
    for refusal in refusals {
        assert_eq!(refusal.unwrap_err().code(), Code::WrongAssignment);
    }
}

#[test]
fn it_is_read_strictly() {
    let text = String::from_utf8(assignment().to_unsigned().unwrap().payload).unwrap();
    for (name, from, to) in [
        ("unknown field", "{", "{\"x\": 1,"),
        ("field twice", "{", "{\"version\": 1,"),
        ("unknown action", "ACTIVATE", "EXECUTE"),
        ("short nonce", "\"nonce\": \"07", "\"nonce\": \""),
    ] {
        assert!(text.contains(from), "{name}");
        let error = Assignment::parse(text.replacen(from, to, 1).as_bytes()).expect_err(name);
        assert_eq!(error.code(), Code::Malformed, "{name}");
    }
}

//! What is remembered between starts.

use provost_model::Code;
use provost_trust::grant::{self, Authority};
use provost_trust::manifest::{self, PolicyManifest};
use provost_trust::{TrustState, TrustedRoot};

use crate::fleet::{
    at, grant as good_grant, manifest as good, operator_key, root, root_key, signed,
    signed_manifest, signed_root, trusted,
};

fn state() -> TrustState {
    let root = trusted();
    let mut state = TrustState::new(&root);
    state.remember_manifest(&manifest::verify(&root, &signed_manifest(&good())).unwrap());
    let envelope = signed(good_grant().to_unsigned(), &[operator_key()]);
    let (grant, authority) = grant::verify(&root, &envelope).unwrap();
    state.remember_grant(&grant, authority);
    state
}

#[test]
fn it_reads_as_it_was_written_and_is_golden() {
    let state = state();
    let json = state.to_json().unwrap();
    assert_eq!(TrustState::from_json(&json).unwrap(), state);
    insta::assert_snapshot!(String::from_utf8(json).unwrap());
    assert_eq!(state.held_grant().unwrap().authority, Authority::Operator);
}

#[test]
fn the_digest_follows_every_change() {
    let one = state();
    let mut two = one.clone();
    let next = PolicyManifest { version: 8, ..good() };
    two.remember_manifest(&manifest::verify(&trusted(), &signed_manifest(&next)).unwrap());
    assert_ne!(one.digest().unwrap(), two.digest().unwrap());
}

#[test]
fn a_rollback_lowers_nothing_and_what_was_revoked_stays_so() {
    let mut state = state();
    let remember = |state: &mut TrustState, manifest: &PolicyManifest| {
        state.remember_manifest(&manifest::verify(&trusted(), &signed_manifest(manifest)).unwrap());
    };
    let older = PolicyManifest { version: 6, revoked_versions: vec![], ..good() };
    remember(&mut state, &older);
    assert_eq!(state.held_manifest("stable").unwrap().version, 7);

    let newer =
        PolicyManifest { version: 9, floor_version: 1, revoked_versions: vec![8], ..good() };
    remember(&mut state, &newer);
    let held = state.held_manifest("stable").unwrap();
    assert_eq!((held.version, held.floor_version), (9, 3));
    assert_eq!(held.revoked_versions, [5, 8]);
    assert!(state.held_manifest("edge").is_none());
}

#[test]
fn only_offline_keys_raise_the_floor_of_time() {
    let mut state = state();
    assert_eq!(state.time_floor(), root().created);
    let late = PolicyManifest { version: 8, created: at("2026-12-24T00:00:00Z"), ..good() };
    state.remember_manifest(&manifest::verify(&trusted(), &signed_manifest(&late)).unwrap());
    assert_eq!(state.time_floor(), at("2026-12-24T00:00:00Z"));
}

#[test]
fn a_root_from_disk_may_not_fall_behind() {
    let next = signed_root(
        &root().successor(at("2026-12-01T00:00:00Z"), at("2028-01-01T00:00:00Z")),
        &[root_key()],
    );
    let second = trusted().follow(&[next]).unwrap();
    let mut state = state();
    state.check_root(&trusted()).unwrap();
    state.check_root(&second).unwrap();
    state.remember_root(&second);
    assert_eq!(state.check_root(&trusted()).unwrap_err().code(), Code::Older);
    let mut other = root();
    other.version = 2;
    let other = TrustedRoot::from_operator(&signed_root(&other, &[root_key()])).unwrap();
    assert_eq!(state.check_root(&other).unwrap_err().code(), Code::SameVersionDiffers);
}

#[test]
fn another_format_is_not_guessed_at() {
    let json = String::from_utf8(state().to_json().unwrap()).unwrap();
    let later = json.replacen("\"version\": 1", "\"version\": 2", 1);
    assert_eq!(TrustState::from_json(later.as_bytes()).unwrap_err().code(), Code::Unsupported);
    let more = json.replacen('{', "{\"x\": 1,", 1);
    assert_eq!(TrustState::from_json(more.as_bytes()).unwrap_err().code(), Code::Malformed);
}

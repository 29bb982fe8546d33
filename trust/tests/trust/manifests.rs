//! What makes an agent accept or refuse a policy manifest, in the order of the protocol.

use provost_model::{Code, LabelSelector, Labels};
use provost_trust::manifest::{
    Circumstances, EngineVersion, PolicyManifest, Purpose, Ring, accept, verify,
};
use provost_trust::state::HeldManifest;
use provost_trust::{Envelope, Error, TrustState, TrustedRoot};

use crate::fleet::{
    EXPIRES, NOW, at, director_key, exemption_key, labels, manifest, operator_key, policy_key,
    second_policy_key, signed, signed_manifest, stranger, trusted, trusted_with_threshold_two,
};

struct Agent {
    root: TrustedRoot,
    now: &'static str,
    labels: Labels,
    held: Option<HeldManifest>,
    engine: &'static str,
    purpose: Purpose,
}

impl Agent {
    fn new() -> Self {
        Self {
            root: trusted(),
            now: NOW,
            labels: labels(&[("tier", "edge")]),
            held: None,
            engine: "0.1.0",
            purpose: Purpose::Activate,
        }
    }

    fn holding(version: u64) -> Self {
        let held = HeldManifest {
            version,
            digest: signed_manifest(&at_version(version)).payload_digest(),
            floor_version: 3,
            revoked_versions: vec![5],
        };
        Self { held: Some(held), ..Self::new() }
    }

    fn asked(&self, envelope: &Envelope) -> Result<PolicyManifest, Error> {
        let circumstances = Circumstances {
            now: at(self.now),
            labels: &self.labels,
            held: self.held.as_ref(),
            engine: self.engine.parse().unwrap(),
            purpose: self.purpose,
        };
        accept(&self.root, envelope, &circumstances).map(provost_trust::Verified::into_inner)
    }

    fn refuses(&self, envelope: &Envelope) -> Code {
        self.asked(envelope).map(|m| panic!("accepted version {}", m.version)).unwrap_err().code()
    }
}

fn at_version(version: u64) -> PolicyManifest {
    PolicyManifest { version, floor_version: 0, revoked_versions: Vec::new(), ..manifest() }
}

fn selector(pairs: &[(&str, &str)]) -> LabelSelector {
    LabelSelector { match_labels: labels(pairs), match_expressions: Vec::new() }
}

#[test]
fn a_good_manifest_is_accepted() {
    assert_eq!(Agent::new().asked(&signed_manifest(&manifest())).unwrap(), manifest());
    Agent::holding(6).asked(&signed_manifest(&manifest())).unwrap();
}

#[test]
fn only_policy_keys_sign_policies() {
    let with = |keys: &[provost_trust::KeyPair]| signed(manifest().to_unsigned(), keys);
    assert_eq!(Agent::new().refuses(&with(&[])), Code::Unsigned);
    for key in [director_key(), operator_key(), exemption_key(), stranger()] {
        assert_eq!(Agent::new().refuses(&with(&[key])), Code::ThresholdNotMet);
    }
    let strict = Agent { root: trusted_with_threshold_two(), ..Agent::new() };
    assert_eq!(strict.refuses(&with(&[policy_key()])), Code::ThresholdNotMet);
    strict.asked(&with(&[policy_key(), second_policy_key()])).unwrap();
    let mut twice = with(&[policy_key()]);
    twice.signatures.push(twice.signatures[0].clone());
    assert_eq!(strict.refuses(&twice), Code::ThresholdNotMet);
}

#[test]
fn one_altered_byte_anywhere_in_the_payload_is_refused() {
    let good = signed_manifest(&manifest());
    for position in 0..good.payload.len() {
        let mut altered = good.clone();
        altered.payload[position] ^= 1;
        assert_eq!(Agent::new().refuses(&altered), Code::BadSignature, "at {position}");
    }
}

#[test]
fn another_object_of_a_policy_key_is_no_manifest() {
    let mut envelope = manifest().to_unsigned().unwrap();
    envelope.payload_type = provost_trust::dsse::payload_type::EXEMPTIONS.to_owned();
    envelope.add_signature(&policy_key());
    assert_eq!(Agent::new().refuses(&envelope), Code::WrongType);
}

#[test]
fn what_has_expired_is_refused() {
    let envelope = signed_manifest(&manifest());
    let at_time = |now| Agent { now, ..Agent::new() };
    at_time("2027-02-22T04:59:59Z").asked(&envelope).unwrap();
    assert_eq!(at_time(EXPIRES).refuses(&envelope), Code::Expired);
    let long = PolicyManifest { expires: at("2030-01-01T00:00:00Z"), ..manifest() };
    let refusal = at_time("2028-01-01T00:00:00Z").asked(&signed_manifest(&long)).unwrap_err();
    assert!(matches!(refusal, Error::Expired { what: "root", .. }), "{refusal}");
}

#[test]
fn versions_never_go_back() {
    let agent = Agent::holding(8);
    let offer = |version| signed_manifest(&at_version(version));
    agent.asked(&offer(9)).unwrap();
    agent.asked(&offer(8)).unwrap();
    assert_eq!(agent.refuses(&offer(7)), Code::Older);
    assert_eq!(agent.refuses(&offer(2)), Code::BelowFloor);
    assert_eq!(agent.refuses(&offer(5)), Code::RevokedVersion);
    let other = PolicyManifest { created: at("2026-11-23T00:00:00Z"), ..at_version(8) };
    assert_eq!(agent.refuses(&signed_manifest(&other)), Code::SameVersionDiffers);
}

#[test]
fn a_rollback_goes_to_an_older_version_but_not_to_a_revoked_one() {
    let agent = Agent { purpose: Purpose::Rollback, ..Agent::holding(8) };
    let offer = |version| signed_manifest(&at_version(version));
    agent.asked(&offer(7)).unwrap();
    assert_eq!(agent.refuses(&offer(5)), Code::RevokedVersion);
    assert_eq!(agent.refuses(&offer(2)), Code::BelowFloor);
}

#[test]
fn scope_and_rings_go_by_granted_labels() {
    let scoped = PolicyManifest { scope: selector(&[("tier", "cloud")]), ..manifest() };
    assert_eq!(Agent::new().refuses(&signed_manifest(&scoped)), Code::OutOfScope);
    let scoped = PolicyManifest { scope: selector(&[("tier", "edge")]), ..manifest() };
    Agent::new().asked(&signed_manifest(&scoped)).unwrap();

    let ring = |name: &str, pairs: &[(&str, &str)], not_before| Ring {
        name: name.to_owned(),
        selector: selector(pairs),
        not_before: at(not_before),
        soak_seconds: 0,
    };
    let canary = ring("canary", &[("ring", "canary")], "2026-11-23T00:00:00Z");
    let rest = ring("rest", &[], "2026-12-02T00:00:00Z");
    let waves = |rings: Vec<Ring>| signed_manifest(&PolicyManifest { rings, ..manifest() });

    let both = waves(vec![canary.clone(), rest]);
    let refusal = Agent::new().asked(&both).unwrap_err();
    assert!(matches!(&refusal, Error::NotYet { ring, .. } if ring == "rest"), "{refusal}");
    let first = Agent { labels: labels(&[("ring", "canary")]), ..Agent::new() };
    first.asked(&both).unwrap();
    Agent { now: "2026-12-02T00:00:00Z", ..Agent::new() }.asked(&both).unwrap();
    assert_eq!(Agent::new().refuses(&waves(vec![canary])), Code::OutOfScope);
}

#[test]
fn one_from_a_clock_that_is_ahead_is_not_published() {
    manifest().check_created(at("2026-11-22T04:55:00Z")).unwrap();
    let now = at("2026-11-22T04:54:59Z");
    assert_eq!(manifest().check_created(now).unwrap_err().code(), Code::NotYet);
    assert_eq!(trusted().check_created(now).unwrap_err().code(), Code::NotYet);
}

#[test]
fn a_selector_that_kubernetes_would_refuse_is_refused() {
    use provost_model::labels::{Operator, Requirement};
    let requirement =
        Requirement { key: "tier".to_owned(), operator: Operator::In, values: Vec::new() };
    let scope = LabelSelector { match_labels: Labels::new(), match_expressions: vec![requirement] };
    let error = PolicyManifest { scope, ..manifest() }.to_unsigned().unwrap_err();
    assert_eq!(error.code(), Code::Malformed);
}

#[test]
fn no_message_carries_what_moves_a_cursor() {
    let text = String::from_utf8(manifest().to_unsigned().unwrap().payload).unwrap();
    let field = text.replacen("\"channel\"", "\"\\u001b[2J\": 1, \"channel\"", 1);
    let message = PolicyManifest::parse(field.as_bytes()).unwrap_err().to_string();
    assert!(message.contains("unknown field"), "{message}");
    assert!(!message.contains('\u{1b}'), "{message:?}");
}

#[test]
fn what_nobody_would_read_is_not_signed() {
    let mut large = manifest();
    large.revoked_versions = (1_000_000..1_200_000).collect();
    assert_eq!(large.to_unsigned().unwrap_err().code(), Code::TooLarge);
}

#[test]
fn a_newer_engine_may_be_asked_for() {
    let mut needs = manifest();
    needs.engine.minimum = "0.2.0".parse().unwrap();
    let envelope = signed_manifest(&needs);
    assert_eq!(Agent::new().refuses(&envelope), Code::EngineTooOld);
    Agent { engine: "0.10.0", ..Agent::new() }.asked(&envelope).unwrap();
    for text in ["1", "1.2", "1.2.3.4", "01.2.3", "1.2.x", "", "1.2.-3"] {
        assert!(text.parse::<EngineVersion>().is_err(), "{text}");
    }
}

#[test]
fn what_is_not_honoured_yet_must_be_empty() {
    let text = String::from_utf8(manifest().to_unsigned().unwrap().payload).unwrap();
    for (field, from, to) in [
        ("limits", "\"contentDigest\"", "\"limits\": {\"evaluationMs\": 5}, \"contentDigest\""),
        (
            "engine.builtins",
            "\"minimum\": \"0.1.0\"",
            "\"minimum\": \"0.1.0\", \"builtins\": [\"http.send\"]",
        ),
        (
            "rings.soakSeconds",
            "\"contentDigest\"",
            "\"rings\": [{\"name\": \"a\", \"notBefore\": \"2026-11-23T00:00:00Z\", \"soakSeconds\": 60}], \"contentDigest\"",
        ),
    ] {
        assert!(text.contains(from), "{field}");
        let payload = text.replacen(from, to, 1).into_bytes();
        let mut envelope =
            Envelope::unsigned(provost_trust::dsse::payload_type::POLICY_MANIFEST, payload);
        envelope.add_signature(&policy_key());
        let refusal = Agent::new().asked(&envelope).expect_err(field);
        assert_eq!(
            refusal,
            Error::Unsupported { what: "policy manifest", field: field.to_owned() }
        );
    }
}

#[test]
fn a_manifest_is_read_strictly() {
    let text = String::from_utf8(manifest().to_unsigned().unwrap().payload).unwrap();
    for (name, from, to) in [
        ("unknown field", "\"channel\"", "\"x\": 1, \"channel\""),
        ("unknown field of a file", "\"path\"", "\"mode\": 420, \"path\""),
        ("unknown field of the engine", "\"minimum\"", "\"x\": 1, \"minimum\""),
        (
            "unknown field of the scope",
            "\"contentDigest\"",
            "\"scope\": {\"x\": 1}, \"contentDigest\"",
        ),
        ("field twice", "\"channel\"", "\"channel\": \"a\", \"channel\""),
        ("field of a file twice", "\"path\"", "\"path\": \"a.rego\", \"path\""),
        (
            "label twice",
            "\"contentDigest\"",
            "\"scope\": {\"matchLabels\": {\"a\": \"b\", \"a\": \"c\"}}, \"contentDigest\"",
        ),
        ("unknown kind", "\"library\"", "\"binary\""),
        ("version 0", "\"version\": 7", "\"version\": 0"),
        ("below its own floor", "\"floorVersion\": 3", "\"floorVersion\": 8"),
        ("revokes itself", "    5\n", "    7\n"),
        ("bad channel", "\"stable\"", "\"../stable\""),
        ("other content digest", &manifest().content_digest.to_string()[..4], "0000"),
    ] {
        assert!(text.contains(from), "{name}");
        let error = PolicyManifest::parse(text.replacen(from, to, 1).as_bytes()).expect_err(name);
        assert_eq!(error.code(), Code::Malformed, "{name}: {error}");
    }
}

/// Serde would fill a struct from a list by position: two readers could disagree on what it says.
#[test]
fn a_list_is_no_object() {
    let text = String::from_utf8(manifest().to_unsigned().unwrap().payload).unwrap();
    let entry = &manifest().files[0];
    let start = text.find("{\n      \"path\"").unwrap();
    let end = start + text[start..].find('}').unwrap() + 1;
    let list = format!("[{:?}, {}, \"{}\", \"library\"]", entry.path, entry.size, entry.sha256);
    let altered = format!("{}{list}{}", &text[..start], &text[end..]);
    let error = PolicyManifest::parse(altered.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("a list stands where an object"), "{error}");
}

#[test]
fn refusals_come_in_the_order_of_the_protocol() {
    // Everything is wrong with it; each repair brings the next refusal.
    let mut wrong = PolicyManifest {
        version: 4,
        floor_version: 0,
        revoked_versions: Vec::new(),
        expires: at("2026-11-30T00:00:00Z"),
        scope: selector(&[("tier", "cloud")]),
        rings: vec![Ring {
            name: "late".to_owned(),
            selector: LabelSelector::default(),
            not_before: at("2027-01-01T00:00:00Z"),
            soak_seconds: 0,
        }],
        ..manifest()
    };
    wrong.engine.minimum = "9.0.0".parse().unwrap();
    let agent = Agent::holding(8);
    let mut seen = Vec::new();
    let mut see = |manifest: &PolicyManifest| seen.push(agent.refuses(&signed_manifest(manifest)));
    see(&wrong);
    wrong.expires = at(EXPIRES);
    see(&wrong);
    wrong.version = 9;
    see(&wrong);
    wrong.scope = LabelSelector::default();
    see(&wrong);
    wrong.rings.clear();
    see(&wrong);
    wrong.engine.minimum = EngineVersion::default();
    agent.asked(&signed_manifest(&wrong)).unwrap();
    assert_eq!(
        seen,
        [Code::Expired, Code::Older, Code::OutOfScope, Code::NotYet, Code::EngineTooOld]
    );
}

#[test]
fn a_refusal_leaves_what_is_held_as_it_was() {
    let root = trusted();
    let mut state = TrustState::new(&root);
    state.remember_manifest(&verify(&root, &signed_manifest(&manifest())).unwrap());
    let before = state.clone();
    let agent = Agent { held: state.held_manifest("stable").cloned(), ..Agent::new() };
    assert_eq!(agent.refuses(&signed_manifest(&at_version(6))), Code::Older);
    assert_eq!(state, before);
}

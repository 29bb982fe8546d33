//! Exemption sets: by their own role alone, and never an older one.

use provost_model::Code;
use provost_trust::exemptions::{Exemption, Exemptions, HeldExemptions, accept};
use provost_trust::{Error, KeyPair};

use crate::fleet::{
    CREATED, EXPIRES, NOW, at, director_key, exemption_key, policy_key, signed, trusted,
};

pub fn set() -> Exemptions {
    Exemptions {
        version: 4,
        created: at(CREATED),
        expires: at(EXPIRES),
        exemptions: vec![Exemption {
            id: "legacy-cart".to_owned(),
            policy: "run-as-non-root".parse().unwrap(),
            binding: None,
            clusters: Default::default(),
            namespaces: vec!["shop-*".to_owned()],
            kinds: Vec::new(),
            names: vec!["cart".to_owned()],
            reason: "the vendor's image runs as root until version 9".to_owned(),
            approved_by: "Grace".to_owned(),
            expires: at("2027-01-31T00:00:00Z"),
        }],
    }
}

fn asked(
    set: &Exemptions,
    key: KeyPair,
    now: &str,
    held: Option<&HeldExemptions>,
) -> Result<u64, Error> {
    accept(&trusted(), &signed(set.to_unsigned(), &[key]), at(now), held).map(|set| set.version)
}

#[test]
fn the_exemption_role_signs_and_no_hub() {
    assert_eq!(asked(&set(), exemption_key(), NOW, None), Ok(4));
    for key in [director_key(), policy_key()] {
        let error = asked(&set(), key, NOW, None).unwrap_err();
        assert_eq!(error.code(), Code::ThresholdNotMet);
    }
}

#[test]
fn expired_older_and_other_sets_are_refused() {
    let held =
        |version| HeldExemptions { version, digest: set().to_unsigned().unwrap().payload_digest() };
    let code = |result: Result<u64, Error>| result.unwrap_err().code();
    assert_eq!(code(asked(&set(), exemption_key(), EXPIRES, None)), Code::Expired);
    assert_eq!(code(asked(&set(), exemption_key(), NOW, Some(&held(5)))), Code::Older);
    assert_eq!(asked(&set(), exemption_key(), NOW, Some(&held(4))), Ok(4));
    let mut other = set();
    other.exemptions.clear();
    assert_eq!(code(asked(&other, exemption_key(), NOW, Some(&held(4)))), Code::SameVersionDiffers);
}

#[test]
fn each_exemption_has_an_id_a_reason_and_a_name_under_it() {
    for change in [
        (|set: &mut Exemptions| set.exemptions[0].reason.clear()) as fn(&mut Exemptions),
        |set| set.exemptions[0].approved_by.clear(),
        |set| set.exemptions.push(set.exemptions[0].clone()),
        |set| set.version = 0,
        |set| set.expires = set.created,
    ] {
        let mut wrong = set();
        change(&mut wrong);
        assert_eq!(wrong.to_unsigned().unwrap_err().code(), Code::Malformed);
    }
}

//! Properties that hold for any bytes.

use proptest::prelude::*;
use provost_trust::assignment::Assignment;
use provost_trust::exemptions::Exemptions;
use provost_trust::grant::Grant;
use provost_trust::manifest::{self, PolicyManifest};
use provost_trust::{Envelope, Root, Timestamp, TrustState, files, key_file};

use crate::fleet::{manifest as good, policy_key, root, signed_manifest, trusted};

proptest! {
    /// One byte of an envelope's JSON is changed: it is refused, or what it says is unchanged.
    #[test]
    fn no_change_of_a_byte_changes_what_is_accepted(
        at in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let envelope = signed_manifest(&good());
        let mut json = envelope.to_json().into_bytes();
        let at = at.index(json.len());
        json[at] ^= by;
        if let Ok(altered) = Envelope::from_json(&json)
            && let Ok(verified) = manifest::verify(&trusted(), &altered)
        {
            prop_assert_eq!(verified.digest(), envelope.payload_digest());
            prop_assert_eq!(verified.signers(), [policy_key().id()]);
        }
    }

    /// Bytes of the payload are changed: it is always refused.
    #[test]
    fn no_other_payload_is_accepted(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
    ) {
        let good = signed_manifest(&good());
        let mut altered = good.clone();
        for (at, by) in changes {
            let at = at.index(altered.payload.len());
            altered.payload[at] ^= by;
        }
        prop_assume!(altered.payload != good.payload);
        prop_assert!(manifest::verify(&trusted(), &altered).is_err());
    }

    /// A truncated file is refused.
    #[test]
    fn no_prefix_of_an_envelope_is_read(at in any::<prop::sample::Index>()) {
        let json = signed_manifest(&good()).to_json();
        let json = json.trim_end();
        let cut = at.index(json.len());
        prop_assert!(Envelope::from_json(&json.as_bytes()[..cut]).is_err());
    }

    #[test]
    fn no_reader_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::from_json(&bytes);
        let _ = Root::parse(&bytes);
        let _ = PolicyManifest::parse(&bytes);
        let _ = Assignment::parse(&bytes);
        let _ = Grant::parse(&bytes);
        let _ = Exemptions::parse(&bytes);
        let _ = TrustState::from_json(&bytes);
        let _ = key_file::read_private(&bytes);
    }

    /// A payload with bytes changed is read as something else or not at all, and never panics.
    #[test]
    fn no_reader_panics_on_nearly_good_bytes(
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
    ) {
        for payload in [root().to_unsigned().unwrap().payload, good().to_unsigned().unwrap().payload] {
            let mut payload = payload;
            let at = at.index(payload.len());
            payload[at] = with;
            let _ = Root::parse(&payload);
            let _ = PolicyManifest::parse(&payload);
        }
    }

    /// A path that is taken stays below its folder, whatever it is joined to.
    #[test]
    fn a_safe_path_never_leaves_its_folder(path in "[a./\\\\~: \u{301}-]{0,12}(\\.rego|\\.json)?") {
        if files::check_path(&path).is_ok() {
            let components = std::path::Path::new(&path).components();
            for component in components {
                prop_assert!(matches!(component, std::path::Component::Normal(_)), "{path}");
            }
        }
    }

    #[test]
    fn every_time_reads_as_it_was_written(seconds in 0..=253_402_300_799_i64) {
        let time = Timestamp::from_unix_s(seconds);
        prop_assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time));
        prop_assert_eq!(time.unix_s(), seconds);
    }
}

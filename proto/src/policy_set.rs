//! Policy sets: what a record's indexes point into. Encoded once; the digest of the bytes is their
//! name.

use bytes::Bytes;
use prost::Message as _;
use provost_model::binding::{Origin, PolicySet, PolicySetEntry};
use provost_model::limits::MAX_SET_RECORD_BYTES;
use provost_model::{Action, Digest, FailMode, Severity};

use crate::enums::Word as _;
use crate::fields::{
    decode as decode_message, digest as read_digest, digest_bytes, slug, text, within,
};
use crate::{Error, v1};

const BUNDLE: &str = "bundle";
const LOCAL: &str = "local";

#[must_use]
pub fn encode(set: &PolicySet) -> Bytes {
    let entries = set.entries.iter().map(entry_to_wire).collect();
    v1::PolicySet { entries }.encode_to_vec().into()
}

/// SHA-256 of [`encode`].
#[must_use]
pub fn digest(set: &PolicySet) -> Digest {
    Digest::of(&encode(set))
}

/// Refuses a set that is not sorted by policy, then binding, each pair once.
pub fn decode(bytes: &[u8]) -> Result<PolicySet, Error> {
    within("policy_set", bytes.len(), MAX_SET_RECORD_BYTES)?;
    let wire: v1::PolicySet = decode_message("policy set", bytes)?;
    let entries =
        wire.entries.into_iter().map(entry_from_wire).collect::<Result<Vec<_>, Error>>()?;
    let key = |entry: &PolicySetEntry| (entry.policy.clone(), entry.binding.clone());
    if entries.windows(2).any(|pair| key(&pair[0]) >= key(&pair[1])) {
        return Err(Error::bad("policy_set", "not sorted by policy and binding, each pair once"));
    }
    Ok(PolicySet { entries })
}

fn entry_to_wire(entry: &PolicySetEntry) -> v1::PolicySetEntry {
    let (origin, origin_digest) = match &entry.origin {
        Origin::Bundle(digest) => (BUNDLE, digest),
        Origin::Local(digest) => (LOCAL, digest),
    };
    v1::PolicySetEntry {
        policy_id: entry.policy.to_string(),
        binding_id: entry.binding.to_string(),
        revision: digest_bytes(&entry.revision),
        action: entry.action.to_wire(),
        fail_mode: entry.fail_mode.to_wire(),
        severity: entry.severity.to_wire(),
        scored: entry.scored,
        origin: origin.to_owned(),
        origin_digest: digest_bytes(origin_digest),
        title: entry.title.clone(),
        code: entry.code.clone(),
        category: entry.category.clone(),
    }
}

fn entry_from_wire(wire: v1::PolicySetEntry) -> Result<PolicySetEntry, Error> {
    let origin_digest = read_digest("policy_set.origin_digest", &wire.origin_digest)?;
    let origin = match wire.origin.as_str() {
        BUNDLE => Origin::Bundle(origin_digest),
        LOCAL => Origin::Local(origin_digest),
        _ => return Err(Error::bad("policy_set.origin", "neither bundle nor local")),
    };
    Ok(PolicySetEntry {
        policy: slug("policy_set.policy_id", &wire.policy_id)?,
        binding: slug("policy_set.binding_id", &wire.binding_id)?,
        revision: read_digest("policy_set.revision", &wire.revision)?,
        action: Action::required("policy_set.action", wire.action)?,
        fail_mode: FailMode::required("policy_set.fail_mode", wire.fail_mode)?,
        severity: Severity::required("policy_set.severity", wire.severity)?,
        scored: wire.scored,
        origin,
        title: text("policy_set.title", wire.title)?,
        code: text("policy_set.code", wire.code)?,
        category: text("policy_set.category", wire.category)?,
    })
}

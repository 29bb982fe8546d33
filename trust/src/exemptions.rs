//! Exemption sets: which violations are tolerated, by whom, until when.
//!
//! Signed by the exemption role alone, never by the director: a hub cannot excuse a cluster.

use provost_model::{BindingId, Digest, KindSelector, LabelSelector, PolicyId};
use serde::{Deserialize, Serialize};

use crate::dsse::{Envelope, payload_type};
use crate::error::Error;
use crate::root::Role;
use crate::strict;
use crate::time::Timestamp;
use crate::trusted_root::TrustedRoot;
use crate::verified::Verified;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exemptions {
    /// From 1, rising.
    pub version: u64,
    pub created: Timestamp,
    pub expires: Timestamp,
    /// Sorted by id.
    pub exemptions: Vec<Exemption>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exemption {
    pub id: String,
    pub policy: PolicyId,
    /// None: every binding of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<BindingId>,
    #[serde(default, skip_serializing_if = "LabelSelector::is_empty")]
    pub clusters: LabelSelector,
    /// Names, with `*` as the only wildcard; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<KindSelector>,
    /// Names of objects, with `*` as the only wildcard; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    pub reason: String,
    pub approved_by: String,
    pub expires: Timestamp,
}

/// The newest set that was accepted, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldExemptions {
    pub version: u64,
    pub digest: Digest,
}

const WHAT: &str = "exemption set";

/// Size, signatures, type, parse, expiry, version.
pub fn accept(
    root: &TrustedRoot,
    envelope: &Envelope,
    now: Timestamp,
    held: Option<&HeldExemptions>,
) -> Result<Verified<Exemptions>, Error> {
    let set = root
        .verify(Role::Exemption, payload_type::EXEMPTIONS, envelope)?
        .try_map(Exemptions::parse)?;
    root.check_expiry(now)?;
    if now >= set.expires {
        return Err(Error::Expired { what: WHAT, expired: set.expires, now });
    }
    let Some(held) = held else { return Ok(set) };
    if set.version < held.version {
        return Err(Error::Older { what: WHAT, version: set.version, held: held.version });
    }
    if set.version == held.version && set.digest() != held.digest {
        return Err(Error::SameVersionDiffers { what: WHAT, version: set.version });
    }
    Ok(set)
}

impl Exemptions {
    /// The bytes to sign.
    pub fn to_unsigned(&self) -> Result<Envelope, Error> {
        self.check()?;
        Ok(Envelope::unsigned(payload_type::EXEMPTIONS, strict::to_json(WHAT, self)?))
    }

    /// Reads a payload; whether to trust it is [`accept`]'s matter.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let set: Self = strict::from_json(WHAT, payload)?;
        set.check()?;
        Ok(set)
    }

    fn check(&self) -> Result<(), Error> {
        let malformed =
            |reason: &str| Err(Error::Malformed { what: WHAT, reason: reason.to_owned() });
        if self.version == 0 {
            return malformed("versions start at 1");
        }
        if self.created >= self.expires {
            return malformed("it expires before it was created");
        }
        if self.exemptions.windows(2).any(|pair| pair[0].id >= pair[1].id) {
            return malformed("exemptions must be sorted by id, each once");
        }
        if self.exemptions.iter().any(|e| e.reason.is_empty() || e.approved_by.is_empty()) {
            return malformed("every exemption needs a reason and who approved it");
        }
        Ok(())
    }
}

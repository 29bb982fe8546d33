//! The cluster grant: who a cluster is, with which keys and labels.
//!
//! The director signs one at approval so that labels are known; an operator's replaces it, and from
//! then on the director's are refused: a stolen hub can then neither move a cluster into another
//! scope nor put report keys of its own in its place.

use provost_model::{ClusterId, Digest, InstanceId, Labels};
use serde::{Deserialize, Serialize};

use crate::dsse::{Envelope, payload_type};
use crate::error::Error;
use crate::key::PublicKey;
use crate::root::Role;
use crate::strict;
use crate::time::Timestamp;
use crate::trusted_root::TrustedRoot;
use crate::verified::Verified;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    pub cluster_id: ClusterId,
    pub trust_domain: String,
    /// From 1, rising with each change of keys or labels.
    pub version: u64,
    pub identity_key: PublicKey,
    /// Sorted by instance id.
    pub instances: Vec<GrantedInstance>,
    pub labels: Labels,
    pub issued: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrantedInstance {
    pub instance_id: InstanceId,
    pub report_key: PublicKey,
}

/// Whose word a grant is. An operator's is worth more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Authority {
    Director,
    Operator,
}

/// The newest grant that was accepted, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeldGrant {
    pub version: u64,
    pub digest: Digest,
    pub authority: Authority,
}

const WHAT: &str = "cluster grant";

/// Size, signatures of the operator or else of the director, type, parse.
pub fn verify(
    root: &TrustedRoot,
    envelope: &Envelope,
) -> Result<(Verified<Grant>, Authority), Error> {
    let (payload, authority) = match root.verify(Role::Operator, payload_type::GRANT, envelope) {
        Ok(payload) => (payload, Authority::Operator),
        Err(by_operator) => {
            let by_director = root.verify(Role::Director, payload_type::GRANT, envelope);
            // Of two refusals, a signature that does not fit says more than one that is missing.
            let payload = by_director.map_err(|by_director| match by_operator {
                Error::BadSignature { .. } => by_operator,
                _ => by_director,
            })?;
            (payload, Authority::Director)
        }
    };
    Ok((payload.try_map(Grant::parse)?, authority))
}

/// All that an agent checks of a grant for itself.
pub fn accept(
    root: &TrustedRoot,
    envelope: &Envelope,
    cluster_id: Option<ClusterId>,
    identity_key: PublicKey,
    held: Option<&HeldGrant>,
) -> Result<(Verified<Grant>, Authority), Error> {
    let (grant, authority) = verify(root, envelope)?;
    if let Some(held) = held {
        check_held(&grant, authority, held)?;
    }
    let wrong = |reason: &str| Err(Error::WrongCluster { reason: reason.to_owned() });
    if cluster_id.is_some_and(|cluster_id| cluster_id != grant.cluster_id) {
        return wrong("it names another cluster id");
    }
    if grant.identity_key != identity_key {
        return wrong("it names another identity key");
    }
    Ok((grant, authority))
}

fn check_held(
    grant: &Verified<Grant>,
    authority: Authority,
    held: &HeldGrant,
) -> Result<(), Error> {
    if authority < held.authority {
        return Err(Error::Forbidden {
            reason: "an operator signed the grant that is held; the director cannot replace it"
                .to_owned(),
        });
    }
    // An operator's first grant replaces the director's whatever its version.
    if authority > held.authority {
        return Ok(());
    }
    if grant.version < held.version {
        return Err(Error::Older { what: WHAT, version: grant.version, held: held.version });
    }
    if grant.version == held.version && grant.digest() != held.digest {
        return Err(Error::SameVersionDiffers { what: WHAT, version: grant.version });
    }
    Ok(())
}

impl Grant {
    /// The bytes for an operator or the director to sign.
    pub fn to_unsigned(&self) -> Result<Envelope, Error> {
        self.check()?;
        Ok(Envelope::unsigned(payload_type::GRANT, strict::to_json(WHAT, self)?))
    }

    /// Reads a payload; whether to trust it is [`verify`]'s matter.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let grant: Self = strict::from_json(WHAT, payload)?;
        grant.check()?;
        Ok(grant)
    }

    #[must_use]
    pub fn report_key(&self, instance_id: InstanceId) -> Option<PublicKey> {
        let instance = self.instances.iter().find(|i| i.instance_id == instance_id)?;
        Some(instance.report_key)
    }

    fn check(&self) -> Result<(), Error> {
        let malformed =
            |reason: &str| Err(Error::Malformed { what: WHAT, reason: reason.to_owned() });
        if self.version == 0 {
            return malformed("versions start at 1");
        }
        if self.instances.is_empty() {
            return malformed("it names no instance");
        }
        if self.instances.windows(2).any(|pair| pair[0].instance_id >= pair[1].instance_id) {
            return malformed("instances must be sorted by id, each once");
        }
        Ok(())
    }
}

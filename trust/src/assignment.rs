//! The assignment: the director tells one session of one cluster which bundle to run.
//!
//! It names the nonce of that session, so that an old one cannot be replayed, and lives a day at
//! most, so that a stolen hub lies about freshness no longer than that.

use provost_model::{ClusterId, Digest};
use serde::{Deserialize, Serialize};

use crate::dsse::{Envelope, payload_type};
use crate::error::Error;
use crate::manifest::PolicyManifest;
use crate::root::Role;
use crate::strict;
use crate::time::Timestamp;
use crate::trusted_root::TrustedRoot;
use crate::verified::Verified;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assignment {
    pub cluster_id: ClusterId,
    /// Of Hello.
    pub nonce: Nonce,
    pub channel: String,
    pub version: u64,
    /// Manifest digest.
    pub digest: Digest,
    pub action: AssignedAction,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rollout_id: String,
    pub issued: Timestamp,
    pub expires: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AssignedAction {
    Activate,
    Shadow,
    Hold,
    RollbackTo,
}

/// 32 random bytes of one session; as text 64 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(Digest);

/// What the agent expects.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    pub cluster_id: ClusterId,
    pub nonce: Nonce,
    /// Trusted time.
    pub now: Timestamp,
}

/// The longest life of an assignment.
pub const MAX_LIFE_S: i64 = 24 * 3600;

const WHAT: &str = "assignment";

/// Checks an assignment of this session, in the order of the protocol. That the manifest beside it
/// is the one meant, [`Assignment::check_manifest`] tells.
pub fn verify(
    root: &TrustedRoot,
    envelope: &Envelope,
    session: &Session,
) -> Result<Verified<Assignment>, Error> {
    let assignment = root
        .verify(Role::Director, payload_type::ASSIGNMENT, envelope)?
        .try_map(Assignment::parse)?;
    assignment.check(session)?;
    Ok(assignment)
}

impl Assignment {
    /// The bytes for the director to sign.
    pub fn to_unsigned(&self) -> Result<Envelope, Error> {
        self.check_life()?;
        Ok(Envelope::unsigned(payload_type::ASSIGNMENT, strict::to_json(WHAT, self)?))
    }

    /// Reads a payload; whether to trust it is [`verify`]'s matter.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let assignment: Self = strict::from_json(WHAT, payload)?;
        assignment.check_life()?;
        Ok(assignment)
    }

    /// Whether `manifest` is the one that was assigned.
    pub fn check_manifest(&self, manifest: &Verified<PolicyManifest>) -> Result<(), Error> {
        let wrong = |reason: String| Err(Error::WrongAssignment { reason });
        if manifest.digest() != self.digest {
            return wrong(format!("it names manifest {}, not {}", self.digest, manifest.digest()));
        }
        if manifest.channel != self.channel || manifest.version != self.version {
            return wrong(format!(
                "it names {} version {}, the manifest is {} version {}",
                self.channel, self.version, manifest.channel, manifest.version
            ));
        }
        Ok(())
    }

    fn check(&self, session: &Session) -> Result<(), Error> {
        let wrong = |reason: &str| Err(Error::WrongAssignment { reason: reason.to_owned() });
        if session.now >= self.expires {
            return Err(Error::Expired { what: WHAT, expired: self.expires, now: session.now });
        }
        if self.cluster_id != session.cluster_id {
            return wrong("it names another cluster");
        }
        if self.nonce != session.nonce {
            return wrong("it does not name the nonce of this session");
        }
        Ok(())
    }

    fn check_life(&self) -> Result<(), Error> {
        let life_s = self.expires.unix_s() - self.issued.unix_s();
        if life_s <= 0 || life_s > MAX_LIFE_S {
            let reason = "it must expire after it was issued, and within 24 hours".to_owned();
            return Err(Error::Malformed { what: WHAT, reason });
        }
        Ok(())
    }
}

impl Nonce {
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Digest::from_bytes(bytes))
    }

    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

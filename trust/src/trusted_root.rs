//! The root that is trusted, and the only ways to come to trust one.
//!
//! It starts from a digest that people agreed on, or from an operator's own file, and goes on one
//! version at a time: version N+1 counts only when the root roles of N and of N+1 both signed it. A
//! step that fails leaves the root as it was. Expired roots in between are passed; whether the last
//! one has expired is asked where something new is accepted under it.

use provost_model::Digest;

use crate::dsse::{Envelope, payload_type};
use crate::error::Error;
use crate::root::{Role, Root};
use crate::time::{Timestamp, check_not_ahead};
use crate::verified::Verified;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedRoot {
    root: Root,
    digest: Digest,
}

const WHAT: &str = "root";

impl TrustedRoot {
    /// Finds the root of the agreed digest among `roots`, whatever came before it, and follows
    /// those after it.
    pub fn pin(expected: Digest, roots: &[Envelope]) -> Result<Self, Error> {
        let position = roots
            .iter()
            .position(|root| root.payload_digest() == expected)
            .ok_or(Error::WrongRoot { expected })?;
        Self::from_operator(&roots[position])?.follow(&roots[position + 1..])
    }

    /// A root that the caller trusts because of where it came from: an operator's own file, or the
    /// agent's own store. It still must be signed by its own role.
    pub fn from_operator(envelope: &Envelope) -> Result<Self, Error> {
        let root = Root::parse(checked_size(envelope)?)?;
        let (keys, threshold) = (root.keys_of(Role::Root), root.role(Role::Root).threshold);
        let digest = envelope.verify(payload_type::ROOT, &keys, threshold)?.digest();
        Ok(Self { root, digest })
    }

    /// Goes through `roots`, oldest first. Those that are not newer are passed over, if the one of
    /// the version held is the same.
    pub fn follow(self, roots: &[Envelope]) -> Result<Self, Error> {
        roots.iter().try_fold(self, |trusted, envelope| trusted.step(envelope))
    }

    #[must_use]
    pub const fn root(&self) -> &Root {
        &self.root
    }

    #[must_use]
    pub const fn version(&self) -> u64 {
        self.root.version
    }

    /// SHA-256 of its payload.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Under an expired root nothing new is accepted.
    pub fn check_expiry(&self, now: Timestamp) -> Result<(), Error> {
        if now >= self.root.expires {
            return Err(Error::Expired { what: WHAT, expired: self.root.expires, now });
        }
        Ok(())
    }

    /// For who publishes it, see [`crate::PolicyManifest::check_created`].
    pub fn check_created(&self, now: Timestamp) -> Result<(), Error> {
        check_not_ahead(WHAT, self.root.created, now)
    }

    /// Checks size, signatures of `role` and type.
    pub fn verify<'a>(
        &self,
        role: Role,
        expected_type: &'static str,
        envelope: &'a Envelope,
    ) -> Result<Verified<&'a [u8]>, Error> {
        envelope.verify(expected_type, &self.root.keys_of(role), self.root.role(role).threshold)
    }

    fn step(self, envelope: &Envelope) -> Result<Self, Error> {
        let next = Root::parse(checked_size(envelope)?)?;
        let held = self.root.version;
        if next.version < held {
            return Ok(self);
        }
        if next.version == held {
            if envelope.payload_digest() == self.digest {
                return Ok(self);
            }
            return Err(Error::SameVersionDiffers { what: WHAT, version: held });
        }
        if next.version != held + 1 {
            let reason = format!("version {} cannot follow version {held}", next.version);
            return Err(Error::RootChainBroken { reason });
        }
        for (version, root) in [(held, &self.root), (next.version, &next)] {
            let (keys, threshold) = (root.keys_of(Role::Root), root.role(Role::Root).threshold);
            envelope.verify(payload_type::ROOT, &keys, threshold).map_err(|error| match error {
                Error::WrongType { .. } => error,
                error => Error::RootChainBroken {
                    reason: format!(
                        "version {} is not signed by the root role of version {version}: {error}",
                        next.version
                    ),
                },
            })?;
        }
        Ok(Self { root: next, digest: envelope.payload_digest() })
    }
}

/// The root's own keys stand in the payload, so that it must be read before its signatures can be
/// checked; the size cap comes before both.
fn checked_size(envelope: &Envelope) -> Result<&[u8], Error> {
    let limit = provost_model::limits::MAX_SIGNED_PAYLOAD_BYTES;
    let size = envelope.payload.len();
    if size > limit {
        return Err(Error::TooLarge { what: WHAT, size: size as u64, limit: limit as u64 });
    }
    if envelope.signatures.is_empty() {
        return Err(Error::Unsigned { what: WHAT });
    }
    if envelope.payload_type != payload_type::ROOT {
        let found = envelope.payload_type.chars().take(120).collect();
        return Err(Error::WrongType { expected: payload_type::ROOT, found });
    }
    Ok(&envelope.payload)
}

//! The policy manifest: which files a bundle has, for whom, since when and until when.

use std::fmt;
use std::str::FromStr;

use provost_model::{Digest, LabelSelector, Labels};
use serde::{Deserialize, Serialize};

use crate::dsse::{Envelope, payload_type};
use crate::error::Error;
use crate::files::{self, FileEntry};
use crate::root::Role;
use crate::state::HeldManifest;
use crate::strict;
use crate::text;
use crate::time::{Timestamp, check_not_ahead};
use crate::trusted_root::TrustedRoot;
use crate::verified::Verified;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyManifest {
    pub channel: String,
    /// From 1, rising within the channel.
    pub version: u64,
    /// No version below it is accepted any more.
    #[serde(default)]
    pub floor_version: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_versions: Vec<u64>,
    pub created: Timestamp,
    pub expires: Timestamp,
    /// Over the cluster's granted labels; empty means every cluster.
    #[serde(default, skip_serializing_if = "LabelSelector::is_empty")]
    pub scope: LabelSelector,
    /// A cluster belongs to the first that selects it. None at all: every cluster, at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rings: Vec<Ring>,
    #[serde(default)]
    pub engine: EngineNeeds,
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// [`files::content_digest`] of `files`.
    pub content_digest: Digest,
    /// Sorted by path.
    pub files: Vec<FileEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ring {
    pub name: String,
    #[serde(default, skip_serializing_if = "LabelSelector::is_empty")]
    pub selector: LabelSelector,
    pub not_before: Timestamp,
    /// How long it must hold before the next ring starts. Not honoured yet, so it must be 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub soak_seconds: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineNeeds {
    /// The oldest engine that can run it.
    pub minimum: EngineVersion,
    /// Built-ins that policies may call beyond the engine's list. Not honoured yet: empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub builtins: Vec<String>,
}

/// Limits narrower than the engine's own. Not honoured yet: none may be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation_ms: Option<u64>,
}

/// `major.minor.patch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EngineVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

/// What an agent knows when a manifest arrives.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// Trusted time.
    pub now: Timestamp,
    /// The cluster's granted labels.
    pub labels: &'a Labels,
    /// The newest manifest that was accepted in this channel.
    pub held: Option<&'a HeldManifest>,
    pub engine: EngineVersion,
    pub purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Activate,
    /// Back to a version that the agent still holds: it may be older than the newest.
    Rollback,
}

const WHAT: &str = "policy manifest";

/// Size, signatures, type, parse: what a manifest is, whoever it is for.
pub fn verify(root: &TrustedRoot, envelope: &Envelope) -> Result<Verified<PolicyManifest>, Error> {
    root.verify(Role::Policy, payload_type::POLICY_MANIFEST, envelope)?
        .try_map(PolicyManifest::parse)
}

/// All that an agent checks before it fetches files, in the order of the protocol.
pub fn accept(
    root: &TrustedRoot,
    envelope: &Envelope,
    circumstances: &Circumstances<'_>,
) -> Result<Verified<PolicyManifest>, Error> {
    let manifest = verify(root, envelope)?;
    root.check_expiry(circumstances.now)?;
    manifest.check_expiry(circumstances.now)?;
    manifest.check_version(manifest.digest(), circumstances.held, circumstances.purpose)?;
    manifest.check_scope(circumstances.labels)?;
    manifest.check_ring(circumstances.labels, circumstances.now)?;
    manifest.check_engine(circumstances.engine)?;
    Ok(manifest)
}

impl PolicyManifest {
    /// Checks the rules that hold within one manifest, and writes the bytes to sign.
    pub fn to_unsigned(&self) -> Result<Envelope, Error> {
        self.check()?;
        Ok(Envelope::unsigned(payload_type::POLICY_MANIFEST, strict::to_json(WHAT, self)?))
    }

    /// Reads a payload; whether to trust it is [`verify`]'s matter.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let manifest: Self = strict::from_json(WHAT, payload)?;
        manifest.check()?;
        Ok(manifest)
    }

    pub fn check_expiry(&self, now: Timestamp) -> Result<(), Error> {
        if now >= self.expires {
            return Err(Error::Expired { what: WHAT, expired: self.expires, now });
        }
        Ok(())
    }

    /// For who publishes it: its date raises the floor of trusted time for good, so that one from a
    /// clock that is ahead would make everything after it look expired.
    pub fn check_created(&self, now: Timestamp) -> Result<(), Error> {
        check_not_ahead(WHAT, self.created, now)
    }

    /// Whether this manifest, of payload digest `digest`, may follow the one held.
    pub fn check_version(
        &self,
        digest: Digest,
        held: Option<&HeldManifest>,
        purpose: Purpose,
    ) -> Result<(), Error> {
        let version = self.version;
        let Some(held) = held else { return Ok(()) };
        if version < held.floor_version {
            return Err(Error::BelowFloor { version, floor: held.floor_version });
        }
        if held.revoked_versions.contains(&version) {
            return Err(Error::RevokedVersion { version });
        }
        if version < held.version && purpose == Purpose::Activate {
            return Err(Error::Older { what: WHAT, version, held: held.version });
        }
        if version == held.version && digest != held.digest {
            return Err(Error::SameVersionDiffers { what: WHAT, version });
        }
        Ok(())
    }

    pub fn check_scope(&self, labels: &Labels) -> Result<(), Error> {
        if !self.scope.matches(labels) {
            let reason = "its scope does not select the cluster's granted labels".to_owned();
            return Err(Error::OutOfScope { reason });
        }
        Ok(())
    }

    pub fn check_ring(&self, labels: &Labels, now: Timestamp) -> Result<(), Error> {
        if self.rings.is_empty() {
            return Ok(());
        }
        let Some(ring) = self.ring(labels) else {
            let reason = "none of its rings selects the cluster's granted labels".to_owned();
            return Err(Error::OutOfScope { reason });
        };
        if now < ring.not_before {
            let (ring, not_before) = (ring.name.clone(), ring.not_before);
            return Err(Error::NotYet { ring, not_before, now });
        }
        Ok(())
    }

    /// The ring of a cluster with these labels.
    #[must_use]
    pub fn ring(&self, labels: &Labels) -> Option<&Ring> {
        self.rings.iter().find(|ring| ring.selector.matches(labels))
    }

    pub fn check_engine(&self, running: EngineVersion) -> Result<(), Error> {
        let needed = self.engine.minimum;
        if running < needed {
            let (needed, running) = (needed.to_string(), running.to_string());
            return Err(Error::EngineTooOld { needed, running });
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        let malformed =
            |reason: &str| Err(Error::Malformed { what: WHAT, reason: reason.to_owned() });
        let unsupported =
            |field: &str| Err(Error::Unsupported { what: WHAT, field: field.to_owned() });
        // A channel is named like a binding: a slug.
        if self.channel.parse::<provost_model::BindingId>().is_err() {
            return malformed("the channel is no lower-case name such as stable");
        }
        if self.version == 0 {
            return malformed("versions start at 1");
        }
        if self.floor_version > self.version || self.revoked_versions.contains(&self.version) {
            return malformed("it is below its own floor, or revokes itself");
        }
        if self.created >= self.expires {
            return malformed("it expires before it was created");
        }
        let selectors = self.rings.iter().map(|ring| &ring.selector).chain([&self.scope]);
        if let Some(problem) = selectors.into_iter().find_map(LabelSelector::problem) {
            return malformed(&problem);
        }
        let named = |ring: &Ring| !ring.name.is_empty() && text::is_plain_line(&ring.name);
        if !self.rings.iter().all(named) {
            return malformed("a ring has no name, or one that is no line of text");
        }
        if self.rings.iter().any(|ring| ring.soak_seconds != 0) {
            return unsupported("rings.soakSeconds");
        }
        if !self.engine.builtins.is_empty() {
            return unsupported("engine.builtins");
        }
        if !self.limits.is_empty() {
            return unsupported("limits");
        }
        files::check_entries(&self.files)?;
        if files::content_digest(&self.files) != self.content_digest {
            return malformed("its content digest is not that of its files");
        }
        Ok(())
    }
}

impl Limits {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl EngineVersion {
    /// This build's.
    #[must_use]
    pub fn running() -> Self {
        env!("CARGO_PKG_VERSION").parse().unwrap_or_default()
    }
}

impl fmt::Display for EngineVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a version: expected three numbers such as 0.1.0")]
pub struct NotAVersion;

impl FromStr for EngineVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let mut parts = text.split('.').map(|part| part.parse().map_err(|_| NotAVersion));
        let mut next = || parts.next().unwrap_or(Err(NotAVersion));
        let version = Self { major: next()?, minor: next()?, patch: next()? };
        if version.to_string() == text { Ok(version) } else { Err(NotAVersion) }
    }
}

impl TryFrom<String> for EngineVersion {
    type Error = NotAVersion;

    fn try_from(text: String) -> Result<Self, NotAVersion> {
        text.parse()
    }
}

impl From<EngineVersion> for String {
    fn from(version: EngineVersion) -> Self {
        version.to_string()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

//! What an agent remembers of trust between starts. A heartbeat carries its digest.
//!
//! The envelopes themselves stay beside it and are checked anew at start; this is what they must
//! not fall behind.

use std::collections::BTreeMap;

use provost_model::Digest;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::exemptions::{Exemptions, HeldExemptions};
use crate::grant::{Authority, Grant, HeldGrant};
use crate::manifest::PolicyManifest;
use crate::strict;
use crate::time::Timestamp;
use crate::trusted_root::TrustedRoot;
use crate::verified::Verified;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustState {
    /// Of this format: 1.
    version: u32,
    root_version: u64,
    root_digest: Digest,
    /// By channel.
    #[serde(default)]
    manifests: BTreeMap<String, HeldManifest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant: Option<HeldGrant>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exemptions: Option<HeldExemptions>,
    /// The newest date of an object that offline keys signed.
    time_floor: Timestamp,
}

/// The newest manifest of a channel that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeldManifest {
    pub version: u64,
    pub digest: Digest,
    pub floor_version: u64,
    #[serde(default)]
    pub revoked_versions: Vec<u64>,
}

const WHAT: &str = "trust state";
const FORMAT_VERSION: u32 = 1;

impl TrustState {
    #[must_use]
    pub fn new(root: &TrustedRoot) -> Self {
        Self {
            version: FORMAT_VERSION,
            root_version: root.version(),
            root_digest: root.digest(),
            manifests: BTreeMap::new(),
            grant: None,
            exemptions: None,
            time_floor: root.root().created,
        }
    }

    #[must_use]
    pub fn held_manifest(&self, channel: &str) -> Option<&HeldManifest> {
        self.manifests.get(channel)
    }

    #[must_use]
    pub const fn held_grant(&self) -> Option<&HeldGrant> {
        self.grant.as_ref()
    }

    #[must_use]
    pub const fn held_exemptions(&self) -> Option<&HeldExemptions> {
        self.exemptions.as_ref()
    }

    #[must_use]
    pub const fn time_floor(&self) -> Timestamp {
        self.time_floor
    }

    #[must_use]
    pub const fn root_version(&self) -> u64 {
        self.root_version
    }

    #[must_use]
    pub const fn root_digest(&self) -> Digest {
        self.root_digest
    }

    /// A root that was loaded must be the one remembered, or come after it.
    pub fn check_root(&self, root: &TrustedRoot) -> Result<(), Error> {
        if root.version() < self.root_version {
            let (version, held) = (root.version(), self.root_version);
            return Err(Error::Older { what: "root", version, held });
        }
        if root.version() == self.root_version && root.digest() != self.root_digest {
            return Err(Error::SameVersionDiffers { what: "root", version: root.version() });
        }
        Ok(())
    }

    pub fn remember_root(&mut self, root: &TrustedRoot) {
        self.root_version = root.version();
        self.root_digest = root.digest();
        self.time_floor = self.time_floor.max(root.root().created);
    }

    /// After activation. A rollback never lowers what is held.
    pub fn remember_manifest(&mut self, manifest: &Verified<PolicyManifest>) {
        self.time_floor = self.time_floor.max(manifest.created);
        let held = self.manifests.get(&manifest.channel);
        if held.is_some_and(|held| held.version > manifest.version) {
            return;
        }
        let mut revoked_versions = manifest.revoked_versions.clone();
        revoked_versions.extend(held.iter().flat_map(|held| held.revoked_versions.iter()));
        revoked_versions.sort_unstable();
        revoked_versions.dedup();
        let floor = held.map_or(0, |held| held.floor_version).max(manifest.floor_version);
        self.manifests.insert(
            manifest.channel.clone(),
            HeldManifest {
                version: manifest.version,
                digest: manifest.digest(),
                floor_version: floor,
                revoked_versions,
            },
        );
    }

    pub fn remember_grant(&mut self, grant: &Verified<Grant>, authority: Authority) {
        let (version, digest) = (grant.version, grant.digest());
        self.grant = Some(HeldGrant { version, digest, authority });
    }

    pub fn remember_exemptions(&mut self, set: &Verified<Exemptions>) {
        self.time_floor = self.time_floor.max(set.created);
        self.exemptions = Some(HeldExemptions { version: set.version, digest: set.digest() });
    }

    /// SHA-256 of [`Self::to_json`].
    pub fn digest(&self) -> Result<Digest, Error> {
        Ok(Digest::of(&self.to_json()?))
    }

    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        strict::to_json(WHAT, self)
    }

    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        let state: Self = strict::from_json(WHAT, bytes)?;
        if state.version != FORMAT_VERSION {
            let field = format!("version {}", state.version);
            return Err(Error::Unsupported { what: WHAT, field });
        }
        Ok(state)
    }
}

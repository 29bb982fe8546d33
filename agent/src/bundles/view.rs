//! Bundles as others see them: what is in force, what was refused last, what waits.

use provost_bundle::VerifiedBundle;
use provost_model::Digest;
use provost_trust::{PolicyManifest, Verified};

use super::Refused;

/// The bundle in force, for status and Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    pub channel: String,
    pub version: u64,
    pub manifest: Digest,
    pub policies: usize,
    pub bindings: usize,
}

/// The last offer that did not go into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRefusal {
    pub version: u64,
    pub manifest: Digest,
    pub refused: Refused,
}

/// What others see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub active: Option<Active>,
    pub last_refusal: Option<LastRefusal>,
    /// Why the bundle that is assigned is not in force yet, where it is not to blame; it is tried again.
    pub delayed: Option<String>,
}

impl Active {
    pub(super) fn of(verified: Option<&VerifiedBundle>) -> Option<Self> {
        verified.map(|verified| Self::from_manifest(verified.manifest()))
    }

    pub(super) fn from_manifest(manifest: &Verified<PolicyManifest>) -> Self {
        Self {
            channel: manifest.channel.clone(),
            version: manifest.version,
            manifest: manifest.digest(),
            policies: 0,
            bindings: 0,
        }
    }
}

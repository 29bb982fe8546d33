//! Signatures and evidence: DSSE envelopes, key roles, the objects they sign, the report chain.
//!
//! No I/O, no clock, and no randomness but that of [`key::KeyPair::generate`]: time comes in as an
//! argument, bytes come in whole or chunk by chunk. A [`Verified`] value exists only where a
//! function here checked it; every refusal is an [`Error`] with a stable code, and leaves what the
//! caller holds as it was.

pub mod assignment;
pub mod chain;
pub mod dsse;
mod error;
pub mod exemptions;
pub mod files;
pub mod grant;
pub mod key;
pub mod key_file;
pub mod manifest;
pub mod root;
pub mod state;
mod strict;
pub mod text;
pub mod time;
pub mod trusted_root;
mod verified;

pub use assignment::Assignment;
pub use dsse::{Envelope, Signature};
pub use error::Error;
pub use exemptions::Exemptions;
pub use grant::Grant;
pub use key::{KeyId, KeyPair, PublicKey};
pub use manifest::PolicyManifest;
pub use root::{Role, Root};
pub use state::TrustState;
pub use time::{Timestamp, TrustedTime};
pub use trusted_root::TrustedRoot;
pub use verified::Verified;

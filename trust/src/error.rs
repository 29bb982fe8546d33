//! Why something was not trusted. One variant a reason, each with its subject and a stable code.

use provost_model::{Code, Digest};

use crate::key::KeyId;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the {what} has {size} bytes; at most {limit} are taken")]
    TooLarge { what: &'static str, size: u64, limit: u64 },
    #[error("{path} has more than the {limit} bytes that are allowed for it")]
    FileTooLarge { path: String, limit: u64 },
    #[error("the envelope has {count} signatures; at most {limit} are taken")]
    TooManySignatures { count: usize, limit: usize },
    #[error("the {what} carries no signature")]
    Unsigned { what: &'static str },
    #[error(
        "the signature of key {key_id} does not fit the {what}: it was altered after signing, or signed by something else"
    )]
    BadSignature { what: &'static str, key_id: KeyId },
    #[error("the {what} needs signatures of {needed} distinct trusted keys; it has {valid}")]
    ThresholdNotMet { what: &'static str, needed: u32, valid: u32 },
    #[error("expected an envelope of type {expected}, found {found:?}")]
    WrongType { expected: &'static str, found: String },
    #[error("the {what} is malformed: {reason}")]
    Malformed { what: &'static str, reason: String },
    #[error("the {what} sets {field}, which this version does not honour")]
    Unsupported { what: &'static str, field: String },
    #[error("the root chain is broken: {reason}")]
    RootChainBroken { reason: String },
    #[error("no root among those offered has the digest {expected} that was agreed on")]
    WrongRoot { expected: Digest },
    #[error("the {what} expired at {expired}; the time is at least {now}")]
    Expired { what: &'static str, expired: Timestamp, now: Timestamp },
    #[error(
        "the {what} says it was created at {created}, but it is {now}: check the clock of who made it, and this one"
    )]
    Ahead { what: &'static str, created: Timestamp, now: Timestamp },
    #[error("version {version} of the {what} is older than version {held}, which is held already")]
    Older { what: &'static str, version: u64, held: u64 },
    #[error("version {version} of the policy manifest is below the floor {floor}")]
    BelowFloor { version: u64, floor: u64 },
    #[error("version {version} of the policy manifest was revoked")]
    RevokedVersion { version: u64 },
    #[error("the {what} has version {version}, as the one held, but other content")]
    SameVersionDiffers { what: &'static str, version: u64 },
    #[error("the policy manifest is not meant for this cluster: {reason}")]
    OutOfScope { reason: String },
    #[error("ring {ring} may not start before {not_before}; the time is at least {now}")]
    NotYet { ring: String, not_before: Timestamp, now: Timestamp },
    #[error("the assignment is not for this session or manifest: {reason}")]
    WrongAssignment { reason: String },
    #[error("the grant is not for this cluster: {reason}")]
    WrongCluster { reason: String },
    #[error("the bundle needs engine version {needed} or newer; this is {running}")]
    EngineTooOld { needed: String, running: String },
    #[error("{path} has the digest {found}, but the manifest says {expected}")]
    DigestMismatch { path: String, expected: Digest, found: Digest },
    #[error("{path} stands in the manifest but is not there")]
    FileMissing { path: String },
    #[error("{path} is there but does not stand in the manifest")]
    FileUnexpected { path: String },
    #[error("the path {path:?} is not safe: {reason}")]
    UnsafePath { path: String, reason: &'static str },
    #[error("{reason}")]
    Forbidden { reason: String },
}

impl Error {
    /// The stable code of the refusal.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge { .. } | Self::FileTooLarge { .. } | Self::TooManySignatures { .. } => {
                Code::TooLarge
            }
            Self::Unsigned { .. } => Code::Unsigned,
            Self::BadSignature { .. } => Code::BadSignature,
            Self::ThresholdNotMet { .. } => Code::ThresholdNotMet,
            Self::WrongType { .. } => Code::WrongType,
            Self::Malformed { .. } => Code::Malformed,
            Self::Unsupported { .. } => Code::Unsupported,
            Self::RootChainBroken { .. } => Code::RootChainBroken,
            Self::WrongRoot { .. } => Code::WrongRoot,
            Self::Expired { .. } => Code::Expired,
            Self::Older { .. } => Code::Older,
            Self::BelowFloor { .. } => Code::BelowFloor,
            Self::RevokedVersion { .. } => Code::RevokedVersion,
            Self::SameVersionDiffers { .. } => Code::SameVersionDiffers,
            Self::OutOfScope { .. } => Code::OutOfScope,
            Self::NotYet { .. } | Self::Ahead { .. } => Code::NotYet,
            Self::WrongAssignment { .. } => Code::WrongAssignment,
            Self::WrongCluster { .. } => Code::WrongCluster,
            Self::EngineTooOld { .. } => Code::EngineTooOld,
            Self::DigestMismatch { .. } => Code::DigestMismatch,
            Self::FileMissing { .. } => Code::FileMissing,
            Self::FileUnexpected { .. } => Code::FileUnexpected,
            Self::UnsafePath { .. } => Code::UnsafePath,
            Self::Forbidden { .. } => Code::Forbidden,
        }
    }
}

//! The other messages of the session stream, checked.

use bytes::Bytes;
use provost_model::id::SessionId;
use provost_model::record::FileError;
use provost_model::{Code, Digest};
use provost_trust::Envelope;

use crate::fields::{digest, digest_bytes, id, slug, within};
use crate::record::{file_error_to_wire, file_errors_from_wire};
use crate::{Error, envelope, v1};

/// Root envelopes in one assignment, or in one answer to who enrols or re-enters.
pub const MAX_ROOTS: usize = 64;

/// Where the hub wants the chain to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// After what the agent sent last.
    None,
    SendFrom(u64),
    FullResync,
    NewEpoch,
    Reenrol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub session: SessionId,
    pub heartbeat_interval_ms: u32,
    pub clock_offset_ms: i64,
    /// Batches that may be under way without an Ack.
    pub flow_credit: u32,
    pub resume: Resume,
    pub hub_time_ms: i64,
    pub hub_epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub epoch: u64,
    pub acked_seq: u64,
    pub acked_head: Digest,
    pub hub_epoch: u64,
    pub flow_credit: u32,
    pub next_after_ms: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub assignment: Envelope,
    /// Newer than Hello's root version, oldest first.
    pub roots: Vec<Envelope>,
    /// None: the agent holds it already.
    pub manifest: Option<Envelope>,
    pub grant: Option<Envelope>,
}

/// What became of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleAnswer {
    Active { manifest: Digest, version: u64 },
    Refused { manifest: Digest, version: u64, code: Code, errors: Vec<FileError> },
}

impl From<Welcome> for v1::Welcome {
    fn from(welcome: Welcome) -> Self {
        let (resume, from_seq) = match welcome.resume {
            Resume::None => (v1::Resume::None, 0),
            Resume::SendFrom(seq) => (v1::Resume::SendFrom, seq),
            Resume::FullResync => (v1::Resume::FullResync, 0),
            Resume::NewEpoch => (v1::Resume::NewEpoch, 0),
            Resume::Reenrol => (v1::Resume::Reenrol, 0),
        };
        Self {
            session_id: Bytes::copy_from_slice(welcome.session.as_bytes()),
            heartbeat_interval_ms: welcome.heartbeat_interval_ms,
            clock_offset_ms: welcome.clock_offset_ms,
            flow_credit: welcome.flow_credit,
            resume: resume.into(),
            from_seq,
            hub_time_ms: welcome.hub_time_ms,
            hub_epoch: welcome.hub_epoch,
        }
    }
}

impl TryFrom<v1::Welcome> for Welcome {
    type Error = Error;

    fn try_from(wire: v1::Welcome) -> Result<Self, Error> {
        let resume = match v1::Resume::try_from(wire.resume) {
            Ok(v1::Resume::None) => Resume::None,
            Ok(v1::Resume::SendFrom) => Resume::SendFrom(wire.from_seq.max(1)),
            Ok(v1::Resume::FullResync) => Resume::FullResync,
            Ok(v1::Resume::NewEpoch) => Resume::NewEpoch,
            Ok(v1::Resume::Reenrol) => Resume::Reenrol,
            Ok(v1::Resume::Unspecified) => return Err(Error::Missing { field: "welcome.resume" }),
            Err(_) => {
                return Err(Error::Unknown { field: "welcome.resume", value: wire.resume });
            }
        };
        Ok(Self {
            session: id("welcome.session_id", &wire.session_id)?,
            heartbeat_interval_ms: wire.heartbeat_interval_ms,
            clock_offset_ms: wire.clock_offset_ms,
            flow_credit: wire.flow_credit,
            resume,
            hub_time_ms: wire.hub_time_ms,
            hub_epoch: wire.hub_epoch,
        })
    }
}

impl From<Ack> for v1::Ack {
    fn from(ack: Ack) -> Self {
        Self {
            epoch: ack.epoch,
            acked_seq: ack.acked_seq,
            acked_head: digest_bytes(&ack.acked_head),
            hub_epoch: ack.hub_epoch,
            flow_credit: ack.flow_credit,
            next_after_ms: ack.next_after_ms,
        }
    }
}

impl TryFrom<v1::Ack> for Ack {
    type Error = Error;

    fn try_from(wire: v1::Ack) -> Result<Self, Error> {
        Ok(Self {
            epoch: wire.epoch,
            acked_seq: wire.acked_seq,
            acked_head: digest("ack.acked_head", &wire.acked_head)?,
            hub_epoch: wire.hub_epoch,
            flow_credit: wire.flow_credit,
            next_after_ms: wire.next_after_ms,
        })
    }
}

impl From<Assignment> for v1::Assignment {
    fn from(assignment: Assignment) -> Self {
        Self {
            assignment: Some(envelope::to_wire(assignment.assignment)),
            roots: assignment.roots.into_iter().map(envelope::to_wire).collect(),
            manifest: assignment.manifest.map(envelope::to_wire),
            grant: assignment.grant.map(envelope::to_wire),
        }
    }
}

impl TryFrom<v1::Assignment> for Assignment {
    type Error = Error;

    fn try_from(wire: v1::Assignment) -> Result<Self, Error> {
        Ok(Self {
            assignment: envelope::from_wire(wire.assignment)?,
            roots: roots_from_wire(wire.roots)?,
            manifest: envelope::optional_from_wire(wire.manifest)?,
            grant: envelope::optional_from_wire(wire.grant)?,
        })
    }
}

pub(crate) fn roots_from_wire(roots: Vec<v1::Envelope>) -> Result<Vec<Envelope>, Error> {
    within("roots", roots.len(), MAX_ROOTS)?;
    roots.into_iter().map(|root| envelope::from_wire(Some(root))).collect()
}

impl From<BundleAnswer> for v1::agent_message::Message {
    fn from(answer: BundleAnswer) -> Self {
        match answer {
            BundleAnswer::Active { manifest, version } => {
                Self::BundleAck(v1::BundleAck { manifest_digest: digest_bytes(&manifest), version })
            }
            BundleAnswer::Refused { manifest, version, code, errors } => {
                Self::BundleNack(v1::BundleNack {
                    manifest_digest: digest_bytes(&manifest),
                    version,
                    code: code.as_str().to_owned(),
                    errors: errors.iter().map(file_error_to_wire).collect(),
                })
            }
        }
    }
}

impl TryFrom<v1::BundleAck> for BundleAnswer {
    type Error = Error;

    fn try_from(wire: v1::BundleAck) -> Result<Self, Error> {
        let manifest = digest("bundle_ack.manifest_digest", &wire.manifest_digest)?;
        Ok(Self::Active { manifest, version: wire.version })
    }
}

impl TryFrom<v1::BundleNack> for BundleAnswer {
    type Error = Error;

    fn try_from(wire: v1::BundleNack) -> Result<Self, Error> {
        Ok(Self::Refused {
            manifest: digest("bundle_nack.manifest_digest", &wire.manifest_digest)?,
            version: wire.version,
            code: slug("bundle_nack.code", &wire.code)?,
            errors: file_errors_from_wire(wire.errors)?,
        })
    }
}

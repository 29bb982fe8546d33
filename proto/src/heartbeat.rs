//! Heartbeats: the signed sign of life, and health where it changed.

use bytes::Bytes;
use prost::Message as _;
use provost_model::id::{BootId, SessionId};
use provost_model::limits::MAX_MESSAGE_BYTES;
use provost_model::{ClusterId, Digest, InstanceId};

use crate::fields::{
    acked_seq, decode as decode_message, digest, digest_bytes, id, non_empty, optional_digest,
    optional_digest_bytes, text_up_to, within,
};
use crate::{Error, v1};

const MAX_CAPABILITIES: usize = 32;
const MAX_BYTES: usize = 64 * 1024;

/// The payload of a Heartbeat envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub session: SessionId,
    pub epoch: u64,
    pub last_seq: u64,
    pub head: Digest,
    /// What the hub acknowledged of this epoch; 0 before the first.
    pub acked_seq: u64,
    pub spool_records: u64,
    pub spool_bytes: u64,
    pub spool_oldest_age_ms: u64,
    pub trust_state: Option<Digest>,
    pub wall_ms: i64,
    pub monotonic_ms: u64,
    pub boot: BootId,
    pub health_digest: Option<Digest>,
    /// Present only when its digest changed within the session.
    pub health: Option<Health>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    pub capabilities: Vec<CapabilityHealth>,
    /// Of the webhook configuration.
    pub webhook: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapabilityHealth {
    pub capability: String,
    pub healthy: bool,
    pub detail: String,
}

impl Health {
    /// SHA-256 of its encoding.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&health_to_wire(self).encode_to_vec())
    }
}

/// The payload to sign.
#[must_use]
pub fn encode(heartbeat: &Heartbeat) -> Vec<u8> {
    v1::HeartbeatPayload {
        cluster_id: Bytes::copy_from_slice(heartbeat.cluster.as_bytes()),
        instance_id: Bytes::copy_from_slice(heartbeat.instance.as_bytes()),
        session_id: Bytes::copy_from_slice(heartbeat.session.as_bytes()),
        epoch: heartbeat.epoch,
        last_seq: heartbeat.last_seq,
        head: digest_bytes(&heartbeat.head),
        spool_records: heartbeat.spool_records,
        spool_bytes: heartbeat.spool_bytes,
        spool_oldest_age_ms: heartbeat.spool_oldest_age_ms,
        trust_state_digest: optional_digest_bytes(heartbeat.trust_state.as_ref()),
        wall_ms: heartbeat.wall_ms,
        monotonic_ms: heartbeat.monotonic_ms,
        boot_id: Bytes::copy_from_slice(heartbeat.boot.as_bytes()),
        health_digest: optional_digest_bytes(heartbeat.health_digest.as_ref()),
        health: heartbeat.health.as_ref().map(health_to_wire),
        acked_seq: heartbeat.acked_seq,
    }
    .encode_to_vec()
}

pub fn decode(bytes: &[u8]) -> Result<Heartbeat, Error> {
    within("heartbeat", bytes.len(), MAX_BYTES)?;
    let wire: v1::HeartbeatPayload = decode_message("heartbeat payload", bytes)?;
    Ok(Heartbeat {
        cluster: id("heartbeat.cluster_id", &wire.cluster_id)?,
        instance: id("heartbeat.instance_id", &wire.instance_id)?,
        session: id("heartbeat.session_id", &wire.session_id)?,
        epoch: wire.epoch,
        last_seq: wire.last_seq,
        head: digest("heartbeat.head", &wire.head)?,
        acked_seq: acked_seq("heartbeat.acked_seq", wire.acked_seq, wire.last_seq)?,
        spool_records: wire.spool_records,
        spool_bytes: wire.spool_bytes,
        spool_oldest_age_ms: wire.spool_oldest_age_ms,
        trust_state: optional_digest("heartbeat.trust_state_digest", &wire.trust_state_digest)?,
        wall_ms: wire.wall_ms,
        monotonic_ms: wire.monotonic_ms,
        boot: id("heartbeat.boot_id", &wire.boot_id)?,
        health_digest: optional_digest("heartbeat.health_digest", &wire.health_digest)?,
        health: wire.health.map(health_from_wire).transpose()?,
    })
}

fn health_to_wire(health: &Health) -> v1::Health {
    let capability = |part: &CapabilityHealth| v1::CapabilityHealth {
        capability: part.capability.clone(),
        healthy: part.healthy,
        detail: part.detail.clone(),
    };
    v1::Health {
        capabilities: health.capabilities.iter().map(capability).collect(),
        webhook_digest: optional_digest_bytes(health.webhook.as_ref()),
    }
}

fn health_from_wire(wire: v1::Health) -> Result<Health, Error> {
    within("health.capabilities", wire.capabilities.len(), MAX_CAPABILITIES)?;
    let capability = |wire: v1::CapabilityHealth| {
        Ok(CapabilityHealth {
            capability: non_empty("health.capability", wire.capability)?,
            healthy: wire.healthy,
            detail: text_up_to("health.detail", wire.detail, MAX_MESSAGE_BYTES)?,
        })
    };
    Ok(Health {
        capabilities: wire
            .capabilities
            .into_iter()
            .map(capability)
            .collect::<Result<_, Error>>()?,
        webhook: optional_digest("health.webhook_digest", &wire.webhook_digest)?,
    })
}

//! Batches and heartbeats on their way in: whose they are, then into the store, and only then an answer.
//!
//! Nothing of a message counts before its signature by the instance's report key was checked, and before it named the
//! cluster and instance that the connection's certificate was issued to. The bytes of its envelope are kept as they came.

mod traced;

use std::sync::Arc;

use provost_model::id::SessionId;
use provost_model::{ClusterId, Code, InstanceId};
use provost_proto::{envelope, heartbeat, v1};
use provost_runtime::telemetry::trace::{self, Kind, Moment};
use provost_trust::PublicKey;
use provost_trust::dsse::payload_type;

use crate::hub::Hub;
use crate::refusal::{Refusal, Result};
use crate::store::batch::Batch;
use crate::store::reports::{CapabilityHealth, HeartbeatRow, Ingested};

/// Who is at the other end of a session, as its certificate was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaker {
    pub cluster: ClusterId,
    pub instance: InstanceId,
}

/// Verifies a batch and applies it; durable when this returns.
pub async fn batch(
    hub: &Arc<Hub>,
    speaker: Speaker,
    epoch: u64,
    wire: v1::Batch,
    trace_parent: &str,
) -> Result<Ingested> {
    let (begun, received) = (hub.clock.monotonic(), Moment::now());
    let span = trace::span("ingest").kind(Kind::Consumer).follow(trace_parent);
    let verify = trace::span("verify").child_of(&span);
    let key = report_key(hub, speaker).await?;
    // Signature, decompression and hashes of up to a megabyte: not on the threads that serve sessions.
    let checked = tokio::task::spawn_blocking(move || check_batch(speaker, epoch, key, wire)).await;
    let batch = checked.map_err(Refusal::internal)??;
    drop(verify);
    hub.liveness.heard(speaker.cluster);
    let (verified, commit) = (hub.clock.monotonic(), trace::span("transaction").child_of(&span));
    let commits = traced::commits(&batch, speaker, received, &span);
    let answer = hub.store.ingest(&batch, hub.clock.wall_ms()).await?;
    drop((commit, commits));
    let now = hub.clock.monotonic();
    hub.metrics.commit_seconds.observe_duration(now.saturating_sub(verified));
    hub.metrics.ingest_seconds.observe_duration(now.saturating_sub(begun));
    match &answer {
        Ingested::Accepted { records, .. } => {
            hub.metrics.batches.increment();
            hub.metrics.records.add(*records);
        }
        Ingested::UndeclaredGap { send_from } => {
            tracing::warn!(cluster = %speaker.cluster, send_from, "records are missing and no elision says so");
        }
        Ingested::Fork { at_seq } => {
            tracing::error!(cluster = %speaker.cluster, instance = %speaker.instance, at_seq,
                "the chain forked; the instance is quarantined");
        }
        Ingested::Quarantined | Ingested::OldEpoch { .. } => {}
    }
    Ok(answer)
}

/// Verifies a heartbeat and keeps it.
pub async fn heartbeat(
    hub: &Arc<Hub>,
    speaker: Speaker,
    session: SessionId,
    wire: v1::Heartbeat,
) -> Result<()> {
    let key = report_key(hub, speaker).await?;
    let envelope = envelope::decode(&wire.envelope)?;
    let payload = envelope.verify(payload_type::HEARTBEAT, &[key], 1)?;
    let heartbeat = heartbeat::decode(&payload)?;
    same_speaker(speaker, heartbeat.cluster, heartbeat.instance)?;
    if heartbeat.session != session {
        return Err(Refusal::new(Code::Invalid, "the heartbeat is of another session"));
    }
    hub.liveness.heard(speaker.cluster);
    let capability = |part: heartbeat::CapabilityHealth| CapabilityHealth {
        capability: part.capability,
        healthy: part.healthy,
        detail: part.detail,
    };
    let row = HeartbeatRow {
        cluster: speaker.cluster,
        instance: speaker.instance,
        received_at_ms: hub.clock.wall_ms(),
        epoch: heartbeat.epoch,
        last_seq: heartbeat.last_seq,
        head: heartbeat.head,
        spool_records: heartbeat.spool_records,
        spool_bytes: heartbeat.spool_bytes,
        spool_oldest_age_ms: heartbeat.spool_oldest_age_ms,
        trust_state_digest: heartbeat
            .trust_state
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
        health: heartbeat
            .health
            .map(|health| health.capabilities.into_iter().map(capability).collect()),
        envelope: wire.envelope,
    };
    hub.store.heartbeat(&row).await?;
    hub.metrics.heartbeats.increment();
    Ok(())
}

fn check_batch(speaker: Speaker, epoch: u64, key: PublicKey, wire: v1::Batch) -> Result<Batch> {
    let envelope = envelope::decode(&wire.envelope)?;
    let payload = envelope.verify(payload_type::BATCH, &[key], 1)?;
    let batch = Batch::of_payload(&payload, wire.envelope)
        .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
    same_speaker(speaker, batch.cluster, batch.instance)?;
    if batch.epoch != epoch {
        let detail = format!("the batch is of epoch {}, the session of {epoch}", batch.epoch);
        return Err(Refusal::new(Code::Invalid, detail));
    }
    Ok(batch)
}

fn same_speaker(speaker: Speaker, cluster: ClusterId, instance: InstanceId) -> Result<()> {
    if speaker.cluster != cluster || speaker.instance != instance {
        let detail =
            "the message names another cluster or instance than the certificate was issued to";
        return Err(Refusal::new(Code::WrongCluster, detail));
    }
    Ok(())
}

async fn report_key(hub: &Hub, speaker: Speaker) -> Result<PublicKey> {
    let instance = hub.store.instance(speaker.cluster, speaker.instance).await?;
    let instance = instance
        .ok_or_else(|| Refusal::new(Code::Unauthenticated, "the instance is not enrolled"))?;
    PublicKey::from_bytes(instance.report_key).map_err(Refusal::internal)
}

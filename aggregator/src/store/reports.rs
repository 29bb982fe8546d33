//! What agents say: batches, heartbeats, and what is missing.

use async_trait::async_trait;
use bytes::Bytes;
use provost_model::{ClusterId, Digest, InstanceId};
use serde::Serialize;

use super::Result;
use super::batch::Batch;

#[async_trait]
pub trait Reports: Send + Sync {
    /// Applies a verified batch in one transaction; durable when it returns.
    async fn ingest(&self, batch: &Batch, now_ms: i64) -> Result<Ingested>;
    /// Newest chain of an instance; none before its first batch.
    async fn position(&self, cluster: ClusterId, instance: InstanceId) -> Result<Option<Position>>;
    /// The newest chain, and whether it is closed: the instance must begin another epoch.
    async fn chain(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
    ) -> Result<Option<(Position, bool)>>;
    async fn heartbeat(&self, heartbeat: &HeartbeatRow) -> Result<()>;
    async fn heartbeat_of(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
    ) -> Result<Option<HeartbeatRow>>;
    /// Parts that the auditing instances of clusters said to be unwell in their newest heartbeats,
    /// and without which not everything is evaluated.
    async fn impaired(&self) -> Result<Vec<Impaired>>;

    /// Whether a batch could be stored now: what fails here fails there.
    async fn check_write(&self) -> Result<()>;
    /// Something of this instance was authenticated.
    async fn heard(&self, cluster: ClusterId, instance: InstanceId, now_ms: i64) -> Result<()>;
    /// Opens the alarm, or counts it once more.
    async fn raise(&self, alarm: &Alarm<'_>, now_ms: i64) -> Result<()>;
    /// As [`Self::raise`]; one that was not open before leaves an audit row, in the same transaction.
    async fn raise_audited(&self, alarm: &Alarm<'_>, action: &str, now_ms: i64) -> Result<()>;
    async fn resolve(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
        code: &str,
        now_ms: i64,
    ) -> Result<()>;
    async fn alarms(&self, cluster: Option<ClusterId>) -> Result<Vec<AlarmRow>>;
    async fn gaps(&self, cluster: ClusterId) -> Result<Vec<GapRow>>;
    /// Accepted batches in chain order, from after `(instance, epoch, last_seq)`; for export.
    async fn batches(
        &self,
        cluster: ClusterId,
        after: Option<(InstanceId, u64, u64)>,
        limit: u32,
    ) -> Result<Vec<BatchRow>>;
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ingested {
    /// Durable up to here: acknowledge it.
    Accepted {
        position: Position,
        /// How many records were new.
        records: u64,
        /// A snapshot did not add up, or records named a policy set nobody sent: ask for FULL_RESYNC.
        resync: bool,
    },
    /// Records between are missing and no Elision says so. The alarm is stored.
    UndeclaredGap { send_from: u64 },
    /// The same seq with another hash. The instance is quarantined now.
    Fork { at_seq: u64 },
    /// It was quarantined before.
    Quarantined,
    /// A batch of an epoch that a newer one replaced.
    OldEpoch { newest: u64 },
}

/// Acknowledged end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    pub epoch: u64,
    pub seq: u64,
    pub head: Digest,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatRow {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub received_at_ms: i64,
    pub epoch: u64,
    pub last_seq: u64,
    pub head: Digest,
    pub spool_records: u64,
    pub spool_bytes: u64,
    pub spool_oldest_age_ms: u64,
    pub trust_state_digest: String,
    /// None: the same as in the last one.
    pub health: Option<Vec<CapabilityHealth>>,
    #[serde(skip)]
    pub envelope: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct CapabilityHealth {
    pub capability: String,
    pub healthy: bool,
    pub detail: String,
}

/// One part of an auditing instance that is unwell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impaired {
    pub cluster: ClusterId,
    pub part: CapabilityHealth,
}

impl CapabilityHealth {
    /// Unwell, so that objects may exist of which nothing is told: they are not read, not evaluated, or
    /// what was found cannot be recorded. A snapshot that waits or a certificate that ends hides none.
    #[must_use]
    pub fn hides_objects(&self) -> bool {
        !self.healthy && matches!(self.capability.as_str(), "watch" | "evaluate" | "spool")
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Alarm<'a> {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    /// Stable code.
    pub code: &'a str,
    pub detail: &'a str,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlarmRow {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub code: String,
    pub detail: String,
    pub times: u64,
    pub raised_at_ms: i64,
    pub last_at_ms: i64,
    pub resolved_at_ms: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GapRow {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub epoch: u64,
    pub from_seq: u64,
    pub to_seq: u64,
    pub declared: bool,
    pub reason: String,
    /// JSON list of {class, outcome, severity, count}.
    pub counts: String,
    pub detected_at_ms: i64,
    pub resolved_at_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct BatchRow {
    pub cluster: ClusterId,
    pub instance: InstanceId,
    pub epoch: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    pub prev_head: Digest,
    pub head: Digest,
    pub received_at_ms: i64,
    /// Encoded provost.v1.Envelope, byte for byte as it came.
    pub envelope: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_evaluated_or_recorded_is_hidden() {
        let part = |capability: &str, healthy| CapabilityHealth {
            capability: capability.to_owned(),
            healthy,
            detail: String::new(),
        };
        for capability in ["watch", "evaluate", "spool"] {
            assert!(part(capability, false).hides_objects(), "{capability}");
            assert!(!part(capability, true).hides_objects(), "{capability}");
        }
        for capability in ["snapshot", "spool.newer", "certificate", "trust", "admission"] {
            assert!(!part(capability, false).hides_objects(), "{capability}");
        }
    }
}

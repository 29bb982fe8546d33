//! [`Reports`] on SQLite: where a batch stands in its chain, and the rows beside current state.

use async_trait::async_trait;
use provost_model::{ClusterId, Digest, InstanceId};
use sqlx::SqliteConnection;

use super::row::{Fields, int};
use super::{SqliteStore, apply, identity, rows};
use crate::store::batch::{Batch, ItemBody};
use crate::store::reports::{
    Alarm, AlarmRow, BatchRow, CapabilityHealth, GapRow, HeartbeatRow, Impaired, Ingested,
    Position, Reports,
};
use crate::store::{Actor, Error, Result};

const NEWEST_CHAIN: &str =
    "SELECT * FROM chains WHERE cluster_id = $1 AND instance_id = $2 ORDER BY epoch DESC LIMIT 1";

#[async_trait]
impl Reports for SqliteStore {
    async fn ingest(&self, batch: &Batch, now_ms: i64) -> Result<Ingested> {
        let mut tx = self.begin().await?;
        let answer = ingest(&mut tx, batch, now_ms).await?;
        heard(&mut tx, batch.cluster, batch.instance, now_ms).await?;
        tx.commit().await?;
        Ok(answer)
    }

    async fn position(&self, cluster: ClusterId, instance: InstanceId) -> Result<Option<Position>> {
        Ok(self.chain(cluster, instance).await?.map(|(position, _)| position))
    }

    async fn chain(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
    ) -> Result<Option<(Position, bool)>> {
        let row = sqlx::query(NEWEST_CHAIN)
            .bind(cluster.to_string())
            .bind(instance.to_string())
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| Ok((rows::position(&row)?, row.flag("closed")?))).transpose()
    }

    async fn heartbeat(&self, heartbeat: &HeartbeatRow) -> Result<()> {
        let health = heartbeat.health.as_ref().map(serde_json::to_string).transpose();
        let health = health.map_err(|e| Error::corrupt("heartbeats", e))?;
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO heartbeats (cluster_id, instance_id, received_at_ms, epoch, last_seq, head, spool_records, \
             spool_bytes, spool_oldest_age_ms, trust_state_digest, health, envelope) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, COALESCE($11, '[]'), $12) \
             ON CONFLICT (cluster_id, instance_id) DO UPDATE SET received_at_ms = excluded.received_at_ms, \
             epoch = excluded.epoch, last_seq = excluded.last_seq, head = excluded.head, \
             spool_records = excluded.spool_records, spool_bytes = excluded.spool_bytes, \
             spool_oldest_age_ms = excluded.spool_oldest_age_ms, trust_state_digest = excluded.trust_state_digest, \
             health = COALESCE($11, heartbeats.health), envelope = excluded.envelope",
        )
        .bind(heartbeat.cluster.to_string())
        .bind(heartbeat.instance.to_string())
        .bind(heartbeat.received_at_ms)
        .bind(int(heartbeat.epoch))
        .bind(int(heartbeat.last_seq))
        .bind(heartbeat.head.to_string())
        .bind(int(heartbeat.spool_records))
        .bind(int(heartbeat.spool_bytes))
        .bind(int(heartbeat.spool_oldest_age_ms))
        .bind(&heartbeat.trust_state_digest)
        .bind(health)
        .bind(heartbeat.envelope.as_ref())
        .execute(&mut *tx)
        .await?;
        heard(&mut tx, heartbeat.cluster, heartbeat.instance, heartbeat.received_at_ms).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn heartbeat_of(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
    ) -> Result<Option<HeartbeatRow>> {
        let row =
            sqlx::query("SELECT * FROM heartbeats WHERE cluster_id = $1 AND instance_id = $2")
                .bind(cluster.to_string())
                .bind(instance.to_string())
                .fetch_optional(self.reader())
                .await?;
        row.as_ref().map(rows::heartbeat).transpose()
    }

    async fn impaired(&self) -> Result<Vec<Impaired>> {
        // The pattern only spares reading the many that are well.
        let rows = sqlx::query(
            "SELECT h.* FROM heartbeats h JOIN clusters c ON c.cluster_id = h.cluster_id \
             AND c.auditing_instance = h.instance_id WHERE h.health LIKE '%\"healthy\":false%' ORDER BY h.cluster_id",
        )
        .fetch_all(self.reader())
        .await?;
        let mut impaired = Vec::new();
        for row in &rows {
            let HeartbeatRow { cluster, health, .. } = rows::heartbeat(row)?;
            let parts = health.into_iter().flatten().filter(CapabilityHealth::hides_objects);
            impaired.extend(parts.map(|part| Impaired { cluster, part }));
        }
        Ok(impaired)
    }

    async fn check_write(&self) -> Result<()> {
        self.check_write().await
    }

    async fn heard(&self, cluster: ClusterId, instance: InstanceId, now_ms: i64) -> Result<()> {
        let mut tx = self.begin().await?;
        heard(&mut tx, cluster, instance, now_ms).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn raise(&self, alarm: &Alarm<'_>, now_ms: i64) -> Result<()> {
        let mut tx = self.begin().await?;
        raise(&mut tx, alarm, now_ms).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn raise_audited(&self, alarm: &Alarm<'_>, action: &str, now_ms: i64) -> Result<()> {
        let Alarm { cluster, instance, code, detail } = *alarm;
        let mut tx = self.begin().await?;
        if raise(&mut tx, alarm, now_ms).await? == 1 {
            let (actor, target) = (Actor::hub(), format!("{cluster}/{instance}"));
            let detail = detail.to_owned();
            identity::audit(&mut tx, &actor, action, &target, code, detail, now_ms).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn resolve(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
        code: &str,
        now_ms: i64,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE alarms SET resolved_at_ms = $4 WHERE cluster_id = $1 AND instance_id = $2 AND code = $3 \
             AND resolved_at_ms IS NULL",
        )
        .bind(cluster.to_string())
        .bind(instance.to_string())
        .bind(code)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn alarms(&self, cluster: Option<ClusterId>) -> Result<Vec<AlarmRow>> {
        let query = match cluster {
            Some(cluster) => {
                sqlx::query("SELECT * FROM alarms WHERE cluster_id = $1 ORDER BY id DESC")
                    .bind(cluster.to_string())
            }
            None => sqlx::query("SELECT * FROM alarms ORDER BY id DESC"),
        };
        query.fetch_all(self.reader()).await?.iter().map(rows::alarm).collect()
    }

    async fn gaps(&self, cluster: ClusterId) -> Result<Vec<GapRow>> {
        let rows = sqlx::query("SELECT * FROM gaps WHERE cluster_id = $1 ORDER BY id")
            .bind(cluster.to_string())
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(rows::gap).collect()
    }

    async fn batches(
        &self,
        cluster: ClusterId,
        after: Option<(InstanceId, u64, u64)>,
        limit: u32,
    ) -> Result<Vec<BatchRow>> {
        let (instance, epoch, last_seq) = after.map_or_else(
            || (String::new(), 0, 0),
            |(instance, epoch, last_seq)| (instance.to_string(), int(epoch), int(last_seq)),
        );
        let rows = sqlx::query(
            "SELECT * FROM batches WHERE cluster_id = $1 AND (instance_id > $2 OR (instance_id = $2 AND \
             (epoch > $3 OR (epoch = $3 AND last_seq > $4)))) ORDER BY instance_id, epoch, last_seq LIMIT $5",
        )
        .bind(cluster.to_string())
        .bind(instance)
        .bind(epoch)
        .bind(last_seq)
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(rows::batch).collect()
    }
}

/// Inside the caller's transaction: opens the alarm, or counts it once more. How often it was raised since it opened.
pub async fn raise(tx: &mut SqliteConnection, alarm: &Alarm<'_>, now_ms: i64) -> Result<u64> {
    let row = sqlx::query(
        "INSERT INTO alarms (cluster_id, instance_id, code, detail, times, raised_at_ms, last_at_ms) \
         VALUES ($1, $2, $3, $4, 1, $5, $5) \
         ON CONFLICT (cluster_id, instance_id, code) WHERE resolved_at_ms IS NULL \
         DO UPDATE SET times = alarms.times + 1, detail = excluded.detail, last_at_ms = excluded.last_at_ms RETURNING times",
    )
    .bind(alarm.cluster.to_string())
    .bind(alarm.instance.to_string())
    .bind(alarm.code)
    .bind(alarm.detail)
    .bind(now_ms)
    .fetch_one(tx)
    .await?;
    row.count("times")
}

async fn heard(
    tx: &mut SqliteConnection,
    cluster: ClusterId,
    instance: InstanceId,
    now_ms: i64,
) -> Result<()> {
    sqlx::query("UPDATE clusters SET last_heard_at_ms = $2 WHERE cluster_id = $1")
        .bind(cluster.to_string())
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "UPDATE instances SET last_heard_at_ms = $3 WHERE cluster_id = $1 AND instance_id = $2",
    )
    .bind(cluster.to_string())
    .bind(instance.to_string())
    .bind(now_ms)
    .execute(&mut *tx)
    .await?;
    Ok(())
}

async fn ingest(tx: &mut SqliteConnection, batch: &Batch, now_ms: i64) -> Result<Ingested> {
    let instance = identity::instance_in(tx, batch.cluster, batch.instance).await?;
    let instance =
        instance.ok_or_else(|| Error::NotFound { what: format!("instance {}", batch.instance) })?;
    if instance.quarantine.is_some() {
        return Ok(Ingested::Quarantined);
    }
    let (acked, head) = match newest_chain(tx, batch).await? {
        Some((newest, closed))
            if newest.epoch > batch.epoch || (closed && newest.epoch == batch.epoch) =>
        {
            return Ok(Ingested::OldEpoch { newest: newest.epoch });
        }
        Some((newest, _)) if newest.epoch == batch.epoch => (newest.seq, newest.head),
        _ => (0, provost_trust::chain::GENESIS),
    };
    if batch.first_seq > acked + 1 {
        undeclared_gap(tx, batch, acked + 1, now_ms).await?;
        return Ok(Ingested::UndeclaredGap { send_from: acked + 1 });
    }
    if let Some(at_seq) = fork(tx, batch, acked, head).await? {
        let detail = format!("seq {at_seq} of epoch {} came with another hash", batch.epoch);
        identity::quarantine(tx, batch.cluster, batch.instance, "FORK", &detail, now_ms).await?;
        return Ok(Ingested::Fork { at_seq });
    }
    if batch.last_seq <= acked {
        let position = Position { epoch: batch.epoch, seq: acked, head };
        return Ok(Ingested::Accepted { position, records: 0, resync: false });
    }
    let (records, resync) = apply::apply(tx, batch, acked, now_ms).await?;
    let position = Position { epoch: batch.epoch, seq: batch.last_seq, head: batch.head };
    append(tx, batch, now_ms).await?;
    Ok(Ingested::Accepted { position, records, resync })
}

/// The seq at which the batch contradicts what is acknowledged. Equal chain values mean equal records before them, so
/// one comparison is enough.
async fn fork(
    tx: &mut SqliteConnection,
    batch: &Batch,
    acked: u64,
    head: Digest,
) -> Result<Option<u64>> {
    let meeting = acked.min(batch.last_seq);
    let ours = if meeting == acked { Some(head) } else { stored_head(tx, batch, meeting).await? };
    match (batch.head_at(meeting), ours) {
        (Some(theirs), Some(ours)) => return Ok((theirs != ours).then_some(meeting)),
        (Some(_), None) => return Ok(Some(meeting)),
        (None, _) => {}
    }
    // The meeting point lies in one of the batch's Elisions: what was acknowledged was shed afterwards. The chain
    // before the Elision must still be ours.
    let elision = batch.items.iter().find_map(|item| match &item.body {
        ItemBody::Elision(elision) if elision.from_seq <= meeting && meeting < elision.to_seq => {
            Some(elision)
        }
        _ => None,
    });
    let Some(elision) = elision else { return Ok(Some(meeting)) };
    let before = elision.from_seq - 1;
    let ours = stored_head(tx, batch, before).await?;
    // Inside an Elision of our own there is nothing to compare with.
    Ok(ours.is_some_and(|ours| ours != elision.chain_before).then_some(before))
}

/// Chain value that we acknowledged for `seq`; none inside a stored Elision.
async fn stored_head(tx: &mut SqliteConnection, batch: &Batch, seq: u64) -> Result<Option<Digest>> {
    if seq == 0 {
        return Ok(Some(provost_trust::chain::GENESIS));
    }
    let row = sqlx::query(
        "SELECT * FROM batches WHERE cluster_id = $1 AND instance_id = $2 AND epoch = $3 AND last_seq >= $4 \
         ORDER BY last_seq LIMIT 1",
    )
    .bind(batch.cluster.to_string())
    .bind(batch.instance.to_string())
    .bind(int(batch.epoch))
    .bind(int(seq))
    .fetch_optional(tx)
    .await?;
    let Some(row) = row.as_ref().map(rows::batch).transpose()? else { return Ok(None) };
    if row.last_seq == seq {
        return Ok(Some(row.head));
    }
    let stored = Batch::decode(row.envelope).map_err(|e| Error::corrupt("batches", e))?;
    Ok(stored.head_at(seq))
}

async fn newest_chain(
    tx: &mut SqliteConnection,
    batch: &Batch,
) -> Result<Option<(Position, bool)>> {
    let row = sqlx::query(NEWEST_CHAIN)
        .bind(batch.cluster.to_string())
        .bind(batch.instance.to_string())
        .fetch_optional(tx)
        .await?;
    row.map(|row| Ok((rows::position(&row)?, row.flag("closed")?))).transpose()
}

async fn undeclared_gap(
    tx: &mut SqliteConnection,
    batch: &Batch,
    from_seq: u64,
    now_ms: i64,
) -> Result<()> {
    let to_seq = batch.first_seq - 1;
    sqlx::query(
        "INSERT INTO gaps (cluster_id, instance_id, epoch, from_seq, to_seq, declared, reason, counts, detected_at_ms) \
         VALUES ($1, $2, $3, $4, $5, 0, 'undeclared', '[]', $6) \
         ON CONFLICT (cluster_id, instance_id, epoch, from_seq) WHERE declared = 0 AND resolved_at_ms IS NULL \
         DO UPDATE SET to_seq = excluded.to_seq",
    )
    .bind(batch.cluster.to_string())
    .bind(batch.instance.to_string())
    .bind(int(batch.epoch))
    .bind(int(from_seq))
    .bind(int(to_seq))
    .bind(now_ms)
    .execute(&mut *tx)
    .await?;
    let detail = format!("records {from_seq} to {to_seq} of epoch {} are missing", batch.epoch);
    let alarm = Alarm {
        cluster: batch.cluster,
        instance: batch.instance,
        code: "UNDECLARED_GAP",
        detail: &detail,
    };
    raise(tx, &alarm, now_ms).await?;
    Ok(())
}

/// Keeps the envelope, moves the chain on, and resolves the undeclared gaps that it filled.
async fn append(tx: &mut SqliteConnection, batch: &Batch, now_ms: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO batches (cluster_id, instance_id, epoch, first_seq, last_seq, prev_head, head, received_at_ms, \
         envelope) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(batch.cluster.to_string())
    .bind(batch.instance.to_string())
    .bind(int(batch.epoch))
    .bind(int(batch.first_seq))
    .bind(int(batch.last_seq))
    .bind(batch.prev_head.to_string())
    .bind(batch.head.to_string())
    .bind(now_ms)
    .bind(batch.envelope.as_ref())
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO chains (cluster_id, instance_id, epoch, acked_seq, head, updated_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (cluster_id, instance_id, epoch) DO UPDATE SET \
         acked_seq = excluded.acked_seq, head = excluded.head, updated_at_ms = excluded.updated_at_ms",
    )
    .bind(batch.cluster.to_string())
    .bind(batch.instance.to_string())
    .bind(int(batch.epoch))
    .bind(int(batch.last_seq))
    .bind(batch.head.to_string())
    .bind(now_ms)
    .execute(&mut *tx)
    .await?;
    let resolved = sqlx::query(
        "UPDATE gaps SET resolved_at_ms = $5 WHERE cluster_id = $1 AND instance_id = $2 AND epoch = $3 \
         AND declared = 0 AND resolved_at_ms IS NULL AND to_seq <= $4",
    )
    .bind(batch.cluster.to_string())
    .bind(batch.instance.to_string())
    .bind(int(batch.epoch))
    .bind(int(batch.last_seq))
    .bind(now_ms)
    .execute(&mut *tx)
    .await?;
    if resolved.rows_affected() > 0 {
        sqlx::query(
            "UPDATE alarms SET resolved_at_ms = $3 WHERE cluster_id = $1 AND instance_id = $2 \
             AND code = 'UNDECLARED_GAP' AND resolved_at_ms IS NULL",
        )
        .bind(batch.cluster.to_string())
        .bind(batch.instance.to_string())
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

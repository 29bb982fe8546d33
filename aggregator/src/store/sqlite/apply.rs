//! Brings current state up to a batch: loads what it names, folds it, writes what changed. Everything happens in the
//! caller's transaction.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use provost_model::{Digest, NotEvaluated, Outcome, PolicySet, PolicySetEntry};
use sqlx::{QueryBuilder, SqliteConnection};

use super::row::{Fields, int};
use super::{Db, load, reports, write};
use crate::store::batch::Batch;
use crate::store::current::{ClusterChange, OpenSnapshot, SnapshotEnding, SubjectKey};
use crate::store::fold::{self, Entry, Fold, Step};
use crate::store::reports::Alarm;
use crate::store::{Error, Result};

/// Applies the items after `acked`. Returns how many records were new, and whether a resync is needed.
pub async fn apply(
    tx: &mut SqliteConnection,
    batch: &Batch,
    acked: u64,
    now_ms: i64,
) -> Result<(u64, bool)> {
    let sets = policy_sets(tx, &fold::policy_sets_of(batch)).await?;
    let subjects = load::named(tx, batch.cluster, fold::named(batch, &sets)).await?;
    apply_to(tx, batch, subjects, sets, acked, now_ms).await
}

/// Of `subjects` there may be less than the batch takes, and not more than is stored.
async fn apply_to(
    tx: &mut SqliteConnection,
    batch: &Batch,
    subjects: BTreeMap<SubjectKey, Entry>,
    sets: HashMap<Digest, Arc<PolicySet>>,
    acked: u64,
    now_ms: i64,
) -> Result<(u64, bool)> {
    let snapshot = open_snapshot(tx, batch).await?;
    let auditing = is_auditing(tx, batch).await?;
    let mut fold = Fold::new(subjects, snapshot, sets, auditing, acked, now_ms);
    let mut records = 0;
    for item in batch.items.iter().filter(|item| item.last_seq > acked) {
        records += item.last_seq - item.first_seq.max(acked + 1) + 1;
        let mut step = fold.push(item);
        while let Step::Load(subject) = step {
            write::flush(tx, batch, &mut fold, now_ms).await?;
            fold.subjects.extend(load::whole(tx, batch.cluster, [subject]).await?);
            step = fold.push(item);
        }
        if let Step::CloseUnseen { snapshot, seq, valid_at_ms } = step {
            // What follows in the batch may name subjects again: they stay loaded as they are now.
            write::flush(tx, batch, &mut fold, now_ms).await?;
            let unseen = load::unseen(tx, batch.cluster, &snapshot).await?;
            fold.close_unseen(unseen, &snapshot, seq, valid_at_ms);
        }
    }
    write::flush(tx, batch, &mut fold, now_ms).await?;
    finish(tx, batch, &mut fold, now_ms).await?;
    Ok((records, fold.resync))
}

async fn finish(
    tx: &mut SqliteConnection,
    batch: &Batch,
    fold: &mut Fold,
    now_ms: i64,
) -> Result<()> {
    for (snapshot, ending) in std::mem::take(&mut fold.changes.ended_snapshots) {
        save_snapshot(tx, batch, &snapshot, Some(&ending), now_ms).await?;
    }
    if let Some(open) = &fold.snapshot {
        save_snapshot(tx, batch, open, None, now_ms).await?;
    }
    for encoded in std::mem::take(&mut fold.changes.policy_sets) {
        save_policy_set(tx, encoded.digest, &encoded.encoded, &encoded.set, now_ms).await?;
    }
    let change = std::mem::take(&mut fold.changes.cluster);
    save_cluster(tx, batch, change, now_ms).await?;
    for (code, detail) in std::mem::take(&mut fold.changes.alarms) {
        let alarm =
            Alarm { cluster: batch.cluster, instance: batch.instance, code, detail: &detail };
        reports::raise(tx, &alarm, now_ms).await?;
    }
    Ok(())
}

async fn policy_sets(
    tx: &mut SqliteConnection,
    digests: &[Digest],
) -> Result<HashMap<Digest, Arc<PolicySet>>> {
    let mut sets = HashMap::new();
    for digest in digests {
        let row = sqlx::query("SELECT entries FROM policy_sets WHERE digest = $1")
            .bind(digest.to_string())
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(row) = row {
            let entries: Vec<PolicySetEntry> = row.json("entries")?;
            sets.insert(*digest, Arc::new(PolicySet { entries }));
        }
    }
    Ok(sets)
}

/// The instance that began a snapshot last audits; before any did, the first that speaks.
async fn is_auditing(tx: &mut SqliteConnection, batch: &Batch) -> Result<bool> {
    sqlx::query("UPDATE clusters SET auditing_instance = $2 WHERE cluster_id = $1 AND auditing_instance IS NULL")
        .bind(batch.cluster.to_string())
        .bind(batch.instance.to_string())
        .execute(&mut *tx)
        .await?;
    let row = sqlx::query("SELECT auditing_instance FROM clusters WHERE cluster_id = $1")
        .bind(batch.cluster.to_string())
        .fetch_one(tx)
        .await?;
    Ok(row.text("auditing_instance")? == batch.instance.to_string())
}

async fn open_snapshot(tx: &mut SqliteConnection, batch: &Batch) -> Result<Option<OpenSnapshot>> {
    let row = sqlx::query(
        "SELECT * FROM snapshots WHERE cluster_id = $1 AND instance_id = $2 AND epoch = $3 AND state = 'OPEN' \
         ORDER BY begin_seq DESC LIMIT 1",
    )
    .bind(batch.cluster.to_string())
    .bind(batch.instance.to_string())
    .bind(int(batch.epoch))
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let counts: Vec<(u32, Outcome, u64)> = row.json("stated_counts")?;
    let policy_set = row.text("policy_set")?;
    Ok(Some(OpenSnapshot {
        id: row.text("snapshot_id")?,
        begin_seq: row.count("begin_seq")?,
        policy_set: (!policy_set.is_empty()).then(|| row.parsed("policy_set")).transpose()?,
        reason: row.text("reason")?,
        begun_at_ms: row.int("begun_at_ms")?,
        stated_subjects: row.count("stated_subjects")?,
        stated_counts: counts
            .into_iter()
            .map(|(binding, outcome, n)| ((binding, outcome), n))
            .collect(),
    }))
}

async fn save_snapshot(
    tx: &mut SqliteConnection,
    batch: &Batch,
    snapshot: &OpenSnapshot,
    ending: Option<&SnapshotEnding>,
    now_ms: i64,
) -> Result<()> {
    let (state, why, end_seq) = match ending {
        None => ("OPEN", "", None),
        Some(SnapshotEnding::Complete { end_seq }) => ("COMPLETE", "", Some(int(*end_seq))),
        Some(SnapshotEnding::Void { why }) => ("VOID", why.as_str(), None),
    };
    let counts: Vec<(u32, Outcome, u64)> = snapshot
        .stated_counts
        .iter()
        .map(|((binding, outcome), n)| (*binding, *outcome, *n))
        .collect();
    let counts = serde_json::to_string(&counts).map_err(|e| Error::corrupt("snapshots", e))?;
    sqlx::query(
        "INSERT INTO snapshots (cluster_id, instance_id, snapshot_id, epoch, begin_seq, end_seq, policy_set, reason, \
         state, void_reason, stated_subjects, stated_counts, begun_at_ms, ended_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         ON CONFLICT (cluster_id, instance_id, snapshot_id) DO UPDATE SET end_seq = excluded.end_seq, \
         state = excluded.state, void_reason = excluded.void_reason, stated_subjects = excluded.stated_subjects, \
         stated_counts = excluded.stated_counts, ended_at_ms = excluded.ended_at_ms",
    )
    .bind(batch.cluster.to_string())
    .bind(batch.instance.to_string())
    .bind(&snapshot.id)
    .bind(int(batch.epoch))
    .bind(int(snapshot.begin_seq))
    .bind(end_seq)
    .bind(snapshot.policy_set.map(|digest| digest.to_string()).unwrap_or_default())
    .bind(&snapshot.reason)
    .bind(state)
    .bind(why)
    .bind(int(snapshot.stated_subjects))
    .bind(counts)
    .bind(snapshot.begun_at_ms)
    .bind(ending.map(|_| now_ms))
    .execute(tx)
    .await?;
    Ok(())
}

/// Keeps the set, and what it says of policies that no published bundle told about.
async fn save_policy_set(
    tx: &mut SqliteConnection,
    digest: Digest,
    encoded: &[u8],
    set: &PolicySet,
    now_ms: i64,
) -> Result<()> {
    let entries =
        serde_json::to_string(&set.entries).map_err(|e| Error::corrupt("policy_sets", e))?;
    sqlx::query(
        "INSERT INTO policy_sets (digest, encoded, entries, first_seen_at_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING",
    )
    .bind(digest.to_string())
    .bind(encoded)
    .bind(entries)
    .bind(now_ms)
    .execute(&mut *tx)
    .await?;
    for entry in &set.entries {
        sqlx::query(
            "INSERT INTO policies (policy_id, code, title, category, severity, meta, source, manifest, updated_at_ms) \
             VALUES ($1, $2, $3, $4, $5, '', '', '', $6) ON CONFLICT DO NOTHING",
        )
        .bind(entry.policy.as_str())
        .bind(&entry.code)
        .bind(&entry.title)
        .bind(&entry.category)
        .bind(entry.severity.as_str())
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

async fn save_cluster(
    tx: &mut SqliteConnection,
    batch: &Batch,
    change: ClusterChange,
    now_ms: i64,
) -> Result<()> {
    let ClusterChange { auditing, active, policy_set, snapshot } = change;
    if !auditing && active.is_none() && policy_set.is_none() && snapshot.is_none() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE clusters SET auditing_instance = COALESCE($2, auditing_instance), \
         active_manifest = COALESCE($3, active_manifest), active_version = COALESCE($4, active_version), \
         policy_set = COALESCE($5, policy_set), snapshot_at_ms = COALESCE($6, snapshot_at_ms) WHERE cluster_id = $1",
    )
    .bind(batch.cluster.to_string())
    .bind(auditing.then(|| batch.instance.to_string()))
    .bind(active.map(|(manifest, _)| manifest.to_string()))
    .bind(active.map(|(_, version)| int(version)))
    .bind(policy_set.map(|digest| digest.to_string()))
    .bind(snapshot.as_ref().map(|_| now_ms))
    .execute(&mut *tx)
    .await?;
    if let Some((valid_at_ms, not_evaluated)) = snapshot {
        // Whatever could not be read before was stated anew.
        sqlx::query(
            "UPDATE alarms SET resolved_at_ms = $3 WHERE cluster_id = $1 AND instance_id = $2 \
             AND resolved_at_ms IS NULL AND code IN ('SNAPSHOT_INCOMPLETE', 'RECORD_INVALID')",
        )
        .bind(batch.cluster.to_string())
        .bind(batch.instance.to_string())
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        save_not_evaluated(tx, batch, valid_at_ms, &not_evaluated).await?;
    }
    Ok(())
}

async fn save_not_evaluated(
    tx: &mut SqliteConnection,
    batch: &Batch,
    valid_at_ms: i64,
    rows: &[NotEvaluated],
) -> Result<()> {
    sqlx::query("DELETE FROM not_evaluated WHERE cluster_id = $1")
        .bind(batch.cluster.to_string())
        .execute(&mut *tx)
        .await?;
    let unique: BTreeMap<_, _> =
        rows.iter().map(|row| ((&row.policy, &row.binding, &row.group, &row.kind), row)).collect();
    let rows: Vec<_> = unique.into_values().collect();
    for rows in rows.chunks(write::ROWS_PER_INSERT) {
        let mut query = QueryBuilder::<Db>::new(
            "INSERT INTO not_evaluated (cluster_id, policy_id, binding_id, api_group, kind, reason, detail, valid_at_ms) ",
        );
        query.push_values(rows, |mut values, row| {
            values
                .push_bind(batch.cluster.to_string())
                .push_bind(row.policy.to_string())
                .push_bind(row.binding.to_string())
                .push_bind(row.group.clone())
                .push_bind(row.kind.clone())
                .push_bind(row.reason.as_str())
                .push_bind(row.detail.clone())
                .push_bind(valid_at_ms);
        });
        query.build().execute(&mut *tx).await?;
    }
    Ok(())
}

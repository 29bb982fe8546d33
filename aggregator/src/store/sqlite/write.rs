//! Writes what a fold changed: rows that differ, and the roll-up counts of exactly those rows.

use std::collections::BTreeMap;

use provost_model::Subject;
use sqlx::{QueryBuilder, SqliteConnection};

use super::row::int;
use super::{Db, counts};
use crate::store::batch::Batch;
use crate::store::current::{
    AdmissionRow, BindingKey, CurrentSubject, CurrentVerdict, DeclaredGap, EventRow, FindingKey,
    FindingRow, SubjectKey, Transition,
};
use crate::store::fold::{Entry, Fold};
use crate::store::{Error, Result};

/// Rows of one INSERT: the widest takes 25 parameters, and SQLite takes at most 32,766.
pub const ROWS_PER_INSERT: usize = 500;

/// Writes and empties the fold's changes; what it holds afterwards is what is stored.
pub async fn flush(
    tx: &mut SqliteConnection,
    batch: &Batch,
    fold: &mut Fold,
    now_ms: i64,
) -> Result<()> {
    let cluster = batch.cluster.to_string();
    save_subjects(tx, &cluster, &fold.subjects).await?;
    save_states(tx, &cluster, &fold.subjects).await?;
    counts::update(tx, &cluster, &fold.subjects).await?;
    save_findings(tx, &cluster, &std::mem::take(&mut fold.changes.findings)).await?;
    save_transitions(tx, batch, &std::mem::take(&mut fold.changes.transitions), now_ms).await?;
    save_admissions(tx, batch, &std::mem::take(&mut fold.changes.admissions), now_ms).await?;
    save_events(tx, batch, &std::mem::take(&mut fold.changes.events), now_ms).await?;
    save_gaps(tx, batch, &std::mem::take(&mut fold.changes.gaps), now_ms).await?;
    for entry in fold.subjects.values_mut() {
        entry.before.clone_from(&entry.now);
    }
    Ok(())
}

/// Group, kind, namespace and name; addresses and paths stand in name.
pub fn columns(subject: &Subject) -> [String; 4] {
    match subject {
        Subject::Kubernetes(r) => {
            [r.group.clone(), r.kind.clone(), r.namespace.clone(), r.name.clone()]
        }
        Subject::Terraform { address } => {
            [String::new(), String::new(), String::new(), address.clone()]
        }
        Subject::File { path } => [String::new(), String::new(), String::new(), path.clone()],
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::corrupt("json", e))
}

async fn save_subjects(
    tx: &mut SqliteConnection,
    cluster: &str,
    subjects: &BTreeMap<SubjectKey, Entry>,
) -> Result<()> {
    let mut changed: Vec<(&SubjectKey, &CurrentSubject, String)> = Vec::new();
    for (key, entry) in subjects {
        match (&entry.before, &entry.now) {
            (Some(_), None) => {
                sqlx::query("DELETE FROM subjects WHERE cluster_id = $1 AND subject_key = $2")
                    .bind(cluster)
                    .bind(&key.0)
                    .execute(&mut *tx)
                    .await?;
            }
            (before, Some(now)) if !before.as_ref().is_some_and(|before| same_row(before, now)) => {
                changed.push((key, now, json(&now.attributes)?));
            }
            _ => {}
        }
    }
    for rows in changed.chunks(ROWS_PER_INSERT) {
        insert_subjects(tx, cluster, rows).await?;
    }
    Ok(())
}

fn same_row(before: &CurrentSubject, now: &CurrentSubject) -> bool {
    before.uid == now.uid
        && before.attributes == now.attributes
        && before.first_seen_at_ms == now.first_seen_at_ms
        && before.updated_at_ms == now.updated_at_ms
        && before.seen_snapshot == now.seen_snapshot
        && before.stated_snapshot == now.stated_snapshot
}

async fn insert_subjects(
    tx: &mut SqliteConnection,
    cluster: &str,
    rows: &[(&SubjectKey, &CurrentSubject, String)],
) -> Result<()> {
    let mut query = QueryBuilder::<Db>::new(
        "INSERT INTO subjects (cluster_id, subject_key, subject_type, api_group, kind, namespace, name, uid, \
         attributes, first_seen_at_ms, updated_at_ms, seen_snapshot, stated_snapshot) ",
    );
    query.push_values(rows, |mut values, (key, now, attributes)| {
        let [group, kind, namespace, name] = columns(&now.subject);
        values
            .push_bind(cluster)
            .push_bind(&key.0)
            .push_bind(now.subject.type_name())
            .push_bind(group)
            .push_bind(kind)
            .push_bind(namespace)
            .push_bind(name)
            .push_bind(&now.uid)
            .push_bind(attributes)
            .push_bind(now.first_seen_at_ms)
            .push_bind(now.updated_at_ms)
            .push_bind(&now.seen_snapshot)
            .push_bind(&now.stated_snapshot);
    });
    query.push(
        " ON CONFLICT (cluster_id, subject_key) DO UPDATE SET uid = excluded.uid, attributes = excluded.attributes, \
         first_seen_at_ms = excluded.first_seen_at_ms, updated_at_ms = excluded.updated_at_ms, \
         seen_snapshot = excluded.seen_snapshot, stated_snapshot = excluded.stated_snapshot",
    );
    query.build().execute(tx).await?;
    Ok(())
}

async fn save_states(
    tx: &mut SqliteConnection,
    cluster: &str,
    subjects: &BTreeMap<SubjectKey, Entry>,
) -> Result<()> {
    let none = BTreeMap::new();
    let mut changed: Vec<(&SubjectKey, String, &BindingKey, &CurrentVerdict)> = Vec::new();
    for (key, entry) in subjects {
        let before = entry.before.as_ref().map_or(&none, |subject| &subject.verdicts);
        let now = entry.now.as_ref().map_or(&none, |subject| &subject.verdicts);
        for (policy, binding) in before.keys().filter(|binding| !now.contains_key(*binding)) {
            sqlx::query(
                "DELETE FROM states WHERE cluster_id = $1 AND subject_key = $2 AND policy_id = $3 AND binding_id = $4",
            )
            .bind(cluster)
            .bind(&key.0)
            .bind(policy.as_str())
            .bind(binding.as_str())
            .execute(&mut *tx)
            .await?;
        }
        let Some(subject) = &entry.now else { continue };
        let [_, _, namespace, _] = columns(&subject.subject);
        let different =
            now.iter().filter(|(binding, verdict)| before.get(*binding) != Some(*verdict));
        changed
            .extend(different.map(|(binding, verdict)| (key, namespace.clone(), binding, verdict)));
    }
    for rows in changed.chunks(ROWS_PER_INSERT) {
        let mut query = QueryBuilder::<Db>::new(
            "INSERT INTO states (cluster_id, subject_key, policy_id, binding_id, namespace, outcome, underlying, action, \
             severity, scored, findings_total, code, message, revision, since_valid_at_ms, valid_at_ms, \
             received_at_ms, seen_snapshot) ",
        );
        query.push_values(rows, |mut values, (key, namespace, (policy, binding), verdict)| {
            values
                .push_bind(cluster)
                .push_bind(&key.0)
                .push_bind(policy.as_str())
                .push_bind(binding.as_str())
                .push_bind(namespace)
                .push_bind(verdict.outcome.as_str())
                .push_bind(verdict.underlying.map(provost_model::Outcome::as_str))
                .push_bind(verdict.action.as_str())
                .push_bind(verdict.severity.as_str())
                .push_bind(i64::from(verdict.scored))
                .push_bind(i64::from(verdict.findings_total))
                .push_bind(&verdict.code)
                .push_bind(&verdict.message)
                .push_bind(verdict.revision.to_string())
                .push_bind(verdict.since_valid_at_ms)
                .push_bind(verdict.valid_at_ms)
                .push_bind(verdict.received_at_ms)
                .push_bind(&verdict.seen_snapshot);
        });
        query.push(
            " ON CONFLICT (cluster_id, subject_key, policy_id, binding_id) DO UPDATE SET outcome = excluded.outcome, \
             underlying = excluded.underlying, action = excluded.action, severity = excluded.severity, \
             scored = excluded.scored, findings_total = excluded.findings_total, code = excluded.code, \
             message = excluded.message, revision = excluded.revision, \
             since_valid_at_ms = excluded.since_valid_at_ms, valid_at_ms = excluded.valid_at_ms, \
             received_at_ms = excluded.received_at_ms, seen_snapshot = excluded.seen_snapshot",
        );
        query.build().execute(&mut *tx).await?;
    }
    Ok(())
}

async fn save_findings(
    tx: &mut SqliteConnection,
    cluster: &str,
    findings: &BTreeMap<FindingKey, FindingRow>,
) -> Result<()> {
    let with_attributes = findings.iter().map(|(key, row)| Ok((key, row, json(&row.attributes)?)));
    let rows = with_attributes.collect::<Result<Vec<_>>>()?;
    for rows in rows.chunks(ROWS_PER_INSERT) {
        insert_findings(tx, cluster, rows).await?;
    }
    Ok(())
}

async fn insert_findings(
    tx: &mut SqliteConnection,
    cluster: &str,
    rows: &[(&FindingKey, &FindingRow, String)],
) -> Result<()> {
    let mut query = QueryBuilder::<Db>::new(
        "INSERT INTO findings (cluster_id, binding_id, fingerprint, policy_id, subject_key, subject_type, api_group, \
         kind, namespace, name, severity, action, outcome, path, message, patch, line, attributes, \
         first_valid_at_ms, opened_valid_at_ms, received_at_ms, closed_valid_at_ms, closed_at_ms, close_reason, template, \
         owner) ",
    );
    query.push_values(rows, |mut values, ((binding, fingerprint), row, attributes)| {
        let [group, kind, namespace, name] = columns(&row.subject);
        let closed = row.closed.as_ref();
        values
            .push_bind(cluster)
            .push_bind(binding.as_str())
            .push_bind(fingerprint.to_string())
            .push_bind(row.policy.as_str())
            .push_bind(&row.subject_key.0)
            .push_bind(row.subject.type_name())
            .push_bind(group)
            .push_bind(kind)
            .push_bind(namespace)
            .push_bind(name)
            .push_bind(row.severity.as_str())
            .push_bind(row.action.as_str())
            .push_bind(row.outcome.as_str())
            .push_bind(&row.path)
            .push_bind(&row.message)
            .push_bind(&row.patch)
            .push_bind(row.line.map(i64::from))
            .push_bind(attributes)
            // First and last opening: an update keeps the first.
            .push_bind(row.opened_valid_at_ms)
            .push_bind(row.opened_valid_at_ms)
            .push_bind(row.received_at_ms)
            .push_bind(closed.map(|closed| closed.valid_at_ms))
            .push_bind(closed.map(|closed| closed.at_ms))
            .push_bind(closed.map(|closed| closed.reason.as_str()))
            .push_bind(template(row))
            .push_bind(&row.attributes.owner);
    });
    query.push(
        " ON CONFLICT (cluster_id, binding_id, fingerprint) DO UPDATE SET severity = excluded.severity, \
         action = excluded.action, outcome = excluded.outcome, path = excluded.path, message = excluded.message, \
         patch = excluded.patch, line = excluded.line, attributes = excluded.attributes, \
         opened_valid_at_ms = excluded.opened_valid_at_ms, received_at_ms = excluded.received_at_ms, \
         closed_valid_at_ms = excluded.closed_valid_at_ms, closed_at_ms = excluded.closed_at_ms, \
         close_reason = excluded.close_reason, template = excluded.template, owner = excluded.owner",
    );
    query.build().execute(tx).await?;
    Ok(())
}

/// `Kind name` of the controller, or of the subject where it has none: what makes a cause.
fn template(row: &FindingRow) -> String {
    match (&row.attributes.controller, &row.subject) {
        (Some(controller), _) => format!("{} {}", controller.kind, controller.name),
        (None, Subject::Kubernetes(resource)) => format!("{} {}", resource.kind, resource.name),
        (None, other) => other.to_string(),
    }
}

async fn save_transitions(
    tx: &mut SqliteConnection,
    batch: &Batch,
    transitions: &[Transition],
    now_ms: i64,
) -> Result<()> {
    for rows in transitions.chunks(ROWS_PER_INSERT) {
        let mut query = QueryBuilder::<Db>::new(
            "INSERT INTO transitions (cluster_id, subject_key, policy_id, binding_id, from_outcome, to_outcome, severity, \
             reason, coalesced, instance_id, epoch, seq, valid_at_ms, received_at_ms) ",
        );
        query.push_values(rows, |mut values, row| {
            values
                .push_bind(batch.cluster.to_string())
                .push_bind(&row.subject_key.0)
                .push_bind(row.policy.as_str())
                .push_bind(row.binding.as_str())
                .push_bind(row.from.map(provost_model::Outcome::as_str))
                .push_bind(row.to.map(provost_model::Outcome::as_str))
                .push_bind(row.severity.as_str())
                .push_bind(row.reason.as_str())
                .push_bind(i64::from(row.coalesced))
                .push_bind(batch.instance.to_string())
                .push_bind(int(batch.epoch))
                .push_bind(int(row.seq))
                .push_bind(row.valid_at_ms)
                .push_bind(now_ms);
        });
        query.build().execute(&mut *tx).await?;
    }
    Ok(())
}

async fn save_admissions(
    tx: &mut SqliteConnection,
    batch: &Batch,
    admissions: &[AdmissionRow],
    now_ms: i64,
) -> Result<()> {
    for row in admissions {
        let [group, kind, namespace, name] = columns(&row.subject);
        sqlx::query(
            "INSERT INTO admissions (cluster_id, instance_id, epoch, seq, subject_type, api_group, kind, namespace, name, \
             attributes, operation, user_digest, allowed, verdicts, duration_us, coalesced, valid_at_ms, \
             received_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        )
        .bind(batch.cluster.to_string())
        .bind(batch.instance.to_string())
        .bind(int(batch.epoch))
        .bind(int(row.seq))
        .bind(row.subject.type_name())
        .bind(group)
        .bind(kind)
        .bind(namespace)
        .bind(name)
        .bind(json(&row.attributes)?)
        .bind(&row.operation)
        .bind(row.user.to_string())
        .bind(i64::from(row.allowed))
        .bind(json(&row.verdicts)?)
        .bind(int(row.duration_us))
        .bind(i64::from(row.coalesced))
        .bind(row.valid_at_ms)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

async fn save_events(
    tx: &mut SqliteConnection,
    batch: &Batch,
    events: &[EventRow],
    now_ms: i64,
) -> Result<()> {
    for row in events {
        sqlx::query(
            "INSERT INTO events (cluster_id, instance_id, epoch, seq, kind, event, detail, valid_at_ms, received_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(batch.cluster.to_string())
        .bind(batch.instance.to_string())
        .bind(int(batch.epoch))
        .bind(int(row.seq))
        .bind(row.kind)
        .bind(&row.event)
        .bind(row.detail.to_string())
        .bind(row.valid_at_ms)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

async fn save_gaps(
    tx: &mut SqliteConnection,
    batch: &Batch,
    gaps: &[DeclaredGap],
    now_ms: i64,
) -> Result<()> {
    for row in gaps {
        sqlx::query(
            "INSERT INTO gaps (cluster_id, instance_id, epoch, from_seq, to_seq, declared, reason, counts, \
             detected_at_ms) VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8)",
        )
        .bind(batch.cluster.to_string())
        .bind(batch.instance.to_string())
        .bind(int(batch.epoch))
        .bind(int(row.from_seq))
        .bind(int(row.to_seq))
        .bind(row.reason.as_str())
        .bind(json(&row.counts)?)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

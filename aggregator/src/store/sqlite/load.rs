//! Loads subjects with their verdicts and open findings, as `fold` takes them.

use std::collections::BTreeMap;

use provost_model::{ClusterId, ResourceRef, Subject};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, SqliteConnection};

use super::Db;
use super::row::Fields;
use crate::store::current::{CurrentSubject, CurrentVerdict, FindingRow, SubjectKey};
use crate::store::fold::Entry;
use crate::store::{Error, Result};

/// Keys of one IN list; SQLite takes at most 32,766 parameters.
const KEYS_PER_QUERY: usize = 1000;

pub async fn subjects(
    tx: &mut SqliteConnection,
    cluster: ClusterId,
    keys: &[SubjectKey],
) -> Result<BTreeMap<SubjectKey, Entry>> {
    let mut found: BTreeMap<SubjectKey, CurrentSubject> = BTreeMap::new();
    for keys in keys.chunks(KEYS_PER_QUERY) {
        for row in
            select(tx, "SELECT * FROM subjects WHERE cluster_id = ", cluster, keys, ")").await?
        {
            let (key, subject) = subject_row(&row)?;
            found.insert(key, subject);
        }
        for row in
            select(tx, "SELECT * FROM states WHERE cluster_id = ", cluster, keys, ")").await?
        {
            if let Some(subject) = found.get_mut(&SubjectKey(row.text("subject_key")?)) {
                let binding = (row.parsed("policy_id")?, row.parsed("binding_id")?);
                subject.verdicts.insert(binding, verdict_row(&row)?);
            }
        }
        let open = ") AND closed_at_ms IS NULL";
        for row in
            select(tx, "SELECT * FROM findings WHERE cluster_id = ", cluster, keys, open).await?
        {
            if let Some(subject) = found.get_mut(&SubjectKey(row.text("subject_key")?)) {
                let key = (row.parsed("binding_id")?, row.parsed("fingerprint")?);
                let finding = finding_row(&row, subject)?;
                subject.open.insert(key, finding);
            }
        }
    }
    let entry =
        |subject: CurrentSubject| Entry { before: Some(subject.clone()), now: Some(subject) };
    Ok(found.into_iter().map(|(key, subject)| (key, entry(subject))).collect())
}

/// Subjects that the snapshot did not see, or of which it did not see every verdict.
pub async fn unseen(
    tx: &mut SqliteConnection,
    cluster: ClusterId,
    snapshot: &str,
) -> Result<BTreeMap<SubjectKey, Entry>> {
    let rows = sqlx::query(
        "SELECT subject_key FROM subjects WHERE cluster_id = $1 AND seen_snapshot <> $2 \
         UNION SELECT subject_key FROM states WHERE cluster_id = $1 AND seen_snapshot <> $2",
    )
    .bind(cluster.to_string())
    .bind(snapshot)
    .fetch_all(&mut *tx)
    .await?;
    let keys = rows
        .iter()
        .map(|row| Ok(SubjectKey(row.text("subject_key")?)))
        .collect::<Result<Vec<_>>>()?;
    subjects(tx, cluster, &keys).await
}

async fn select(
    tx: &mut SqliteConnection,
    head: &'static str,
    cluster: ClusterId,
    keys: &[SubjectKey],
    tail: &'static str,
) -> Result<Vec<SqliteRow>> {
    let mut query = QueryBuilder::<Db>::new(head);
    query.push_bind(cluster.to_string()).push(" AND subject_key IN (");
    let mut list = query.separated(", ");
    for key in keys {
        list.push_bind(key.0.clone());
    }
    query.push(tail);
    Ok(query.build().fetch_all(tx).await?)
}

fn subject_row(row: &SqliteRow) -> Result<(SubjectKey, CurrentSubject)> {
    let subject = subject_of(
        &row.text("subject_type")?,
        row.text("api_group")?,
        row.text("kind")?,
        row.text("namespace")?,
        row.text("name")?,
    )?;
    let current = CurrentSubject {
        subject,
        uid: row.text("uid")?,
        attributes: row.json("attributes")?,
        first_seen_at_ms: row.int("first_seen_at_ms")?,
        updated_at_ms: row.int("updated_at_ms")?,
        seen_snapshot: row.text("seen_snapshot")?,
        stated_snapshot: row.text("stated_snapshot")?,
        verdicts: BTreeMap::new(),
        open: BTreeMap::new(),
    };
    Ok((SubjectKey(row.text("subject_key")?), current))
}

/// A subject from its columns.
pub fn subject_of(
    kind_of: &str,
    group: String,
    kind: String,
    namespace: String,
    name: String,
) -> Result<Subject> {
    match kind_of {
        "kubernetes" => Ok(Subject::Kubernetes(ResourceRef { group, kind, namespace, name })),
        "terraform" => Ok(Subject::Terraform { address: name }),
        "file" => Ok(Subject::File { path: name }),
        other => Err(Error::corrupt("subjects", other)),
    }
}

fn verdict_row(row: &SqliteRow) -> Result<CurrentVerdict> {
    let total =
        u32::try_from(row.count("findings_total")?).map_err(|e| Error::corrupt("states", e))?;
    Ok(CurrentVerdict {
        outcome: row.parsed("outcome")?,
        underlying: row.parsed_opt("underlying")?,
        action: row.parsed("action")?,
        severity: row.parsed("severity")?,
        scored: row.flag("scored")?,
        findings_total: total,
        code: row.text("code")?,
        message: row.text("message")?,
        revision: row.parsed("revision")?,
        since_valid_at_ms: row.int("since_valid_at_ms")?,
        valid_at_ms: row.int("valid_at_ms")?,
        received_at_ms: row.int("received_at_ms")?,
        seen_snapshot: row.text("seen_snapshot")?,
    })
}

fn finding_row(row: &SqliteRow, subject: &CurrentSubject) -> Result<FindingRow> {
    let line = row
        .count_opt("line")?
        .map(u32::try_from)
        .transpose()
        .map_err(|e| Error::corrupt("findings", e))?;
    Ok(FindingRow {
        policy: row.parsed("policy_id")?,
        subject_key: SubjectKey(row.text("subject_key")?),
        subject: subject.subject.clone(),
        attributes: row.json("attributes")?,
        severity: row.parsed("severity")?,
        action: row.parsed("action")?,
        outcome: row.parsed("outcome")?,
        path: row.text("path")?,
        message: row.text("message")?,
        patch: row.text_opt("patch")?,
        line,
        opened_valid_at_ms: row.int("opened_valid_at_ms")?,
        received_at_ms: row.int("received_at_ms")?,
        closed: None,
    })
}

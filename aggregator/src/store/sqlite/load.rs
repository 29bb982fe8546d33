//! Loads subjects with their verdicts and open findings, as `fold` takes them: each whole, or the bindings that a batch
//! names of it.

use std::collections::BTreeMap;

use provost_model::{ClusterId, ResourceRef, Subject};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, SqliteConnection};

use super::Db;
use super::row::Fields;
use crate::store::current::{BindingKey, CurrentSubject, CurrentVerdict, FindingRow, SubjectKey};
use crate::store::fold::{Entry, Extent, Named};
use crate::store::{Error, Result};

/// Keys of one list, at most three parameters each; SQLite takes at most 32,766.
const KEYS_PER_QUERY: usize = 1000;

const SUBJECTS: &str = "SELECT subject_key, subject_type, api_group, kind, namespace, name, uid, attributes, \
    first_seen_at_ms, updated_at_ms, seen_snapshot, stated_snapshot FROM subjects AS s";
const STATES: &str = "SELECT s.subject_key, s.policy_id, s.binding_id, outcome, underlying, action, severity, scored, \
    findings_total, code, message, revision, since_valid_at_ms, valid_at_ms, received_at_ms, seen_snapshot FROM ";
const FINDINGS: &str = "SELECT s.subject_key, s.policy_id, s.binding_id, fingerprint, severity, action, outcome, path, \
    message, patch, line, attributes, opened_valid_at_ms, received_at_ms FROM ";
/// Before STATES and FINDINGS where only some bindings are asked for. A join in this order, as SQLite keeps it, reaches
/// each row by its key; a list of rows on the right of IN would not.
const NAMED: &str = "WITH named (subject_key, policy_id, binding_id) AS (";
const NAMED_STATES: &str = "named CROSS JOIN states AS s WHERE s.subject_key = named.subject_key \
    AND s.policy_id = named.policy_id AND s.binding_id = named.binding_id AND s.cluster_id = ";
/// By their subject: equality would lead SQLite to the index of all open findings of a policy.
const NAMED_FINDINGS: &str = "named CROSS JOIN findings AS s WHERE s.subject_key = named.subject_key \
    AND NOT s.policy_id <> named.policy_id AND NOT s.binding_id <> named.binding_id AND s.closed_at_ms IS NULL \
    AND s.cluster_id = ";

type Found = BTreeMap<SubjectKey, CurrentSubject>;
type Triple<'a> = (&'a SubjectKey, &'a BindingKey);

/// As much of each subject as the batch needs.
pub async fn named(
    tx: &mut SqliteConnection,
    cluster: ClusterId,
    named: BTreeMap<SubjectKey, Named>,
) -> Result<BTreeMap<SubjectKey, Entry>> {
    let keys: Vec<&SubjectKey> = named.keys().collect();
    let mut found = Found::new();
    for keys in keys.chunks(KEYS_PER_QUERY) {
        for row in of_subjects(tx, SUBJECTS, cluster, keys, ")").await? {
            let (key, subject) = subject_row(&row)?;
            found.insert(key, subject);
        }
    }
    let extent = |(key, named): (SubjectKey, Named)| {
        let extent = found.get(&key).map_or(Extent::Whole, |subject| named.extent(&subject.uid));
        (key, extent)
    };
    let extents: BTreeMap<SubjectKey, Extent> = named.into_iter().map(extent).collect();
    let mut whole: Vec<&SubjectKey> = Vec::new();
    let mut triples: Vec<Triple> = Vec::new();
    for (key, extent) in extents.iter().filter(|(key, _)| found.contains_key(*key)) {
        match extent {
            Extent::Whole => whole.push(key),
            Extent::Bindings(bindings) => triples.extend(bindings.iter().map(|of| (key, of))),
        }
    }
    add_whole(tx, cluster, &whole, &mut found).await?;
    add_named(tx, cluster, &triples, &mut found).await?;
    let entry = |(key, extent): (SubjectKey, Extent)| {
        let now = found.remove(&key);
        (key, Entry { before: now.clone(), now, extent })
    };
    Ok(extents.into_iter().map(entry).collect())
}

/// These subjects, each as it is stored or not.
pub async fn whole(
    tx: &mut SqliteConnection,
    cluster: ClusterId,
    keys: impl IntoIterator<Item = SubjectKey>,
) -> Result<BTreeMap<SubjectKey, Entry>> {
    let all = keys.into_iter().map(|key| (key, Named::whole())).collect();
    named(tx, cluster, all).await
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
    whole(tx, cluster, keys).await
}

async fn add_whole(
    tx: &mut SqliteConnection,
    cluster: ClusterId,
    keys: &[&SubjectKey],
    found: &mut Found,
) -> Result<()> {
    for keys in keys.chunks(KEYS_PER_QUERY) {
        let (states, findings) =
            (format!("{STATES} states AS s"), format!("{FINDINGS} findings AS s"));
        add_states(&of_subjects(tx, &states, cluster, keys, ")").await?, found)?;
        let open = ") AND s.closed_at_ms IS NULL";
        add_findings(&of_subjects(tx, &findings, cluster, keys, open).await?, found)?;
    }
    Ok(())
}

async fn add_named(
    tx: &mut SqliteConnection,
    cluster: ClusterId,
    triples: &[Triple<'_>],
    found: &mut Found,
) -> Result<()> {
    for triples in triples.chunks(KEYS_PER_QUERY) {
        let mut states = of_bindings(STATES, NAMED_STATES, cluster, triples);
        add_states(&states.build().fetch_all(&mut *tx).await?, found)?;
        let mut findings = of_bindings(FINDINGS, NAMED_FINDINGS, cluster, triples);
        add_findings(&findings.build().fetch_all(&mut *tx).await?, found)?;
    }
    Ok(())
}

fn add_states(rows: &[SqliteRow], found: &mut Found) -> Result<()> {
    for row in rows {
        if let Some(subject) = found.get_mut(&SubjectKey(row.text("subject_key")?)) {
            let binding = (row.parsed("policy_id")?, row.parsed("binding_id")?);
            subject.verdicts.insert(binding, verdict_row(row)?);
        }
    }
    Ok(())
}

fn add_findings(rows: &[SqliteRow], found: &mut Found) -> Result<()> {
    for row in rows {
        if let Some(subject) = found.get_mut(&SubjectKey(row.text("subject_key")?)) {
            let key = (row.parsed("binding_id")?, row.parsed("fingerprint")?);
            let finding = finding_row(row, subject)?;
            subject.open.insert(key, finding);
        }
    }
    Ok(())
}

async fn of_subjects(
    tx: &mut SqliteConnection,
    select: &str,
    cluster: ClusterId,
    keys: &[&SubjectKey],
    tail: &'static str,
) -> Result<Vec<SqliteRow>> {
    let mut query = QueryBuilder::<Db>::new(select);
    query.push(" WHERE s.cluster_id = ").push_bind(cluster.to_string());
    query.push(" AND s.subject_key IN (");
    let mut list = query.separated(", ");
    for key in keys {
        list.push_bind(&key.0);
    }
    query.push(tail);
    Ok(query.build().fetch_all(tx).await?)
}

fn of_bindings(
    select: &str,
    from: &str,
    cluster: ClusterId,
    triples: &[Triple<'_>],
) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::<Db>::new(NAMED);
    query.push_values(triples, |mut values, (subject, (policy, binding))| {
        values.push_bind(&subject.0).push_bind(policy.as_str()).push_bind(binding.as_str());
    });
    query.push(") ").push(select).push(from).push_bind(cluster.to_string());
    query
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::SqliteStore;

    /// Otherwise each change would read a whole cluster.
    #[tokio::test]
    async fn rows_of_bindings_are_reached_by_their_subject() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("hub.db")).await.unwrap();
        let subject = SubjectKey("a".to_owned());
        let binding = ("host-path".parse().unwrap(), "default".parse().unwrap());
        let cases = [
            (
                STATES,
                NAMED_STATES,
                "cluster_id=? AND subject_key=? AND policy_id=? AND binding_id=?",
            ),
            (FINDINGS, NAMED_FINDINGS, "findings_subject (cluster_id=? AND subject_key=?"),
        ];
        for (select, from, way) in cases {
            let triples = [(&subject, &binding); 3];
            let query = of_bindings(select, from, ClusterId::from_bytes([1; 16]), &triples);
            let explain = format!("EXPLAIN QUERY PLAN {}", query.sql().as_str());
            let plan = sqlx::query(sqlx::AssertSqlSafe(explain)).fetch_all(store.reader()).await;
            let plan: Vec<String> =
                plan.unwrap().iter().map(|row| row.text("detail").unwrap()).collect();
            assert!(plan.iter().any(|step| step.contains(way)), "{plan:?}");
        }
    }
}

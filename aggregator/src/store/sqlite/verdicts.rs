//! Verdicts on SQLite.

use async_trait::async_trait;
use provost_model::ClusterId;
use sqlx::sqlite::SqliteRow;

use super::{Fields as _, SqliteStore};
use crate::store::Result;
use crate::store::sql::{Sql, contains_pattern};
use crate::store::verdicts::{VerdictFilter, VerdictPosition, VerdictRow, Verdicts};

const COLUMNS: &str = "SELECT s.cluster_id, c.display_name AS cluster_name, s.subject_key, \
    j.subject_type, j.api_group, j.kind, j.namespace, j.name, s.policy_id, \
    COALESCE(p.title, s.policy_id) AS policy_title, COALESCE(p.code, '') AS policy_code, \
    s.binding_id, s.outcome, s.underlying, s.action, s.severity, s.scored, s.findings_total, \
    s.code, s.message, s.since_valid_at_ms, s.received_at_ms";
const TABLES: &str = " FROM states s JOIN clusters c ON c.cluster_id = s.cluster_id \
    JOIN subjects j ON j.cluster_id = s.cluster_id AND j.subject_key = s.subject_key \
    LEFT JOIN policies p ON p.policy_id = s.policy_id WHERE c.status = 'APPROVED'";
const KEY: &str = "s.cluster_id, s.subject_key, s.policy_id, s.binding_id";

#[async_trait]
impl Verdicts for SqliteStore {
    async fn verdicts(
        &self,
        filter: &VerdictFilter,
        after: Option<&VerdictPosition>,
        limit: u32,
    ) -> Result<Vec<VerdictRow>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(TABLES);
        restrict(&mut sql, filter);
        if let Some(after) = after {
            sql.push(" AND (").push(KEY).push(") > (").text_arg(&after.cluster.to_string());
            sql.push(", ").text_arg(&after.subject).push(", ").text_arg(after.policy.as_str());
            sql.push(", ").text_arg(after.binding.as_str()).push(")");
        }
        sql.push(" ORDER BY ").push(KEY).push(" LIMIT ").int_arg(i64::from(limit));
        self.rows(sql).await?.iter().map(verdict_row).collect()
    }

    async fn count_verdicts(&self, filter: &VerdictFilter) -> Result<u64> {
        let mut sql = Sql::new("SELECT COUNT(*) AS n");
        sql.push(TABLES);
        restrict(&mut sql, filter);
        self.count_of(sql).await
    }

    async fn subjects_by_cluster(&self) -> Result<Vec<(ClusterId, u64)>> {
        let sql = Sql::new("SELECT cluster_id, COUNT(*) AS n FROM subjects GROUP BY cluster_id");
        let count = |row: &SqliteRow| Ok((row.parsed("cluster_id")?, row.count("n")?));
        self.rows(sql).await?.iter().map(count).collect()
    }
}

fn restrict(sql: &mut Sql, filter: &VerdictFilter) {
    let VerdictFilter {
        outcomes,
        clusters,
        severities,
        policy,
        category,
        namespace,
        kind,
        text,
        scored,
    } = filter;
    if !outcomes.is_empty() {
        let words: Vec<&str> = outcomes.iter().map(|o| o.as_str()).collect();
        sql.and_in("s.outcome", &words);
    }
    if let Some(clusters) = clusters {
        let ids: Vec<String> = clusters.iter().map(ToString::to_string).collect();
        sql.and_in("s.cluster_id", &ids);
    }
    if !severities.is_empty() {
        let words: Vec<&str> = severities.iter().map(|s| s.as_str()).collect();
        sql.and_in("s.severity", &words);
    }
    sql.and_equals("s.policy_id", policy.as_deref())
        .and_equals("p.category", category.as_deref())
        .and_equals("s.namespace", namespace.as_deref())
        .and_equals("j.kind", kind.as_deref());
    if let Some(text) = text {
        sql.push(" AND j.name LIKE ").text_arg(&contains_pattern(text)).push(" ESCAPE '\\'");
    }
    if *scored {
        sql.push(" AND s.scored = 1");
    }
}

fn verdict_row(row: &SqliteRow) -> Result<VerdictRow> {
    Ok(VerdictRow {
        cluster: row.parsed("cluster_id")?,
        cluster_name: row.text("cluster_name")?,
        subject_key: row.text("subject_key")?,
        subject_type: row.text("subject_type")?,
        group: row.text("api_group")?,
        kind: row.text("kind")?,
        namespace: row.text("namespace")?,
        name: row.text("name")?,
        policy: row.parsed("policy_id")?,
        policy_title: row.text("policy_title")?,
        policy_code: row.text("policy_code")?,
        binding: row.parsed("binding_id")?,
        outcome: row.parsed("outcome")?,
        underlying: row.parsed_opt("underlying")?,
        action: row.parsed("action")?,
        severity: row.parsed("severity")?,
        scored: row.flag("scored")?,
        findings_total: row.count("findings_total")?,
        code: row.text("code")?,
        message: row.text("message")?,
        since_valid_at_ms: row.int("since_valid_at_ms")?,
        received_at_ms: row.int("received_at_ms")?,
    })
}

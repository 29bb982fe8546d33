//! Findings on SQLite.

use async_trait::async_trait;
use provost_model::{BindingId, ClusterId, Fingerprint, Severity};
use sqlx::sqlite::SqliteRow;

use super::{Fields as _, SqliteStore};
use crate::store::findings::{
    CauseRow, FindingFilter, FindingPosition, FindingRow, FindingState, Findings, OpenCount,
};
use crate::store::sql::{Sql, contains_pattern};
use crate::store::{Error, Result};

const COLUMNS: &str = "SELECT f.cluster_id, c.display_name AS cluster_name, f.binding_id, \
    f.fingerprint, f.policy_id, COALESCE(p.title, f.policy_id) AS policy_title, \
    COALESCE(p.code, '') AS policy_code, COALESCE(p.category, '') AS category, f.subject_key, \
    f.subject_type, f.api_group, f.kind, f.namespace, f.name, f.severity, f.action, f.outcome, \
    f.path, f.message, f.patch, f.line, f.attributes, f.template, f.first_valid_at_ms, \
    f.opened_valid_at_ms, f.received_at_ms, f.closed_valid_at_ms, f.close_reason";
const TABLES: &str = " FROM findings f JOIN clusters c ON c.cluster_id = f.cluster_id \
    LEFT JOIN policies p ON p.policy_id = f.policy_id WHERE c.status = 'APPROVED'";
/// [`crate::store::findings::severity_rank`] in SQL.
const RANK: &str = "(CASE f.severity WHEN 'critical' THEN 0 WHEN 'high' THEN 1 \
    WHEN 'medium' THEN 2 WHEN 'low' THEN 3 ELSE 4 END)";
const KEY: &str = ", f.policy_id, f.template, f.cluster_id, f.binding_id, f.fingerprint";

#[async_trait]
impl Findings for SqliteStore {
    async fn findings(
        &self,
        filter: &FindingFilter,
        stale: &[ClusterId],
        after: Option<&FindingPosition>,
        limit: u32,
    ) -> Result<Vec<FindingRow>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(TABLES);
        restrict(&mut sql, filter, stale);
        if let Some(after) = after {
            sql.push(" AND (").push(RANK).push(KEY).push(") > (");
            sql.int_arg(after.rank).push(", ").text_arg(after.policy.as_str());
            sql.push(", ")
                .text_arg(&after.template)
                .push(", ")
                .text_arg(&after.cluster.to_string());
            sql.push(", ").text_arg(after.binding.as_str());
            sql.push(", ").text_arg(&after.fingerprint.to_string()).push(")");
        }
        sql.push(" ORDER BY ").push(RANK).push(KEY).push(" LIMIT ").int_arg(i64::from(limit));
        self.rows(sql).await?.iter().map(finding_row).collect()
    }

    async fn count_findings(&self, filter: &FindingFilter, stale: &[ClusterId]) -> Result<u64> {
        let mut sql = Sql::new("SELECT COUNT(*) AS n");
        sql.push(TABLES);
        restrict(&mut sql, filter, stale);
        self.count_of(sql).await
    }

    async fn causes(
        &self,
        filter: &FindingFilter,
        stale: &[ClusterId],
        limit: u32,
    ) -> Result<(Vec<CauseRow>, u64)> {
        let mut sql = Sql::new(
            "SELECT f.policy_id, MIN(COALESCE(p.title, f.policy_id)) AS policy_title, \
             MIN(COALESCE(p.code, '')) AS policy_code, f.template, MIN(f.namespace) AS namespace, \
             COUNT(DISTINCT f.namespace) AS namespaces, MAX(f.owner) AS owner, COUNT(*) AS findings, \
             SUM(CASE f.action WHEN 'deny' THEN 0 ELSE 1 END) AS unenforced, \
             COUNT(DISTINCT f.cluster_id || f.subject_key) AS subjects, \
             COUNT(DISTINCT f.cluster_id) AS clusters, MAX(f.opened_valid_at_ms) AS opened, MIN",
        );
        sql.push(RANK).push(" AS severity_rank, SUM(CASE WHEN ");
        sql.is_in("f.cluster_id", &hex(stale)).push(" THEN 1 ELSE 0 END) AS stale").push(TABLES);
        restrict(&mut sql, filter, stale);
        sql.push(" GROUP BY f.policy_id, f.template ORDER BY severity_rank, findings DESC, f.policy_id, f.template LIMIT ");
        sql.int_arg(i64::from(limit));
        let rows: Vec<CauseRow> =
            self.rows(sql).await?.iter().map(cause_row).collect::<Result<_>>()?;
        if rows.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
            let total = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            return Ok((rows, total));
        }
        let mut sql = Sql::new("SELECT COUNT(*) AS n FROM (SELECT 1 AS one");
        sql.push(TABLES);
        restrict(&mut sql, filter, stale);
        sql.push(" GROUP BY f.policy_id, f.template) AS causes");
        Ok((rows, self.count_of(sql).await?))
    }

    async fn finding(
        &self,
        cluster: ClusterId,
        binding: &BindingId,
        fingerprint: Fingerprint,
    ) -> Result<Option<FindingRow>> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(TABLES).push(" AND f.cluster_id = ").text_arg(&cluster.to_string());
        sql.push(" AND f.binding_id = ").text_arg(binding.as_str());
        sql.push(" AND f.fingerprint = ").text_arg(&fingerprint.to_string());
        self.rows(sql).await?.first().map(finding_row).transpose()
    }

    async fn open_by_cluster(&self) -> Result<Vec<OpenCount>> {
        let mut sql = Sql::new("SELECT f.cluster_id, f.severity, f.outcome, COUNT(*) AS n");
        sql.push(TABLES);
        sql.push(" AND f.closed_at_ms IS NULL GROUP BY f.cluster_id, f.severity, f.outcome");
        let count = |row: &SqliteRow| {
            Ok(OpenCount {
                cluster: row.parsed("cluster_id")?,
                severity: row.parsed("severity")?,
                outcome: row.parsed("outcome")?,
                findings: row.count("n")?,
            })
        };
        self.rows(sql).await?.iter().map(count).collect()
    }
}

fn hex(clusters: &[ClusterId]) -> Vec<String> {
    clusters.iter().map(ToString::to_string).collect()
}

fn restrict(sql: &mut Sql, filter: &FindingFilter, stale: &[ClusterId]) {
    let FindingFilter {
        states,
        clusters,
        severities,
        policy,
        binding,
        category,
        namespace,
        kind,
        template,
        fingerprint,
        text,
    } = filter;
    restrict_states(sql, states, &hex(stale));
    if let Some(clusters) = clusters {
        sql.and_in("f.cluster_id", &hex(clusters));
    }
    if !severities.is_empty() {
        let words: Vec<&str> = severities.iter().map(|s| s.as_str()).collect();
        sql.and_in("f.severity", &words);
    }
    sql.and_equals("f.policy_id", policy.as_deref())
        .and_equals("f.binding_id", binding.as_deref())
        .and_equals("p.category", category.as_deref())
        .and_equals("f.namespace", namespace.as_deref())
        .and_equals("f.kind", kind.as_deref())
        .and_equals("f.template", template.as_deref())
        .and_equals("f.fingerprint", fingerprint.as_deref());
    if let Some(text) = text {
        let pattern = contains_pattern(text);
        sql.push(" AND (f.name LIKE ").text_arg(&pattern);
        sql.push(" ESCAPE '\\' OR f.message LIKE ").text_arg(&pattern);
        sql.push(" ESCAPE '\\' OR f.path LIKE ").text_arg(&pattern).push(" ESCAPE '\\')");
    }
}

fn restrict_states(sql: &mut Sql, states: &[FindingState], stale: &[String]) {
    if states.is_empty() {
        sql.push(" AND f.closed_at_ms IS NULL AND f.outcome IN ('fail', 'warn')");
        return;
    }
    sql.push(" AND (1 = 0");
    for state in states {
        sql.push(" OR (");
        match state {
            FindingState::Fail => {
                fresh(sql, "f.closed_at_ms IS NULL AND f.outcome = 'fail'", stale);
            }
            FindingState::Warn => {
                fresh(sql, "f.closed_at_ms IS NULL AND f.outcome = 'warn'", stale);
            }
            FindingState::Exempt => {
                fresh(sql, "f.closed_at_ms IS NULL AND f.outcome = 'exempt'", stale);
            }
            FindingState::Stale => {
                sql.push("f.closed_at_ms IS NULL AND f.outcome IN ('fail', 'warn')");
                sql.and_in("f.cluster_id", stale);
            }
            FindingState::Closed => {
                sql.push("f.closed_at_ms IS NOT NULL");
            }
        }
        sql.push(")");
    }
    sql.push(")");
}

fn fresh(sql: &mut Sql, condition: &'static str, stale: &[String]) {
    sql.push(condition).push(" AND NOT (").is_in("f.cluster_id", stale).push(")");
}

fn finding_row(row: &SqliteRow) -> Result<FindingRow> {
    Ok(FindingRow {
        cluster: row.parsed("cluster_id")?,
        cluster_name: row.text("cluster_name")?,
        binding: row.parsed("binding_id")?,
        fingerprint: row.parsed("fingerprint")?,
        policy: row.parsed("policy_id")?,
        policy_title: row.text("policy_title")?,
        policy_code: row.text("policy_code")?,
        category: row.text("category")?,
        subject_key: row.text("subject_key")?,
        subject_type: row.text("subject_type")?,
        group: row.text("api_group")?,
        kind: row.text("kind")?,
        namespace: row.text("namespace")?,
        name: row.text("name")?,
        severity: row.parsed("severity")?,
        action: row.parsed("action")?,
        outcome: row.parsed("outcome")?,
        path: row.text("path")?,
        message: row.text("message")?,
        patch: row.text_opt("patch")?,
        line: row.int_opt("line")?,
        attributes: row.text("attributes")?,
        template: row.text("template")?,
        first_valid_at_ms: row.int("first_valid_at_ms")?,
        opened_valid_at_ms: row.int("opened_valid_at_ms")?,
        received_at_ms: row.int("received_at_ms")?,
        closed_valid_at_ms: row.int_opt("closed_valid_at_ms")?,
        close_reason: row.text_opt("close_reason")?,
    })
}

fn cause_row(row: &SqliteRow) -> Result<CauseRow> {
    let severity = match row.int("severity_rank")? {
        0 => Severity::Critical,
        1 => Severity::High,
        2 => Severity::Medium,
        3 => Severity::Low,
        4 => Severity::Info,
        other => return Err(Error::corrupt("findings", format!("severity rank {other}"))),
    };
    Ok(CauseRow {
        policy: row.parsed("policy_id")?,
        policy_title: row.text("policy_title")?,
        policy_code: row.text("policy_code")?,
        template: row.text("template")?,
        namespace: row.text("namespace")?,
        namespaces: row.count("namespaces")?,
        owner: row.text("owner")?,
        severity,
        findings: row.count("findings")?,
        unenforced: row.count("unenforced")?,
        stale: row.count("stale")?,
        subjects: row.count("subjects")?,
        clusters: row.count("clusters")?,
        opened_valid_at_ms: row.int("opened")?,
    })
}

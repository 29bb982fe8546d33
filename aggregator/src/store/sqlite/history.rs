//! History on SQLite.

use async_trait::async_trait;
use provost_model::{BindingId, ClusterId, PolicyId};
use sqlx::sqlite::SqliteRow;

use super::{Fields as _, SqliteStore, rows};
use crate::store::Result;
use crate::store::history::{
    AdmissionRow, EventRow, GapCounts, History, ObjectName, TransitionRow,
};
use crate::store::reports::GapRow;
use crate::store::sql::Sql;

#[async_trait]
impl History for SqliteStore {
    async fn transitions(
        &self,
        cluster: ClusterId,
        subject_key: &str,
        policy: &PolicyId,
        binding: &BindingId,
        limit: u32,
    ) -> Result<Vec<TransitionRow>> {
        let mut sql = Sql::new(
            "SELECT id, from_outcome, to_outcome, reason, coalesced, valid_at_ms, received_at_ms \
             FROM transitions WHERE cluster_id = ",
        );
        sql.text_arg(&cluster.to_string()).push(" AND subject_key = ").text_arg(subject_key);
        sql.push(" AND policy_id = ").text_arg(policy.as_str());
        sql.push(" AND binding_id = ").text_arg(binding.as_str());
        sql.push(" ORDER BY id DESC LIMIT ").int_arg(i64::from(limit));
        self.rows(sql).await?.iter().map(rows::transition).collect()
    }

    async fn admissions(
        &self,
        cluster: Option<ClusterId>,
        object: Option<&ObjectName>,
        limit: u32,
    ) -> Result<Vec<AdmissionRow>> {
        let mut sql = Sql::new(
            "SELECT id, cluster_id, api_group, kind, namespace, name, operation, allowed, verdicts, \
             coalesced, valid_at_ms FROM admissions WHERE 1 = 1",
        );
        if let Some(cluster) = cluster {
            sql.push(" AND cluster_id = ").text_arg(&cluster.to_string());
        }
        if let Some(object) = object {
            sql.and_equals("api_group", Some(&object.group))
                .and_equals("kind", Some(&object.kind))
                .and_equals("namespace", Some(&object.namespace))
                .and_equals("name", Some(&object.name));
        }
        sql.push(" ORDER BY id DESC LIMIT ").int_arg(i64::from(limit));
        self.rows(sql).await?.iter().map(rows::admission).collect()
    }

    async fn events(&self, cluster: ClusterId, limit: u32) -> Result<Vec<EventRow>> {
        let mut sql =
            Sql::new("SELECT id, kind, event, detail, valid_at_ms FROM events WHERE cluster_id = ");
        sql.text_arg(&cluster.to_string());
        sql.push(" ORDER BY id DESC LIMIT ").int_arg(i64::from(limit));
        let event = |row: &SqliteRow| {
            Ok(EventRow {
                id: row.int("id")?,
                kind: row.text("kind")?,
                event: row.text("event")?,
                detail: row.text("detail")?,
                valid_at_ms: row.int("valid_at_ms")?,
            })
        };
        self.rows(sql).await?.iter().map(event).collect()
    }

    async fn all_gaps(&self, before: Option<i64>, limit: u32) -> Result<Vec<(i64, GapRow)>> {
        let mut sql = Sql::new(
            "SELECT id, cluster_id, instance_id, epoch, from_seq, to_seq, declared, reason, counts, \
             detected_at_ms, resolved_at_ms FROM gaps WHERE id < ",
        );
        sql.int_arg(before.unwrap_or(i64::MAX)).push(" ORDER BY id DESC LIMIT ");
        sql.int_arg(i64::from(limit));
        self.rows(sql).await?.iter().map(|row| Ok((row.int("id")?, rows::gap(row)?))).collect()
    }

    async fn count_gaps(&self) -> Result<GapCounts> {
        let sql = Sql::new(
            "SELECT COALESCE(SUM(CASE declared WHEN 0 THEN 0 ELSE 1 END), 0) AS declared, \
             COALESCE(SUM(CASE declared WHEN 0 THEN 1 ELSE 0 END), 0) AS undeclared, \
             COALESCE(SUM(CASE WHEN declared = 0 AND resolved_at_ms IS NULL THEN 1 ELSE 0 END), 0) AS open \
             FROM gaps",
        );
        let rows = self.rows(sql).await?;
        let count = |name| rows.first().map_or(Ok(0), |row| row.count(name));
        Ok(GapCounts {
            declared: count("declared")?,
            undeclared: count("undeclared")?,
            open: count("open")?,
        })
    }

    async fn policy_meta(&self, policy: &str) -> Result<Option<String>> {
        let mut sql = Sql::new("SELECT meta FROM policies WHERE policy_id = ");
        sql.text_arg(policy);
        let meta = self.rows(sql).await?.first().map(|row| row.text("meta")).transpose()?;
        Ok(meta.filter(|meta| !meta.is_empty()))
    }
}

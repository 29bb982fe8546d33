//! [`Rollups`] on SQLite.

use std::collections::BTreeMap;

use async_trait::async_trait;
use provost_model::policy::ControlRef;
use provost_model::{ClusterId, PolicyId};
use sqlx::sqlite::SqliteRow;

use super::SqliteStore;
use super::row::Fields;
use crate::store::Result;
use crate::store::rollups::{NamespaceCount, NotEvaluatedRow, PolicyCount, PolicyRow, Rollups};

#[async_trait]
impl Rollups for SqliteStore {
    async fn policy_counts(&self, cluster: Option<ClusterId>) -> Result<Vec<PolicyCount>> {
        let query = match cluster {
            Some(cluster) => {
                sqlx::query("SELECT * FROM rollup_policy WHERE n > 0 AND cluster_id = $1")
                    .bind(cluster.to_string())
            }
            None => sqlx::query("SELECT * FROM rollup_policy WHERE n > 0"),
        };
        query.fetch_all(self.reader()).await?.iter().map(policy_count).collect()
    }

    async fn namespace_counts(&self, cluster: Option<ClusterId>) -> Result<Vec<NamespaceCount>> {
        let query = match cluster {
            Some(cluster) => {
                sqlx::query("SELECT * FROM rollup_namespace WHERE n > 0 AND cluster_id = $1")
                    .bind(cluster.to_string())
            }
            None => sqlx::query("SELECT * FROM rollup_namespace WHERE n > 0"),
        };
        query.fetch_all(self.reader()).await?.iter().map(namespace_count).collect()
    }

    async fn not_evaluated(&self, cluster: Option<ClusterId>) -> Result<Vec<NotEvaluatedRow>> {
        let query = match cluster {
            Some(cluster) => sqlx::query("SELECT * FROM not_evaluated WHERE cluster_id = $1")
                .bind(cluster.to_string()),
            None => sqlx::query("SELECT * FROM not_evaluated"),
        };
        let rows = query.fetch_all(self.reader()).await?;
        rows.iter()
            .map(|row| {
                Ok(NotEvaluatedRow {
                    cluster: row.parsed("cluster_id")?,
                    policy: row.parsed("policy_id")?,
                    binding: row.parsed("binding_id")?,
                    group: row.text("api_group")?,
                    kind: row.text("kind")?,
                    reason: row.parsed("reason")?,
                    detail: row.text("detail")?,
                })
            })
            .collect()
    }

    async fn policies(&self) -> Result<BTreeMap<PolicyId, PolicyRow>> {
        let mut policies = BTreeMap::new();
        for row in sqlx::query("SELECT policy_id, code, title, category, severity FROM policies")
            .fetch_all(self.reader())
            .await?
        {
            let id: PolicyId = row.parsed("policy_id")?;
            let policy = PolicyRow {
                id: id.clone(),
                code: row.text("code")?,
                title: row.text("title")?,
                category: row.text("category")?,
                severity: row.parsed("severity")?,
                controls: Vec::new(),
            };
            policies.insert(id, policy);
        }
        let controls = sqlx::query(
            "SELECT policy_id, framework, framework_version, control_id, strength, review FROM policy_controls \
             ORDER BY framework, framework_version, control_id",
        );
        for row in controls.fetch_all(self.reader()).await? {
            let control = ControlRef {
                framework: row.text("framework")?,
                version: row.text("framework_version")?,
                id: row.text("control_id")?,
                strength: row.parsed("strength")?,
                review: row.text("review")?,
            };
            if let Some(policy) = policies.get_mut(&row.parsed::<PolicyId>("policy_id")?) {
                policy.controls.push(control);
            }
        }
        Ok(policies)
    }

    async fn recount(&self) -> Result<(Vec<PolicyCount>, Vec<NamespaceCount>)> {
        let policies = sqlx::query(
            "SELECT cluster_id, policy_id, binding_id, severity, scored, outcome, COUNT(*) AS n FROM states \
             GROUP BY cluster_id, policy_id, binding_id, severity, scored, outcome",
        );
        let namespaces = sqlx::query(
            "SELECT cluster_id, namespace, policy_id, severity, scored, outcome, COUNT(*) AS n FROM states \
             GROUP BY cluster_id, namespace, policy_id, severity, scored, outcome",
        );
        let policies: Result<_> =
            policies.fetch_all(self.reader()).await?.iter().map(policy_count).collect();
        let namespaces: Result<_> =
            namespaces.fetch_all(self.reader()).await?.iter().map(namespace_count).collect();
        Ok((policies?, namespaces?))
    }
}

fn policy_count(row: &SqliteRow) -> Result<PolicyCount> {
    Ok(PolicyCount {
        cluster: row.parsed("cluster_id")?,
        policy: row.parsed("policy_id")?,
        binding: row.parsed("binding_id")?,
        severity: row.parsed("severity")?,
        scored: row.flag("scored")?,
        outcome: row.parsed("outcome")?,
        verdicts: row.count("n")?,
    })
}

fn namespace_count(row: &SqliteRow) -> Result<NamespaceCount> {
    Ok(NamespaceCount {
        cluster: row.parsed("cluster_id")?,
        namespace: row.text("namespace")?,
        policy: row.parsed("policy_id")?,
        severity: row.parsed("severity")?,
        scored: row.flag("scored")?,
        outcome: row.parsed("outcome")?,
        verdicts: row.count("n")?,
    })
}

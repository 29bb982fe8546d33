//! [`Identity`] on SQLite. Every decision about a token, a counter or a status is taken inside the transaction that
//! acts on it.

use async_trait::async_trait;
use provost_model::{ClusterId, InstanceId, Labels};
use sqlx::SqliteConnection;

use super::row::{Fields, int};
use super::{SqliteStore, append_audit, enrolment, rows};
use crate::store::identity::{
    Approval, CertificateRow, Cluster, ClusterStatus, Enrolled, HelloFacts, Identity, Instance,
    IssuedCertificate, NewEnrolment, NewToken, Reentered, Reentry, TokenRow,
};
use crate::store::{Actor, AuditEntry, Error, Result};

/// Clusters as [`rows::cluster`] reads them.
macro_rules! clusters {
    () => {
        "SELECT clusters.*, EXISTS (SELECT 1 FROM instances WHERE instances.cluster_id = clusters.cluster_id \
         AND instances.instance_id = COALESCE(clusters.auditing_instance, instances.instance_id) \
         AND instances.quarantine_code IS NOT NULL) AS quarantined FROM clusters"
    };
}
pub(super) use clusters;

#[async_trait]
impl Identity for SqliteStore {
    async fn meta_once(&self, name: &str, value: &str) -> Result<String> {
        let mut tx = self.begin().await?;
        sqlx::query("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(value)
            .execute(&mut *tx)
            .await?;
        let row = sqlx::query("SELECT value FROM meta WHERE name = $1")
            .bind(name)
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        row.text("value")
    }

    async fn create_token(&self, token: &NewToken, actor: &Actor, now_ms: i64) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO enrol_tokens (token_hash, display_name, labels, created_at_ms, created_by, expires_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(token.token.to_string())
        .bind(&token.display_name)
        .bind(labels_json(&token.labels)?)
        .bind(now_ms)
        .bind(&actor.0)
        .bind(token.expires_at_ms)
        .execute(&mut *tx)
        .await?;
        let detail = format!("for {:?}", token.display_name);
        audit(&mut tx, actor, "token.create", &token.token.short(), "ok", detail, now_ms).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>> {
        let rows = sqlx::query("SELECT * FROM enrol_tokens ORDER BY created_at_ms, token_hash")
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(rows::token).collect()
    }

    async fn enrol(&self, request: &NewEnrolment, now_ms: i64) -> Result<Enrolled> {
        let mut tx = self.begin().await?;
        let answer = enrolment::enrol(&mut tx, request, now_ms).await?;
        let (result, target) = match &answer {
            Enrolled::New(cluster) => ("ok", cluster.id.to_string()),
            // No row: anybody can draw tokens that nobody made, without end.
            Enrolled::Again(_) | Enrolled::TokenUnknown => return Ok(answer),
            Enrolled::TokenUsed => ("TOKEN_USED", request.token.short()),
            Enrolled::TokenExpired { .. } => ("TOKEN_EXPIRED", request.token.short()),
            Enrolled::KeyInUse => ("CONFLICT", request.token.short()),
        };
        let actor = Actor("agent".to_owned());
        let detail = format!("{:?} instance {}", request.display_name, request.instance);
        audit(&mut tx, &actor, "cluster.enrol", &target, result, detail, now_ms).await?;
        tx.commit().await?;
        Ok(answer)
    }

    async fn reenter(&self, request: &Reentry, now_ms: i64) -> Result<Reentered> {
        let mut tx = self.begin().await?;
        let answer = enrolment::reenter(&mut tx, request, now_ms).await?;
        tx.commit().await?;
        Ok(answer)
    }

    async fn approve(&self, approval: &Approval, actor: &Actor, now_ms: i64) -> Result<Cluster> {
        let mut tx = self.begin().await?;
        let cluster = cluster_in(&mut tx, approval.cluster)
            .await?
            .ok_or_else(|| no_cluster(approval.cluster))?;
        let target = approval.cluster.to_string();
        if !matches!(cluster.status, ClusterStatus::Pending | ClusterStatus::Approved) {
            let detail = format!("the cluster is {}", cluster.status.as_str());
            audit(&mut tx, actor, "cluster.approve", &target, "CONFLICT", detail.clone(), now_ms)
                .await?;
            tx.commit().await?;
            return Err(Error::Conflict { detail });
        }
        // The hub bringing its own grant up to date decides nothing: the last decision stays a person's.
        let decides = *actor != Actor::hub() || cluster.status == ClusterStatus::Pending;
        let (decided_at_ms, decided_by) = if decides {
            (Some(now_ms), Some(actor.0.as_str()))
        } else {
            (cluster.decided_at_ms, cluster.decided_by.as_deref())
        };
        let updated = sqlx::query(
            "UPDATE clusters SET status = 'APPROVED', display_name = $2, labels = $3, grant_envelope = $4, \
             grant_version = $5, decided_at_ms = $6, decided_by = $7 WHERE cluster_id = $1 AND grant_version < $5",
        )
        .bind(&target)
        .bind(approval.display_name.as_ref().unwrap_or(&cluster.display_name))
        .bind(labels_json(&approval.labels)?)
        .bind(&approval.grant)
        .bind(int(approval.grant_version))
        .bind(decided_at_ms)
        .bind(decided_by)
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            let held = cluster.grant_version;
            let detail = format!("another grant came first: version {held} is held; try again");
            return Err(Error::Conflict { detail });
        }
        let detail = format!("labels {}", labels_json(&approval.labels)?);
        audit(&mut tx, actor, "cluster.approve", &target, "ok", detail, now_ms).await?;
        let cluster = cluster_in(&mut tx, approval.cluster)
            .await?
            .ok_or_else(|| no_cluster(approval.cluster))?;
        tx.commit().await?;
        Ok(cluster)
    }

    async fn dismiss(
        &self,
        id: ClusterId,
        reason: &str,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<Cluster> {
        let mut tx = self.begin().await?;
        let cluster = cluster_in(&mut tx, id).await?.ok_or_else(|| no_cluster(id))?;
        let (status, action) = match cluster.status {
            ClusterStatus::Pending | ClusterStatus::Rejected => {
                (ClusterStatus::Rejected, "cluster.reject")
            }
            ClusterStatus::Approved | ClusterStatus::Revoked => {
                (ClusterStatus::Revoked, "cluster.revoke")
            }
        };
        sqlx::query("UPDATE clusters SET status = $2, decided_at_ms = $3, decided_by = $4 WHERE cluster_id = $1")
            .bind(id.to_string())
            .bind(status.as_str())
            .bind(now_ms)
            .bind(&actor.0)
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE certificates SET revoked_at_ms = $2 WHERE cluster_id = $1 AND revoked_at_ms IS NULL")
            .bind(id.to_string())
            .bind(now_ms)
            .execute(&mut *tx)
            .await?;
        audit(&mut tx, actor, action, &id.to_string(), "ok", reason.to_owned(), now_ms).await?;
        let cluster = cluster_in(&mut tx, id).await?.ok_or_else(|| no_cluster(id))?;
        tx.commit().await?;
        Ok(cluster)
    }

    async fn release(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE instances SET quarantine_code = NULL, quarantined_at_ms = NULL, join_resync = 1 \
             WHERE cluster_id = $1 AND instance_id = $2 AND quarantine_code IS NOT NULL",
        )
        .bind(cluster.to_string())
        .bind(instance.to_string())
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(Error::NotFound { what: format!("a quarantine of instance {instance}") });
        }
        sqlx::query(
            "UPDATE alarms SET resolved_at_ms = $3 WHERE cluster_id = $1 AND instance_id = $2 \
             AND resolved_at_ms IS NULL AND code IN ('FORK', 'CLONE_SUSPECTED')",
        )
        .bind(cluster.to_string())
        .bind(instance.to_string())
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        // The chain that forked is over: the instance goes on in a new epoch.
        sqlx::query("UPDATE chains SET closed = 1 WHERE cluster_id = $1 AND instance_id = $2")
            .bind(cluster.to_string())
            .bind(instance.to_string())
            .execute(&mut *tx)
            .await?;
        let target = format!("{cluster}/{instance}");
        audit(&mut tx, actor, "instance.release", &target, "ok", String::new(), now_ms).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn quarantine(
        &self,
        cluster: ClusterId,
        instance: InstanceId,
        code: &str,
        detail: &str,
        now_ms: i64,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        quarantine(&mut tx, cluster, instance, code, detail, now_ms).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn cluster(&self, id: ClusterId) -> Result<Option<Cluster>> {
        let row = sqlx::query(concat!(clusters!(), " WHERE cluster_id = $1"))
            .bind(id.to_string())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(rows::cluster).transpose()
    }

    async fn cluster_by_identity(&self, identity_key: &[u8; 32]) -> Result<Option<Cluster>> {
        let row = sqlx::query(concat!(clusters!(), " WHERE identity_key = $1"))
            .bind(hex::encode(identity_key))
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(rows::cluster).transpose()
    }

    async fn clusters(&self) -> Result<Vec<Cluster>> {
        let rows = sqlx::query(concat!(clusters!(), " ORDER BY display_name, cluster_id"))
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(rows::cluster).collect()
    }

    async fn instance(&self, cluster: ClusterId, instance: InstanceId) -> Result<Option<Instance>> {
        let row = sqlx::query("SELECT * FROM instances WHERE cluster_id = $1 AND instance_id = $2")
            .bind(cluster.to_string())
            .bind(instance.to_string())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(rows::instance).transpose()
    }

    async fn instances(&self, cluster: ClusterId) -> Result<Vec<Instance>> {
        let rows = sqlx::query(
            "SELECT * FROM instances WHERE cluster_id = $1 ORDER BY enrolled_at_ms, instance_id",
        )
        .bind(cluster.to_string())
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(rows::instance).collect()
    }

    async fn certificate_issued(&self, certificate: &IssuedCertificate) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO certificates (serial, cluster_id, instance_id, spki_digest, issued_at_ms, not_after_ms) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&certificate.serial)
        .bind(certificate.cluster.to_string())
        .bind(certificate.instance.to_string())
        .bind(certificate.spki.to_string())
        .bind(certificate.issued_at_ms)
        .bind(certificate.not_after_ms)
        .execute(&mut *tx)
        .await?;
        if certificate.renews {
            let actor = Actor(format!("agent:{}", certificate.cluster));
            let target = format!("{}/{}", certificate.cluster, certificate.instance);
            let detail = format!("serial {}", certificate.serial);
            let at_ms = certificate.issued_at_ms;
            audit(&mut tx, &actor, "certificate.renew", &target, "ok", detail, at_ms).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn certificate(&self, serial: &str) -> Result<Option<CertificateRow>> {
        let row = sqlx::query("SELECT * FROM certificates WHERE serial = $1")
            .bind(serial)
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(rows::certificate).transpose()
    }

    async fn certificates(&self, cluster: ClusterId) -> Result<Vec<CertificateRow>> {
        let rows = sqlx::query(
            "SELECT * FROM certificates WHERE cluster_id = $1 ORDER BY issued_at_ms, serial",
        )
        .bind(cluster.to_string())
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(rows::certificate).collect()
    }

    async fn hello(&self, hello: &HelloFacts, now_ms: i64) -> Result<()> {
        let nodes = serde_json::to_string(&hello.node_versions)
            .map_err(|e| Error::corrupt("node_versions", e))?;
        let mut tx = self.begin().await?;
        sqlx::query(
            "UPDATE clusters SET agent_version = $2, server_version = $3, node_versions = $4, clock_offset_ms = $5, \
             last_heard_at_ms = $6 WHERE cluster_id = $1",
        )
        .bind(hello.cluster.to_string())
        .bind(&hello.agent_version)
        .bind(&hello.server_version)
        .bind(nodes)
        .bind(hello.clock_offset_ms)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "UPDATE instances SET last_heard_at_ms = $3, join_confirmed = 1 WHERE cluster_id = $1 AND instance_id = $2",
        )
        .bind(hello.cluster.to_string())
        .bind(hello.instance.to_string())
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Inside the caller's transaction, with its alarm.
pub async fn quarantine(
    tx: &mut SqliteConnection,
    cluster: ClusterId,
    instance: InstanceId,
    code: &str,
    detail: &str,
    now_ms: i64,
) -> Result<()> {
    sqlx::query(
        "UPDATE instances SET quarantine_code = $3, quarantined_at_ms = $4 \
         WHERE cluster_id = $1 AND instance_id = $2 AND quarantine_code IS NULL",
    )
    .bind(cluster.to_string())
    .bind(instance.to_string())
    .bind(code)
    .bind(now_ms)
    .execute(&mut *tx)
    .await?;
    super::reports::raise(
        tx,
        &crate::store::reports::Alarm { cluster, instance, code, detail },
        now_ms,
    )
    .await?;
    let target = format!("{cluster}/{instance}");
    audit(tx, &Actor::hub(), "instance.quarantine", &target, code, detail.to_owned(), now_ms).await
}

pub(super) async fn audit(
    tx: &mut SqliteConnection,
    actor: &Actor,
    action: &str,
    target: &str,
    result: &str,
    detail: String,
    now_ms: i64,
) -> Result<()> {
    let entry = AuditEntry {
        at_ms: now_ms,
        actor: actor.clone(),
        action: action.to_owned(),
        target: target.to_owned(),
        result: result.to_owned(),
        detail,
    };
    append_audit(tx, &entry).await
}

pub(super) async fn cluster_in(
    tx: &mut SqliteConnection,
    id: ClusterId,
) -> Result<Option<Cluster>> {
    let row = sqlx::query(concat!(clusters!(), " WHERE cluster_id = $1"))
        .bind(id.to_string())
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(rows::cluster).transpose()
}

pub(super) async fn instance_in(
    tx: &mut SqliteConnection,
    cluster: ClusterId,
    id: InstanceId,
) -> Result<Option<Instance>> {
    let row = sqlx::query("SELECT * FROM instances WHERE cluster_id = $1 AND instance_id = $2")
        .bind(cluster.to_string())
        .bind(id.to_string())
        .fetch_optional(tx)
        .await?;
    row.as_ref().map(rows::instance).transpose()
}

pub(super) fn labels_json(labels: &Labels) -> Result<String> {
    serde_json::to_string(labels).map_err(|e| Error::corrupt("labels", e))
}

pub(super) fn no_cluster(id: ClusterId) -> Error {
    Error::NotFound { what: format!("cluster {id}") }
}

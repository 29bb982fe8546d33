//! [`Bundles`] on SQLite.

use async_trait::async_trait;
use bytes::Bytes;
use provost_model::{ClusterId, Digest};
use sqlx::{QueryBuilder, SqliteConnection};

use super::row::{Fields, int};
use super::{Db, SqliteStore, append_audit, rows};
use crate::store::bundles::{
    BundleAnswer, BundleAnswerRow, BundleRow, BundleStatus, Bundles, FileRow, Publication,
    PublishedPolicy, RootRow,
};
use crate::store::{Actor, AuditEntry, Error, Result};

/// Rows of one INSERT; SQLite takes at most 32,766 parameters.
const ROWS_PER_INSERT: usize = 500;

#[async_trait]
impl Bundles for SqliteStore {
    async fn roots_after(&self, version: u64) -> Result<Vec<RootRow>> {
        let rows = sqlx::query("SELECT * FROM roots WHERE version > $1 ORDER BY version")
            .bind(int(version))
            .fetch_all(self.reader())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(RootRow {
                    version: row.count("version")?,
                    payload_digest: row.parsed("payload_digest")?,
                    envelope: row.text("envelope")?,
                })
            })
            .collect()
    }

    async fn publish(&self, publication: &Publication, actor: &Actor, now_ms: i64) -> Result<()> {
        let bundle = &publication.bundle;
        let mut tx = self.begin().await?;
        let stored =
            sqlx::query("SELECT manifest_digest FROM bundles WHERE channel = $1 AND version = $2")
                .bind(&bundle.channel)
                .bind(int(bundle.version))
                .fetch_optional(&mut *tx)
                .await?;
        if let Some(stored) = stored {
            if stored.parsed::<Digest>("manifest_digest")? == bundle.manifest {
                return Ok(());
            }
            let detail = format!(
                "version {} of channel {} is another bundle",
                bundle.version, bundle.channel
            );
            return Err(Error::Conflict { detail });
        }
        insert_roots(&mut tx, &publication.roots, actor, now_ms).await?;
        insert_blobs(&mut tx, publication).await?;
        insert_bundle(&mut tx, bundle, actor, now_ms).await?;
        for policy in &publication.policies {
            upsert_policy(&mut tx, policy, bundle.manifest, now_ms).await?;
        }
        let entry = AuditEntry {
            at_ms: now_ms,
            actor: actor.clone(),
            action: "bundle.publish".to_owned(),
            target: format!("{}/{}", bundle.channel, bundle.version),
            result: "ok".to_owned(),
            detail: format!("manifest {}", bundle.manifest),
        };
        append_audit(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn publish_refused(
        &self,
        target: &str,
        code: &str,
        detail: &str,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<()> {
        let entry = AuditEntry {
            at_ms: now_ms,
            actor: actor.clone(),
            action: "bundle.publish".to_owned(),
            target: target.to_owned(),
            result: code.to_owned(),
            detail: detail.to_owned(),
        };
        let mut tx = self.begin().await?;
        append_audit(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn newest_bundle(&self, channel: &str) -> Result<Option<BundleRow>> {
        let row =
            sqlx::query("SELECT * FROM bundles WHERE channel = $1 ORDER BY version DESC LIMIT 1")
                .bind(channel)
                .fetch_optional(self.reader())
                .await?;
        row.as_ref().map(rows::bundle).transpose()
    }

    async fn bundle(&self, manifest: Digest) -> Result<Option<BundleRow>> {
        let row = sqlx::query("SELECT * FROM bundles WHERE manifest_digest = $1")
            .bind(manifest.to_string())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(rows::bundle).transpose()
    }

    async fn bundles(&self) -> Result<Vec<BundleRow>> {
        let rows = sqlx::query(
            "SELECT * FROM bundles ORDER BY published_at_ms DESC, channel, version DESC",
        )
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(rows::bundle).collect()
    }

    async fn bundle_files(&self, manifest: Digest) -> Result<Vec<FileRow>> {
        let rows = sqlx::query(
            "SELECT path, digest, size FROM bundle_files WHERE manifest_digest = $1 ORDER BY path",
        )
        .bind(manifest.to_string())
        .fetch_all(self.reader())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(FileRow {
                    path: row.text("path")?,
                    digest: row.parsed("digest")?,
                    size: row.count("size")?,
                })
            })
            .collect()
    }

    async fn blob(&self, digest: Digest) -> Result<Option<Bytes>> {
        let row = sqlx::query("SELECT content FROM blobs WHERE digest = $1")
            .bind(digest.to_string())
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| Ok(Bytes::from(row.bytes("content")?))).transpose()
    }

    async fn missing_blobs(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        let mut missing = Vec::new();
        for digest in digests {
            let held = sqlx::query("SELECT 1 FROM blobs WHERE digest = $1")
                .bind(digest.to_string())
                .fetch_optional(self.reader())
                .await?;
            if held.is_none() {
                missing.push(*digest);
            }
        }
        Ok(missing)
    }

    async fn blob_was_offered(&self, cluster: ClusterId, blob: Digest) -> Result<bool> {
        let row = sqlx::query(
            "SELECT 1 FROM bundle_files JOIN bundle_status \
             ON bundle_status.manifest_digest = bundle_files.manifest_digest \
             WHERE bundle_files.digest = $1 AND bundle_status.cluster_id = $2 LIMIT 1",
        )
        .bind(blob.to_string())
        .bind(cluster.to_string())
        .fetch_optional(self.reader())
        .await?;
        Ok(row.is_some())
    }

    async fn bundles_with_blob(&self, blob: Digest) -> Result<Vec<BundleRow>> {
        let rows = sqlx::query(
            "SELECT * FROM bundles WHERE manifest_digest IN \
             (SELECT manifest_digest FROM bundle_files WHERE digest = $1) ORDER BY version DESC",
        )
        .bind(blob.to_string())
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(rows::bundle).collect()
    }

    async fn bundle_answer(&self, answer: &BundleAnswer, now_ms: i64) -> Result<()> {
        let errors = serde_json::to_string(&answer.errors)
            .map_err(|e| Error::corrupt("bundle_status", e))?;
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO bundle_status (cluster_id, instance_id, manifest_digest, version, status, code, errors, at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (cluster_id, instance_id, manifest_digest) DO UPDATE SET \
             status = excluded.status, code = excluded.code, errors = excluded.errors, at_ms = excluded.at_ms",
        )
        .bind(answer.cluster.to_string())
        .bind(answer.instance.to_string())
        .bind(answer.manifest.to_string())
        .bind(int(answer.version))
        .bind(answer.status.as_str())
        .bind(&answer.code)
        .bind(errors)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn bundle_answers(&self, manifest: Digest) -> Result<Vec<BundleAnswerRow>> {
        let rows = sqlx::query("SELECT * FROM bundle_status WHERE manifest_digest = $1 ORDER BY cluster_id, instance_id")
            .bind(manifest.to_string())
            .fetch_all(self.reader())
            .await?;
        rows.iter()
            .map(|row| {
                let status = row.text("status")?;
                Ok(BundleAnswerRow {
                    cluster: row.parsed("cluster_id")?,
                    instance: row.parsed("instance_id")?,
                    status: BundleStatus::parse(&status)
                        .ok_or_else(|| Error::corrupt("bundle_status", &status))?,
                    code: row.text("code")?,
                    errors: row.json("errors")?,
                    at_ms: row.int("at_ms")?,
                })
            })
            .collect()
    }
}

async fn insert_roots(
    tx: &mut SqliteConnection,
    roots: &[RootRow],
    actor: &Actor,
    now_ms: i64,
) -> Result<()> {
    for root in roots {
        let done = sqlx::query(
            "INSERT INTO roots (version, payload_digest, envelope, added_at_ms, added_by) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING",
        )
        .bind(int(root.version))
        .bind(root.payload_digest.to_string())
        .bind(&root.envelope)
        .bind(now_ms)
        .bind(&actor.0)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Err(Error::Conflict {
                detail: format!("root version {} arrived meanwhile", root.version),
            });
        }
    }
    Ok(())
}

async fn insert_blobs(tx: &mut SqliteConnection, publication: &Publication) -> Result<()> {
    for (digest, content) in &publication.blobs {
        sqlx::query(
            "INSERT INTO blobs (digest, size, content) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(digest.to_string())
        .bind(int(content.len() as u64))
        .bind(content.as_ref())
        .execute(&mut *tx)
        .await?;
    }
    for files in publication.files.chunks(ROWS_PER_INSERT) {
        let mut query = QueryBuilder::<Db>::new(
            "INSERT INTO bundle_files (manifest_digest, path, digest, size) ",
        );
        query.push_values(files, |mut values, file| {
            values
                .push_bind(publication.bundle.manifest.to_string())
                .push_bind(file.path.clone())
                .push_bind(file.digest.to_string())
                .push_bind(int(file.size));
        });
        query.build().execute(&mut *tx).await?;
    }
    Ok(())
}

async fn insert_bundle(
    tx: &mut SqliteConnection,
    bundle: &BundleRow,
    actor: &Actor,
    now_ms: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO bundles (channel, version, manifest_digest, content_digest, manifest_envelope, floor_version, \
         created_at_ms, expires_at_ms, policies, published_at_ms, published_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(&bundle.channel)
    .bind(int(bundle.version))
    .bind(bundle.manifest.to_string())
    .bind(bundle.content.to_string())
    .bind(&bundle.envelope)
    .bind(int(bundle.floor_version))
    .bind(bundle.created_at_ms)
    .bind(bundle.expires_at_ms)
    .bind(int(bundle.policies))
    .bind(now_ms)
    .bind(&actor.0)
    .execute(tx)
    .await?;
    Ok(())
}

async fn upsert_policy(
    tx: &mut SqliteConnection,
    policy: &PublishedPolicy,
    manifest: Digest,
    now_ms: i64,
) -> Result<()> {
    let meta = &policy.meta;
    let json = serde_json::to_string(meta).map_err(|e| Error::corrupt("policies", e))?;
    sqlx::query(
        "INSERT INTO policies (policy_id, code, title, category, severity, meta, source, manifest, updated_at_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (policy_id) DO UPDATE SET \
         code = excluded.code, title = excluded.title, category = excluded.category, severity = excluded.severity, \
         meta = excluded.meta, source = excluded.source, manifest = excluded.manifest, \
         updated_at_ms = excluded.updated_at_ms",
    )
    .bind(meta.id.as_str())
    .bind(&meta.code)
    .bind(&meta.title)
    .bind(meta.category.as_str())
    .bind(meta.severity.as_str())
    .bind(json)
    .bind(&policy.source)
    .bind(manifest.to_string())
    .bind(now_ms)
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM policy_controls WHERE policy_id = $1")
        .bind(meta.id.as_str())
        .execute(&mut *tx)
        .await?;
    for control in &meta.controls {
        let strength = serde_json::to_value(control.strength)
            .map_err(|e| Error::corrupt("policy_controls", e))?;
        sqlx::query(
            "INSERT INTO policy_controls (policy_id, framework, framework_version, control_id, strength, review) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(meta.id.as_str())
        .bind(&control.framework)
        .bind(&control.version)
        .bind(&control.id)
        .bind(strength.as_str().unwrap_or_default())
        .bind(&control.review)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

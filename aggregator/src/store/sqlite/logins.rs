//! Login links on SQLite.

use async_trait::async_trait;
use provost_model::Digest;

use super::{Fields as _, SqliteStore, append_audit};
use crate::store::logins::{LoginLink, Logins};
use crate::store::{Actor, AuditEntry, Result};

#[async_trait]
impl Logins for SqliteStore {
    async fn create_login_link(&self, link: &LoginLink, actor: &Actor, now_ms: i64) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO login_links (link_hash, token_hash, role, created_at_ms, expires_at_ms) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(link.link.to_string())
        .bind(link.api_token.to_string())
        .bind(&link.role)
        .bind(link.created_at_ms)
        .bind(link.expires_at_ms)
        .execute(&mut *tx)
        .await?;
        let entry = AuditEntry {
            at_ms: now_ms,
            actor: actor.clone(),
            action: "login-link.create".to_owned(),
            target: link.link.short(),
            result: "ok".to_owned(),
            detail: format!("role {}", link.role),
        };
        append_audit(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn use_login_link(&self, link: Digest, now_ms: i64) -> Result<Option<LoginLink>> {
        let mut tx = self.begin().await?;
        let row = sqlx::query(
            "UPDATE login_links SET used_at_ms = $1 \
             WHERE link_hash = $2 AND used_at_ms IS NULL AND expires_at_ms > $1 \
             RETURNING token_hash, role, created_at_ms, expires_at_ms",
        )
        .bind(now_ms)
        .bind(link.to_string())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let found = LoginLink {
            link,
            api_token: row.parsed("token_hash")?,
            role: row.text("role")?,
            created_at_ms: row.int("created_at_ms")?,
            expires_at_ms: row.int("expires_at_ms")?,
        };
        let entry = AuditEntry {
            at_ms: now_ms,
            actor: Actor::hub(),
            action: "login-link.use".to_owned(),
            target: link.short(),
            result: "ok".to_owned(),
            detail: format!("role {}", found.role),
        };
        append_audit(&mut tx, &entry).await?;
        tx.commit().await?;
        Ok(Some(found))
    }

    async fn sweep_logins(&self, now_ms: i64) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM web_sessions WHERE expires_at_ms <= $1")
            .bind(now_ms)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM login_links WHERE expires_at_ms <= $1")
            .bind(now_ms)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

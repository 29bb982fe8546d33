//! [`Access`] on SQLite.

use async_trait::async_trait;
use provost_model::Digest;

use super::row::Fields;
use super::{SqliteStore, append_audit, rows};
use crate::store::access::{Access, ApiTokenRow, NewApiToken, WebSession};
use crate::store::{Actor, AuditEntry, Error, Result};

#[async_trait]
impl Access for SqliteStore {
    async fn create_api_token(
        &self,
        token: &NewApiToken,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<()> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "INSERT INTO api_tokens (token_hash, name, role, created_at_ms, created_by, expires_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(token.token.to_string())
        .bind(&token.name)
        .bind(&token.role)
        .bind(now_ms)
        .bind(&actor.0)
        .bind(token.expires_at_ms)
        .execute(&mut *tx)
        .await?;
        let taken = done.rows_affected() == 0;
        let entry = AuditEntry {
            at_ms: now_ms,
            actor: actor.clone(),
            action: "api-token.create".to_owned(),
            target: token.name.clone(),
            result: if taken { "CONFLICT" } else { "ok" }.to_owned(),
            detail: format!("role {}", token.role),
        };
        append_audit(&mut tx, &entry).await?;
        tx.commit().await?;
        if taken {
            return Err(Error::Conflict {
                detail: format!("there is a token named {:?} already", token.name),
            });
        }
        Ok(())
    }

    async fn api_tokens(&self) -> Result<Vec<ApiTokenRow>> {
        let rows = sqlx::query("SELECT * FROM api_tokens ORDER BY created_at_ms, token_hash")
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(rows::api_token).collect()
    }

    async fn api_token(&self, token: Digest) -> Result<Option<ApiTokenRow>> {
        let row = sqlx::query("SELECT * FROM api_tokens WHERE token_hash = $1")
            .bind(token.to_string())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(rows::api_token).transpose()
    }

    async fn revoke_api_token(&self, name: &str, actor: &Actor, now_ms: i64) -> Result<()> {
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE api_tokens SET revoked_at_ms = $2 WHERE name = $1 AND revoked_at_ms IS NULL",
        )
        .bind(name)
        .bind(now_ms)
        .execute(&mut *tx)
        .await?;
        let missing = done.rows_affected() == 0;
        let entry = AuditEntry {
            at_ms: now_ms,
            actor: actor.clone(),
            action: "api-token.revoke".to_owned(),
            target: name.to_owned(),
            result: if missing { "NOT_FOUND" } else { "ok" }.to_owned(),
            detail: String::new(),
        };
        append_audit(&mut tx, &entry).await?;
        tx.commit().await?;
        if missing {
            return Err(Error::NotFound { what: format!("an API token named {name:?}") });
        }
        Ok(())
    }

    async fn create_web_session(&self, session: &WebSession, entry: &AuditEntry) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM web_sessions WHERE expires_at_ms <= $1")
            .bind(session.created_at_ms)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO web_sessions (session_hash, token_hash, csrf_hash, role, created_at_ms, expires_at_ms) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(session.session.to_string())
        .bind(session.api_token.to_string())
        .bind(session.csrf.to_string())
        .bind(&session.role)
        .bind(session.created_at_ms)
        .bind(session.expires_at_ms)
        .execute(&mut *tx)
        .await?;
        append_audit(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn web_session(&self, session: Digest) -> Result<Option<WebSession>> {
        let row = sqlx::query("SELECT * FROM web_sessions WHERE session_hash = $1")
            .bind(session.to_string())
            .fetch_optional(self.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(WebSession {
            session,
            api_token: row.parsed("token_hash")?,
            csrf: row.parsed("csrf_hash")?,
            role: row.text("role")?,
            created_at_ms: row.int("created_at_ms")?,
            expires_at_ms: row.int("expires_at_ms")?,
        }))
    }

    async fn end_web_session(&self, session: Digest) -> Result<()> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM web_sessions WHERE session_hash = $1")
            .bind(session.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    async fn audit(&self, entry: &AuditEntry) -> Result<()> {
        let mut tx = self.begin().await?;
        append_audit(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn audit_log(&self, before: Option<i64>, limit: u32) -> Result<Vec<(i64, AuditEntry)>> {
        let rows = sqlx::query("SELECT * FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2")
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(rows::audit).collect()
    }
}

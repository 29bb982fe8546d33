//! [`Retention`] on SQLite.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::SqliteStore;
use crate::store::Result;
use crate::store::retention::{Cutoffs, MAX_ROWS, Retention, Swept};

const NONCES: &str = "DELETE FROM reentry_nonces WHERE nonce IN \
    (SELECT nonce FROM reentry_nonces WHERE seen_at_ms < $1 LIMIT $2)";
const CERTIFICATES: &str = "DELETE FROM certificates WHERE serial IN \
    (SELECT serial FROM certificates WHERE not_after_ms < $1 AND EXISTS (SELECT 1 FROM certificates AS newer \
     WHERE newer.cluster_id = certificates.cluster_id AND (newer.not_after_ms > certificates.not_after_ms \
     OR (newer.not_after_ms = certificates.not_after_ms AND newer.serial > certificates.serial))) LIMIT $2)";
const SESSIONS: &str = "DELETE FROM web_sessions WHERE session_hash IN \
    (SELECT session_hash FROM web_sessions JOIN api_tokens ON api_tokens.token_hash = web_sessions.token_hash \
     WHERE web_sessions.expires_at_ms < $1 OR api_tokens.expires_at_ms < $1 OR api_tokens.revoked_at_ms < $1 LIMIT $2)";
const LOGIN_LINKS: &str = "DELETE FROM login_links WHERE link_hash IN \
    (SELECT link_hash FROM login_links JOIN api_tokens ON api_tokens.token_hash = login_links.token_hash \
     WHERE login_links.expires_at_ms < $1 OR api_tokens.expires_at_ms < $1 OR api_tokens.revoked_at_ms < $1 LIMIT $2)";
const ENROL_TOKENS: &str = "DELETE FROM enrol_tokens WHERE token_hash IN \
    (SELECT token_hash FROM enrol_tokens WHERE COALESCE(used_at_ms, expires_at_ms) < $1 LIMIT $2)";
const API_TOKENS: &str = "DELETE FROM api_tokens WHERE token_hash IN \
    (SELECT token_hash FROM api_tokens WHERE (expires_at_ms < $1 OR revoked_at_ms < $1) \
     AND NOT EXISTS (SELECT 1 FROM web_sessions WHERE web_sessions.token_hash = api_tokens.token_hash) \
     AND NOT EXISTS (SELECT 1 FROM login_links WHERE login_links.token_hash = api_tokens.token_hash) LIMIT $2)";

#[async_trait]
impl Retention for SqliteStore {
    async fn sweep(&self, cutoffs: &Cutoffs) -> Result<Swept> {
        let Cutoffs { reentry_nonces_ms, certificates_ms, sessions_ms, tokens_ms } = *cutoffs;
        let mut tx = self.begin().await?;
        let swept = Swept {
            reentry_nonces: delete(&mut tx, NONCES, reentry_nonces_ms).await?,
            certificates: delete(&mut tx, CERTIFICATES, certificates_ms).await?,
            // Before the tokens that they hang on.
            sessions: delete(&mut tx, SESSIONS, sessions_ms).await?
                + delete(&mut tx, LOGIN_LINKS, sessions_ms).await?,
            tokens: delete(&mut tx, ENROL_TOKENS, tokens_ms).await?
                + delete(&mut tx, API_TOKENS, tokens_ms).await?,
        };
        tx.commit().await?;
        Ok(swept)
    }
}

async fn delete(tx: &mut SqliteConnection, sql: &'static str, before_ms: i64) -> Result<u64> {
    let done = sqlx::query(sql).bind(before_ms).bind(i64::from(MAX_ROWS)).execute(tx).await?;
    Ok(done.rows_affected())
}

//! People and programs that use the API, and the audit log.

use async_trait::async_trait;
use provost_model::Digest;
use serde::Serialize;

use super::{Actor, AuditEntry, Result};

#[async_trait]
pub trait Access: Send + Sync {
    /// The name must be free among unrevoked tokens.
    async fn create_api_token(&self, token: &NewApiToken, actor: &Actor, now_ms: i64)
    -> Result<()>;
    async fn api_tokens(&self) -> Result<Vec<ApiTokenRow>>;
    async fn api_token(&self, token: Digest) -> Result<Option<ApiTokenRow>>;
    async fn revoke_api_token(&self, name: &str, actor: &Actor, now_ms: i64) -> Result<()>;
    /// The session and the audit row of its opening: both or neither.
    async fn create_web_session(&self, session: &WebSession, entry: &AuditEntry) -> Result<()>;
    async fn web_session(&self, session: Digest) -> Result<Option<WebSession>>;
    async fn end_web_session(&self, session: Digest) -> Result<()>;
    /// An audit row with no change of its own: a refused action.
    async fn audit(&self, entry: &AuditEntry) -> Result<()>;
    /// Newest first, before row `before`; with row ids.
    async fn audit_log(&self, before: Option<i64>, limit: u32) -> Result<Vec<(i64, AuditEntry)>>;
}

#[derive(Clone, Debug)]
pub struct NewApiToken {
    /// SHA-256 of the secret.
    pub token: Digest,
    pub name: String,
    pub role: String,
    pub expires_at_ms: i64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiTokenRow {
    #[serde(skip)]
    pub token: Digest,
    pub name: String,
    pub role: String,
    pub created_at_ms: i64,
    pub created_by: String,
    pub expires_at_ms: i64,
    pub revoked_at_ms: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct WebSession {
    /// SHA-256 of the cookie.
    pub session: Digest,
    pub api_token: Digest,
    /// SHA-256 of the CSRF token.
    pub csrf: Digest,
    /// At most the token's own.
    pub role: String,
    pub created_at_ms: i64,
    pub expires_at_ms: i64,
}

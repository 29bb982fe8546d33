//! Login links: each opens one session, once, for a short time.

use async_trait::async_trait;
use provost_model::Digest;

use super::{Actor, Result};

#[async_trait]
pub trait Logins: Send + Sync {
    async fn create_login_link(&self, link: &LoginLink, actor: &Actor, now_ms: i64) -> Result<()>;

    /// Uses the link up; its row and the use are one transaction, so that of any number of
    /// simultaneous uses one succeeds. None: unknown, used or expired.
    async fn use_login_link(&self, link: Digest, now_ms: i64) -> Result<Option<LoginLink>>;

    /// Forgets sessions and links that have expired.
    async fn sweep_logins(&self, now_ms: i64) -> Result<()>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginLink {
    /// SHA-256 of the secret.
    pub link: Digest,
    /// The token whose holder made it; the session ends with that token.
    pub api_token: Digest,
    /// Role of the session, at most the token's.
    pub role: String,
    pub created_at_ms: i64,
    pub expires_at_ms: i64,
}

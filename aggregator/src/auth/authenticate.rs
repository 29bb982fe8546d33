//! From a presented secret to a principal, by the store.
//!
//! Invariants: a session ends with the token that opened it (revoked, expired), and never holds
//! more than that token; nothing tells why a secret was refused.

use provost_model::Digest;

use super::role::Role;
use super::secret::{Kind, NoRandomness, Secret, hash_presented};
use super::{Principal, Via, csrf};
use crate::store::access::{ApiTokenRow, WebSession};
use crate::store::{self, Access, Actor, AuditEntry, Logins};

/// A day at the desk.
pub const SESSION_MS: i64 = 12 * 60 * 60 * 1000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// A signed-in browser.
#[derive(Debug)]
pub struct Opened {
    pub cookie: Secret,
    pub name: String,
    pub role: Role,
}

pub async fn by_token(
    store: &(impl Access + ?Sized),
    secret: &str,
    now_ms: i64,
) -> Result<Option<Principal>, store::Error> {
    let Some(hash) = hash_presented(Kind::ApiToken, secret) else { return Ok(None) };
    let found = live_token(store, hash, now_ms).await?;
    Ok(found.map(|(row, role)| Principal { name: row.name, role, via: Via::Token { hash } }))
}

pub async fn by_session(
    store: &(impl Access + ?Sized),
    cookie: &str,
    now_ms: i64,
) -> Result<Option<Principal>, store::Error> {
    let Some(hash) = hash_presented(Kind::Session, cookie) else { return Ok(None) };
    let Some(session) = store.web_session(hash).await? else { return Ok(None) };
    if session.expires_at_ms <= now_ms {
        return Ok(None);
    }
    let Some((row, token_role)) = live_token(store, session.api_token, now_ms).await? else {
        return Ok(None);
    };
    let Ok(session_role) = session.role.parse::<Role>() else { return Ok(None) };
    Ok(Some(Principal {
        name: row.name,
        role: session_role.min(token_role),
        via: Via::Session { token: session.api_token, csrf: csrf::token(cookie) },
    }))
}

/// Opens a session with the token's own role.
pub async fn sign_in_with_token(
    store: &(impl Access + ?Sized),
    secret: &str,
    now_ms: i64,
) -> Result<Option<Opened>, Error> {
    let Some(hash) = hash_presented(Kind::ApiToken, secret) else { return Ok(None) };
    let Some((row, role)) = live_token(store, hash, now_ms).await? else { return Ok(None) };
    open(store, &row, role, "token", now_ms).await.map(Some)
}

/// Uses the link up and opens a session with the link's role.
pub async fn sign_in_with_link(
    store: &(impl Access + Logins + ?Sized),
    secret: &str,
    now_ms: i64,
) -> Result<Option<Opened>, Error> {
    let Some(hash) = hash_presented(Kind::LoginLink, secret) else { return Ok(None) };
    let Some(link) = store.use_login_link(hash, now_ms).await? else { return Ok(None) };
    let Some((row, token_role)) = live_token(store, link.api_token, now_ms).await? else {
        return Ok(None);
    };
    let Ok(role) = link.role.parse::<Role>() else { return Ok(None) };
    open(store, &row, role.min(token_role), "link", now_ms).await.map(Some)
}

pub async fn sign_out(store: &(impl Access + ?Sized), cookie: &str) -> Result<(), store::Error> {
    match hash_presented(Kind::Session, cookie) {
        Some(hash) => store.end_web_session(hash).await,
        None => Ok(()),
    }
}

async fn open(
    store: &(impl Access + ?Sized),
    token: &ApiTokenRow,
    role: Role,
    by: &str,
    now_ms: i64,
) -> Result<Opened, Error> {
    let cookie = Secret::generate(Kind::Session)?;
    let session = WebSession {
        session: cookie.hash(),
        api_token: token.token,
        csrf: Digest::of(csrf::token(cookie.reveal()).as_bytes()),
        role: role.to_string(),
        created_at_ms: now_ms,
        expires_at_ms: token.expires_at_ms.min(now_ms + SESSION_MS),
    };
    let entry = AuditEntry {
        at_ms: now_ms,
        actor: Actor::token(&token.name),
        action: "session.open".to_owned(),
        target: "console".to_owned(),
        result: "ok".to_owned(),
        detail: by.to_owned(),
    };
    store.create_web_session(&session, &entry).await?;
    Ok(Opened { cookie, name: token.name.clone(), role })
}

async fn live_token(
    store: &(impl Access + ?Sized),
    hash: Digest,
    now_ms: i64,
) -> Result<Option<(ApiTokenRow, Role)>, store::Error> {
    let Some(row) = store.api_token(hash).await? else { return Ok(None) };
    if row.revoked_at_ms.is_some() || row.expires_at_ms <= now_ms {
        return Ok(None);
    }
    let role = row.role.parse::<Role>().map_err(|e| store::Error::corrupt("api_tokens", e))?;
    Ok(Some((row, role)))
}

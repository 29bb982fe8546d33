//! API tokens and login links: secrets that are shown once.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use provost_model::Code;
use serde::{Deserialize, Serialize};

use super::cursor::Scope;
use super::hub::Hub;
use super::page::{Body, Page, Paging, PathOf, Query};
use super::problem::Problem;
use crate::auth::secret::{Kind, Secret};
use crate::auth::{Principal, Role};
use crate::stamp::Stamp;
use crate::store::access::{ApiTokenRow, NewApiToken};
use crate::store::logins::LoginLink;

const MAX_NAME_BYTES: usize = 63;
const SECOND_MS: i64 = 1000;
/// A year: a token that outlives who made it is nobody's.
const MAX_API_TOKEN_S: i64 = 366 * 24 * 60 * 60;
const DEFAULT_API_TOKEN_S: i64 = 90 * 24 * 60 * 60;
const MAX_LOGIN_LINK_S: i64 = 15 * 60;
const DEFAULT_LOGIN_LINK_S: i64 = 5 * 60;

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenJson {
    pub name: String,
    pub role: String,
    pub created: Stamp,
    pub created_by: String,
    pub expires: Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Stamp>,
}

#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewTokenBody {
    /// Whose it is; stands in the audit log.
    pub name: String,
    pub role: Role,
    /// Seconds; 90 days where missing, a year at most.
    #[serde(default)]
    pub ttl_s: Option<i64>,
}

/// A secret, shown once and kept only as its hash.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedToken {
    pub token: String,
    pub expires: Stamp,
}

#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoginLinkBody {
    /// Role of the session; never more than that of the token which asks.
    #[serde(default = "viewer")]
    pub role: Role,
    /// Seconds; 5 minutes where missing, 15 at most.
    #[serde(default)]
    pub ttl_s: Option<i64>,
}

#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedLink {
    /// Path on this hub; opens one session, once.
    pub path: String,
    pub expires: Stamp,
}

fn viewer() -> Role {
    Role::Viewer
}

#[utoipa::path(get, path = "/api/v1/tokens", tag = "access",
    params(Paging),
    responses((status = 200, body = Page<TokenJson>), (status = "default", body = Problem)))]
pub async fn list(
    State(hub): State<Hub>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<TokenJson>>, Problem> {
    let rows = hub.store.api_tokens().await?;
    let show = |row: ApiTokenRow| TokenJson {
        name: row.name,
        role: row.role,
        created: Stamp(row.created_at_ms),
        created_by: row.created_by,
        expires: Stamp(row.expires_at_ms),
        revoked: row.revoked_at_ms.map(Stamp),
    };
    let key = |row: &ApiTokenRow| (row.created_at_ms, row.token.short());
    Page::of_whole(rows, &paging, &Scope::new("tokens", &()), key, show).map(Json)
}

#[utoipa::path(post, path = "/api/v1/tokens", tag = "access", request_body = NewTokenBody,
    responses((status = 201, body = IssuedToken), (status = "default", body = Problem)))]
pub async fn create(
    State(hub): State<Hub>,
    principal: Principal,
    Body(body): Body<NewTokenBody>,
) -> Result<(StatusCode, Json<IssuedToken>), Problem> {
    let ttl_ms = ttl_ms(body.ttl_s, DEFAULT_API_TOKEN_S, MAX_API_TOKEN_S)?;
    let secret = Secret::generate(Kind::ApiToken).map_err(|error| Problem::internal(&error))?;
    let now = hub.now();
    let token = NewApiToken {
        token: secret.hash(),
        name: name(&body.name)?,
        role: body.role.to_string(),
        expires_at_ms: now.0 + ttl_ms,
    };
    let made = hub.store.create_api_token(&token, &principal.actor(), now.0).await;
    made.map_err(|error| match Problem::from(error) {
        taken if taken.code == Code::Conflict => {
            taken.help("choose another name, or end the token of that name first")
        }
        other => other,
    })?;
    let token = IssuedToken { token: secret.reveal().to_owned(), expires: Stamp(now.0 + ttl_ms) };
    Ok((StatusCode::CREATED, Json(token)))
}

#[utoipa::path(delete, path = "/api/v1/tokens/{name}", tag = "access",
    params(("name" = String, Path)),
    responses((status = 204), (status = "default", body = Problem)))]
pub async fn revoke(
    State(hub): State<Hub>,
    principal: Principal,
    PathOf(name): PathOf<String>,
) -> Result<StatusCode, Problem> {
    hub.store.revoke_api_token(&name, &principal.actor(), hub.now().0).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(post, path = "/api/v1/login-links", tag = "access", request_body = LoginLinkBody,
    responses((status = 201, body = IssuedLink), (status = "default", body = Problem)))]
pub async fn create_login_link(
    State(hub): State<Hub>,
    principal: Principal,
    Body(body): Body<LoginLinkBody>,
) -> Result<(StatusCode, Json<IssuedLink>), Problem> {
    let ttl_ms = ttl_ms(body.ttl_s, DEFAULT_LOGIN_LINK_S, MAX_LOGIN_LINK_S)?;
    let secret = Secret::generate(Kind::LoginLink).map_err(|error| Problem::internal(&error))?;
    let now = hub.now();
    let link = LoginLink {
        link: secret.hash(),
        api_token: principal.token_hash(),
        role: body.role.min(principal.role).to_string(),
        created_at_ms: now.0,
        expires_at_ms: now.0 + ttl_ms,
    };
    hub.store.sweep_logins(now.0).await?;
    hub.store.create_login_link(&link, &principal.actor(), now.0).await?;
    let path = format!("/login/once/{}", secret.reveal());
    Ok((StatusCode::CREATED, Json(IssuedLink { path, expires: Stamp(now.0 + ttl_ms) })))
}

fn ttl_ms(asked_s: Option<i64>, default_s: i64, max_s: i64) -> Result<i64, Problem> {
    match asked_s.unwrap_or(default_s) {
        ttl_s if (1..=max_s).contains(&ttl_s) => Ok(ttl_s * SECOND_MS),
        _ => Err(Problem::invalid(format!("ttlS must be from 1 to {max_s} seconds"))),
    }
}

/// Names stand in logs, pages and audit rows: plain characters only.
pub(super) fn name(text: &str) -> Result<String, Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if text.is_empty() || text.len() > MAX_NAME_BYTES || !text.chars().all(plain) {
        return Err(Problem::invalid(format!(
            "name: use 1 to {MAX_NAME_BYTES} letters, digits and any of - _ . @"
        )));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_and_names_are_limited() {
        assert_eq!(ttl_ms(None, 10, 20), Ok(10_000));
        assert!(ttl_ms(Some(0), 10, 20).is_err());
        assert!(ttl_ms(Some(21), 10, 20).is_err());
        assert!(name("ci@example.org").is_ok());
        assert!(name("a b").is_err());
        assert!(name("\u{1b}[31m").is_err());
    }
}

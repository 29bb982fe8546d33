//! Signing in and out: with a token pasted into a form, or with a link that works once.

use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use provost_model::Code;
use serde::Deserialize;

use super::shell::{Html, Message};
use crate::api::gate::{find_cookie, session_cookie};
use crate::api::hub::Hub;
use crate::api::page::Query;
use crate::api::problem::Problem;
use crate::auth::authenticate::{self, Opened, SESSION_MS};
use crate::auth::cookie::Cookie;
use crate::auth::csrf;
use crate::auth::secret::{Kind, Secret};
use crate::link::local_path;
use crate::store::{Actor, AuditEntry};

/// A form left open over lunch still works.
const LOGIN_COOKIE_AGE: Duration = Duration::from_secs(60 * 60);

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    message: String,
    csrf: String,
    next: String,
}

#[derive(Deserialize)]
pub struct LoginQuery {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub struct LoginForm {
    #[serde(default)]
    csrf: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    next: String,
}

pub async fn form(
    State(hub): State<Hub>,
    Query(query): Query<LoginQuery>,
) -> Result<Response, Problem> {
    show_form(&hub, StatusCode::OK, String::new(), &query.next)
}

/// A fresh cookie each time: the token in the form is derived from it.
fn show_form(
    hub: &Hub,
    status: StatusCode,
    message: String,
    next: &str,
) -> Result<Response, Problem> {
    let secret = Secret::generate(Kind::Login).map_err(|error| Problem::internal(&error))?;
    let page = LoginPage {
        message,
        csrf: csrf::token(secret.reveal()),
        next: local_path(next).to_owned(),
    };
    let cookie = Cookie::Login.set(hub.transport, secret.reveal(), LOGIN_COOKIE_AGE);
    Ok((status, set_cookies(&[cookie])?, Html(page)).into_response())
}

pub async fn submit(
    State(hub): State<Hub>,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Result<Response, Problem> {
    let expected = find_cookie(&headers, Cookie::Login, hub.transport).map(csrf::token);
    if !expected.is_some_and(|expected| csrf::matches(&expected, &form.csrf)) {
        let message = "The form was out of date; nothing was sent on. Please try again.".to_owned();
        return show_form(&hub, StatusCode::FORBIDDEN, message, &form.next);
    }
    let now_ms = hub.now().0;
    let opened = authenticate::sign_in_with_token(&*hub.store, form.token.trim(), now_ms).await;
    match opened.map_err(|error| Problem::internal(&error))? {
        Some(opened) => enter(&hub, &opened, local_path(&form.next)),
        None => {
            audit_refusal(&hub, "token").await?;
            let message = "That token is not known here, or it has expired.".to_owned();
            show_form(&hub, StatusCode::UNAUTHORIZED, message, &form.next)
        }
    }
}

/// A HEAD, as link previews send it, does not use the link up.
pub async fn once(
    State(hub): State<Hub>,
    method: Method,
    Path(secret): Path<String>,
) -> Result<Response, Problem> {
    if method == Method::HEAD {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let now_ms = hub.now().0;
    let opened = authenticate::sign_in_with_link(&*hub.store, &secret, now_ms).await;
    match opened.map_err(|error| Problem::internal(&error))? {
        Some(opened) => enter(&hub, &opened, "/"),
        None => {
            audit_refusal(&hub, "link").await?;
            let page = Message {
                title: "This link no longer works".to_owned(),
                detail: "It was used before, has expired, or was never made here.".to_owned(),
                help: "Links sign in once. Sign in with a token, or have a new link made."
                    .to_owned(),
                href: "/login".to_owned(),
                link: "Sign in".to_owned(),
            };
            Ok((StatusCode::UNAUTHORIZED, Html(page)).into_response())
        }
    }
}

pub async fn sign_out(State(hub): State<Hub>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(cookie) = session_cookie(&headers, hub.transport) {
        authenticate::sign_out(&*hub.store, cookie).await?;
    }
    let cookies = set_cookies(&[Cookie::Session.clear(hub.transport)])?;
    Ok((cookies, Redirect::to("/login")).into_response())
}

fn enter(hub: &Hub, opened: &Opened, next: &str) -> Result<Response, Problem> {
    let age = Duration::from_millis(u64::try_from(SESSION_MS).unwrap_or(0));
    let cookies = set_cookies(&[
        Cookie::Session.set(hub.transport, opened.cookie.reveal(), age),
        Cookie::Login.clear(hub.transport),
    ])?;
    Ok((cookies, Redirect::to(next)).into_response())
}

fn set_cookies(cookies: &[String]) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::new();
    for cookie in cookies {
        let value = HeaderValue::from_str(cookie).map_err(|error| Problem::internal(&error))?;
        headers.append(header::SET_COOKIE, value);
    }
    Ok(headers)
}

/// A sign-in that succeeds is audited with the session that it opens.
async fn audit_refusal(hub: &Hub, by: &str) -> Result<(), Problem> {
    let entry = AuditEntry {
        at_ms: hub.now().0,
        actor: Actor("anonymous".to_owned()),
        action: "session.open".to_owned(),
        target: "console".to_owned(),
        result: Code::Unauthenticated.as_str().to_owned(),
        detail: by.to_owned(),
    };
    Ok(hub.store.audit(&entry).await?)
}

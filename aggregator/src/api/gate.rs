//! The gate before every route: who is asking, and is the request really theirs.
//!
//! Invariants: what is not on the short list of open routes is refused without a principal, also
//! paths that do not exist; a request that changes something and is authenticated by a cookie
//! carries the session's forgery token; pages and answers of one fleet are never cached.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use provost_model::Code;

use super::hub::Hub;
use super::problem::Problem;
use super::routes::{Access, Route};
use crate::auth::cookie::{Cookie, Transport};
use crate::auth::{Principal, Via, authenticate, csrf};
use crate::store;

/// Forms are small; API calls of a browser session send the token as a header.
const MAX_FORM_BYTES: usize = 64 * 1024;
const CSRF_HEADER: &str = "x-csrf-token";
const CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'";

/// What the gate needs to know.
#[derive(Clone)]
pub struct Gate {
    hub: Hub,
    open: std::sync::Arc<[(Method, &'static str)]>,
}

impl Gate {
    #[must_use]
    pub fn new(hub: Hub, routes: &[Route]) -> Self {
        let open = routes
            .iter()
            .filter(|route| route.access == Access::Open)
            .map(|route| (route.method.clone(), route.path))
            .collect();
        Self { hub, open }
    }

    /// HEAD is answered by the route of GET.
    fn is_open(&self, request: &Request) -> bool {
        let Some(path) = request.extensions().get::<MatchedPath>() else { return false };
        let method = match *request.method() {
            Method::HEAD => &Method::GET,
            ref other => other,
        };
        self.open.iter().any(|(m, p)| m == method && *p == path.as_str())
    }
}

/// The outermost layer.
pub async fn gate(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let wants_page = !request.uri().path().starts_with("/api/");
    let principal = match identify(&gate.hub, request.headers()).await {
        Ok(principal) => principal,
        Err(error) => return secure(Problem::from(error).into_response(), &gate.hub),
    };
    let open = gate.is_open(&request);
    let Some(principal) = principal else {
        let response = if open {
            next.run(request).await
        } else if wants_page && request.method() == Method::GET {
            Redirect::to(&login_location(&request)).into_response()
        } else {
            Problem::unauthenticated().into_response()
        };
        return secure(response, &gate.hub);
    };
    if !open {
        request = match check_forgery(&principal, request).await {
            Ok(request) => request,
            Err(problem) => return secure(problem.into_response(), &gate.hub),
        };
    }
    request.extensions_mut().insert(principal);
    secure(next.run(request).await, &gate.hub)
}

async fn identify(hub: &Hub, headers: &HeaderMap) -> Result<Option<Principal>, store::Error> {
    let now_ms = hub.now().0;
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        let Some(token) = token else { return Ok(None) };
        return authenticate::by_token(&*hub.store, token.trim(), now_ms).await;
    }
    match session_cookie(headers, hub.transport) {
        Some(cookie) => authenticate::by_session(&*hub.store, cookie, now_ms).await,
        None => Ok(None),
    }
}

/// The session's secret, where exactly one cookie of the name came.
#[must_use]
pub fn session_cookie(headers: &HeaderMap, transport: Transport) -> Option<&str> {
    find_cookie(headers, Cookie::Session, transport)
}

/// HTTP/2 may send several `Cookie` headers; a cookie that stands in two of them does not count.
#[must_use]
pub fn find_cookie(headers: &HeaderMap, cookie: Cookie, transport: Transport) -> Option<&str> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| cookie.find(transport, value.to_str().ok()?));
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

fn login_location(request: &Request) -> String {
    let wanted = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if wanted == "/" {
        "/login".to_owned()
    } else {
        format!("/login?next={}", crate::link::encode(wanted))
    }
}

async fn check_forgery(principal: &Principal, request: Request) -> Result<Request, Problem> {
    let Via::Session { csrf: expected, .. } = &principal.via else { return Ok(request) };
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(request);
    }
    let refused = || {
        Problem::new(Code::Forbidden, "the request does not carry this session's forgery token")
            .help("reload the page and send the form again; programs use `Authorization: Bearer`")
    };
    if let Some(sent) = request.headers().get(CSRF_HEADER) {
        let matches = sent.to_str().is_ok_and(|sent| csrf::matches(expected, sent));
        return if matches { Ok(request) } else { Err(refused()) };
    }
    if !is_form(request.headers()) {
        return Err(refused());
    }
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_FORM_BYTES)
        .await
        .map_err(|_| Problem::new(Code::TooLarge, "the form is too large"))?;
    let sent = form_field(&bytes, "csrf");
    if sent.is_some_and(|sent| csrf::matches(expected, &sent)) {
        Ok(Request::from_parts(parts, Body::from(bytes)))
    } else {
        Err(refused())
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| {
        kind.split(';').next().map(str::trim) == Some("application/x-www-form-urlencoded")
    })
}

/// The value where the field stands exactly once. Forgery tokens are hex: nothing to decode.
fn form_field(body: &Bytes, name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let mut values =
        text.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
    let (_, value) = values.next()?;
    values.next().is_none().then(|| value.to_owned())
}

/// Headers of every answer.
fn secure(mut response: Response, hub: &Hub) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if hub.transport == Transport::Tls {
        let value = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    response
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::unauthenticated)
    }
}

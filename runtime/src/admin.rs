//! The admin port: health, readiness, metrics and the daemon's own pages, on loopback only.
//!
//! Invariant: nothing here listens on an address that another machine reaches; it has no
//! authentication, because who can connect is on the machine already.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Registry;

/// What a daemon needs to do its work, part by part.
#[derive(Clone, Debug, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, Part>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub healthy: bool,
    /// Whether the daemon is unready without it.
    pub required: bool,
    pub detail: String,
}

impl Health {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A part without which the daemon is not ready.
    pub fn set(&self, part: &'static str, healthy: bool, detail: impl Into<String>) {
        self.put(part, Part { healthy, required: true, detail: detail.into() });
    }

    /// A part that is shown, and never makes the daemon unready.
    pub fn set_optional(&self, part: &'static str, healthy: bool, detail: impl Into<String>) {
        self.put(part, Part { healthy, required: false, detail: detail.into() });
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.parts().values().all(|part| part.healthy || !part.required)
    }

    #[must_use]
    pub fn parts(&self) -> BTreeMap<&'static str, Part> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, name: &'static str, part: Part) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(name, part);
    }

    fn text(&self) -> String {
        let line = |(name, part): (&&str, &Part)| {
            let word = if part.healthy { "ok" } else { "not ok" };
            let detail = if part.detail.is_empty() { "" } else { ": " };
            format!("{name} {word}{detail}{}\n", part.detail)
        };
        self.parts().iter().map(line).collect()
    }
}

/// Binds the admin port; refuses any address that is not loopback.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    if !address.ip().is_loopback() {
        let message = format!("the admin port listens on loopback only, not on {address}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    TcpListener::bind(address).await
}

/// `/healthz`, `/readyz` and `/metrics` beside the daemon's own routes.
pub fn router(health: Health, registry: Registry, extra: Router) -> Router {
    let own = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state((health, registry));
    own.merge(extra).layer(axum::middleware::from_fn(local_only))
}

async fn readyz(State((health, _)): State<(Health, Registry)>) -> (StatusCode, String) {
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, health.text())
}

async fn metrics(State((_, registry)): State<(Health, Registry)>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], registry.render()).into_response()
}

/// A browser on this machine must not be led here by a foreign page: the host asked for is loopback.
async fn local_only(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let remote = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let local = remote.is_none_or(|address| address.ip().is_loopback()) && is_loopback_host(&host);
    if local {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "the admin port answers to loopback names only\n").into_response()
    }
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::ServiceExt as _;

    async fn ask(router: &Router, path: &str, host: &str) -> (StatusCode, String) {
        let request = Request::builder().uri(path).header("host", host);
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 65_536).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_follows_required_parts() {
        let (health, registry) = (Health::new(), Registry::new());
        registry.counter("x_total", "X.", &[]).increment();
        let router = router(health.clone(), registry, Router::new());
        health.set_optional("hub", false, "away");
        assert_eq!(ask(&router, "/readyz", "127.0.0.1:1").await.0, StatusCode::OK);
        health.set("bundle", false, "none yet");
        let (status, text) = ask(&router, "/readyz", "localhost").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(text, "bundle not ok: none yet\nhub not ok: away\n");
        assert_eq!(ask(&router, "/healthz", "[::1]:80").await.0, StatusCode::OK);
        assert!(ask(&router, "/metrics", "localhost").await.1.contains("x_total 1"));
    }

    #[tokio::test]
    async fn foreign_names_and_addresses_are_refused() {
        let router = router(Health::new(), Registry::new(), Router::new());
        assert_eq!(ask(&router, "/healthz", "evil.example").await.0, StatusCode::FORBIDDEN);
        assert_eq!(ask(&router, "/healthz", "").await.0, StatusCode::FORBIDDEN);
        let error = bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(bind("127.0.0.1:0".parse().unwrap()).await.is_ok());
    }
}

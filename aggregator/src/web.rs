//! The hub's web listener: API and pages behind one gate.
//!
//! Invariants: nothing answers before the gate (what lies around it only changes how a problem looks); an address that
//! another machine reaches is served with TLS or not at all.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;

use crate::api::gate::{Gate, gate};
use crate::api::hub::Hub;
use crate::api::problem::Problem;
use crate::api::routes::{Route, Table};
use crate::auth::cookie::Transport;
use crate::{api, ui};

/// The router to serve, and the routes it was built from.
pub fn router(hub: Hub) -> (Router, Vec<Route>) {
    let (router, routes) = ui::mount(api::mount(Table::default())).into_parts();
    let state = Gate::new(hub.clone(), &routes);
    let router = router
        .fallback(|| async { Problem::not_found("page") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(api::body_limit())
        .layer(middleware::from_fn_with_state(state, gate))
        .layer(middleware::from_fn(problems_as_pages))
        .with_state(hub);
    (router, routes)
}

/// Who asked for a page gets pages; programs and forms of the API get problem documents.
async fn problems_as_pages(request: Request, next: Next) -> Response {
    let page = !request.uri().path().starts_with("/api/");
    let response = next.run(request).await;
    if page { ui::shell::as_page(response) } else { response }
}

/// Plain text would show tokens and cookies to everybody on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} can be reached from other machines: give the web listener a certificate (TLS), or a loopback address"
)]
pub struct NeedsTls(pub SocketAddr);

/// Whether `address` may be served with `transport`.
pub fn check_listener(address: SocketAddr, transport: Transport) -> Result<(), NeedsTls> {
    if transport == Transport::Tls || address.ip().is_loopback() {
        Ok(())
    } else {
        Err(NeedsTls(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_loopback_goes_without_tls() {
        for (address, transport, allowed) in [
            ("127.0.0.1:8080", Transport::Plain, true),
            ("[::1]:8080", Transport::Plain, true),
            ("0.0.0.0:8080", Transport::Plain, false),
            ("[::]:8080", Transport::Plain, false),
            ("192.0.2.1:8080", Transport::Plain, false),
            ("0.0.0.0:8443", Transport::Tls, true),
        ] {
            let checked = check_listener(address.parse().unwrap(), transport);
            assert_eq!(checked.is_ok(), allowed, "{address}");
        }
    }
}

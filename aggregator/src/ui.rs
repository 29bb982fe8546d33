//! The console: pages rendered here, complete without script.
//!
//! Invariants: all text that came from outside goes through the template engine's escaping; no
//! page has script, inline style, or anything from another site; every number is a link to the
//! rows that make it, with the same total.

pub mod assets;
pub mod login;
pub mod shell;

use axum::response::Redirect;

use crate::api::routes::{Access, Table};
use crate::auth::Role;

const VIEWER: Access = Access::Needs(Role::Viewer);

/// Mounts the pages.
#[must_use]
pub fn mount(table: Table) -> Table {
    table
        .get("/healthz", Access::Open, || async { "ok\n" })
        .get("/static/{file}", Access::Open, assets::file)
        .get("/favicon.ico", Access::Open, || async { Redirect::permanent("/static/favicon.svg") })
        .get("/login", Access::Open, login::form)
        .post("/login", Access::Open, login::submit)
        .get("/login/once/{secret}", Access::Open, login::once)
        .post("/login/once/{secret}", Access::Open, login::once)
        .post("/logout", VIEWER, login::sign_out)
}

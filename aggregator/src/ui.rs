//! The console: pages rendered here, complete without script.
//!
//! Invariants: all text that came from outside goes through the template engine's escaping; no
//! page has script, inline style, or anything from another site; every number is a link to the
//! rows that make it, with the same total.

pub mod assets;
pub mod audit;
pub mod bundles;
pub mod causes;
pub mod cluster;
pub mod clusters;
pub mod finding;
pub mod findings;
pub mod fleet;
pub mod gaps;
pub mod login;
pub mod shell;
pub mod verdicts;

use axum::response::Redirect;

use crate::api::routes::{Access, Table};
use crate::auth::Role;

const VIEWER: Access = Access::Needs(Role::Viewer);
const OPERATOR: Access = Access::Needs(Role::Operator);

/// Mounts the pages.
#[must_use]
pub fn mount(table: Table) -> Table {
    let table = table
        .get("/healthz", Access::Open, || async { "ok\n" })
        .get("/static/{file}", Access::Open, assets::file)
        .get("/favicon.ico", Access::Open, || async { Redirect::permanent("/static/favicon.svg") })
        .get("/login", Access::Open, login::form)
        .post("/login", Access::Open, login::submit)
        .get("/login/once/{secret}", Access::Open, login::once)
        .post("/login/once/{secret}", Access::Open, login::once)
        .post("/logout", VIEWER, login::sign_out);
    table
        .get("/", VIEWER, fleet::page)
        .get("/clusters", VIEWER, clusters::page)
        .get("/clusters/{cluster}", VIEWER, cluster::page)
        .post("/clusters/{cluster}/approve", OPERATOR, cluster::approve)
        .post("/clusters/{cluster}/revoke", OPERATOR, cluster::revoke)
        .get("/findings", VIEWER, findings::page)
        .get("/findings/{cluster}/{binding}/{fingerprint}", VIEWER, finding::page)
        .get("/verdicts", VIEWER, verdicts::page)
        .get("/not-evaluated", VIEWER, verdicts::without)
        .get("/gaps", VIEWER, gaps::page)
        .get("/bundles", VIEWER, bundles::page)
        .get("/audit", VIEWER, audit::page)
}

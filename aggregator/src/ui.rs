//! The console: pages rendered here, complete without script.
//!
//! Invariants: all text that came from outside goes through the template engine's escaping; no
//! page has script, inline style, or anything from another site; every number is a link to the
//! rows that make it, with the same total.

pub mod assets;
pub mod audit;
pub mod bundles;
pub mod causes;
pub mod chip;
pub mod cluster;
pub mod clusters;
pub mod finding;
pub mod findings;
pub mod fleet;
pub mod gaps;
pub mod login;
pub mod shell;
pub mod verdicts;
pub mod words;

use axum::response::Redirect;
use utoipa::IntoParams;

use crate::api::clusters::ClusterQuery;
use crate::api::fleet::OfCluster;
use crate::api::page::Paging;
use crate::api::parameters::{self, Parameter};
use crate::api::query::RowQuery;
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
        .page("/", VIEWER, none(), fleet::page)
        .page("/clusters", VIEWER, paged::<ClusterQuery>(), clusters::page)
        .page("/clusters/{cluster}", VIEWER, none(), cluster::page)
        .post("/clusters/{cluster}/approve", OPERATOR, cluster::approve)
        .post("/clusters/{cluster}/revoke", OPERATOR, cluster::revoke)
        .page("/findings", VIEWER, paged::<RowQuery>(), findings::page)
        .page("/findings/{cluster}/{binding}/{fingerprint}", VIEWER, none(), finding::page)
        .page("/verdicts", VIEWER, paged::<RowQuery>(), verdicts::page)
        .page("/not-evaluated", VIEWER, of::<OfCluster>(), verdicts::without)
        .page("/gaps", VIEWER, none(), gaps::page)
        .page("/bundles", VIEWER, none(), bundles::page)
        .page("/audit", VIEWER, of::<Paging>(), audit::page)
}

const fn none() -> Vec<Parameter> {
    Vec::new()
}

/// The fields of `T`.
fn of<T: IntoParams>() -> Vec<Parameter> {
    parameters::documented(&T::into_params(|| None))
}

/// The fields of `T`, and which page.
fn paged<T: IntoParams>() -> Vec<Parameter> {
    let mut known = of::<T>();
    known.extend(of::<Paging>());
    known
}

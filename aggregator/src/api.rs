//! The REST API under `/api/v1`: the machine's way to everything the pages show and more.
//!
//! Invariants: every route is mounted with the access it needs (`routes`); every error is a
//! problem document with a stable code; every list says its exact total and goes on by cursor.

pub mod bundles;
pub mod cluster_detail;
pub mod clusters;
pub mod cursor;
pub mod enrol_tokens;
pub mod evidence;
pub mod findings;
pub mod fleet;
pub mod gate;
pub mod hub;
pub mod observed;
pub mod openapi;
pub mod page;
pub mod parameters;
pub mod ports;
pub mod problem;
pub mod query;
pub mod rollups;
pub mod routes;
pub mod tokens;
pub mod view;

use axum::extract::DefaultBodyLimit;

use crate::auth::Role;
use routes::{Access, Table};

const VIEWER: Access = Access::Needs(Role::Viewer);
const OPERATOR: Access = Access::Needs(Role::Operator);
const ADMIN: Access = Access::Needs(Role::Admin);

/// Mounts the API.
#[must_use]
pub fn mount(table: Table) -> Table {
    let table = table
        .get("/api/v1/openapi.json", VIEWER, openapi::document)
        .get("/api/v1/fleet", VIEWER, fleet::fleet)
        .get("/api/v1/rollups/policies", VIEWER, rollups::policies)
        .get("/api/v1/rollups/controls", VIEWER, rollups::controls)
        .get("/api/v1/hub", VIEWER, fleet::facts)
        .get("/api/v1/gaps", VIEWER, fleet::gaps)
        .get("/api/v1/not-evaluated", VIEWER, fleet::without_verdict)
        .get("/api/v1/clusters", VIEWER, clusters::clusters)
        .get("/api/v1/clusters/{cluster}", VIEWER, clusters::cluster)
        .get("/api/v1/findings", VIEWER, findings::findings)
        .get("/api/v1/causes", VIEWER, findings::causes)
        .get("/api/v1/verdicts", VIEWER, findings::verdicts)
        .get("/api/v1/findings/{cluster}/{binding}/{fingerprint}", VIEWER, findings::finding)
        .get("/api/v1/bundles", VIEWER, bundles::list)
        .get("/api/v1/bundles/{manifest}", VIEWER, bundles::one)
        .get("/api/v1/clusters/{cluster}/batches", VIEWER, evidence::batches)
        .get("/api/v1/clusters/{cluster}/heartbeats", VIEWER, evidence::heartbeats)
        .get("/api/v1/grants", VIEWER, evidence::grants)
        .get("/api/v1/roots", VIEWER, evidence::roots)
        .get("/api/v1/manifests", VIEWER, evidence::manifests)
        .get("/api/v1/audit", VIEWER, evidence::audit);
    table
        .post("/api/v1/clusters/{cluster}/approve", OPERATOR, clusters::approve)
        .post("/api/v1/clusters/{cluster}/revoke", OPERATOR, clusters::revoke)
        .post(
            "/api/v1/clusters/{cluster}/instances/{instance}/release",
            OPERATOR,
            clusters::release,
        )
        .get("/api/v1/enrol-tokens", OPERATOR, enrol_tokens::list_enrol)
        .post("/api/v1/enrol-tokens", OPERATOR, enrol_tokens::create_enrol)
        .post_large("/api/v1/bundles", OPERATOR, bundles::MAX_BODY_BYTES, bundles::publish)
        .get("/api/v1/tokens", ADMIN, tokens::list)
        .post("/api/v1/tokens", ADMIN, tokens::create)
        .delete("/api/v1/tokens/{name}", ADMIN, tokens::revoke)
        .post("/api/v1/login-links", ADMIN, tokens::create_login_link)
}

/// Of every body but bundles.
pub fn body_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(256 * 1024)
}

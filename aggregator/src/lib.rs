//! The hub: sessions in, state and roll-up kept, bundles out.
//!
//! A module calls only to its right: session -> ingest -> store -> tally -> api -> ui, and
//! bundles -> session. Nothing here ever sees an object of a cluster.

pub mod api;
pub mod auth;
pub mod bundles;
pub mod ca;
pub mod config;
pub mod enrol;
pub mod hub;
pub mod ingest;
pub mod intake;
pub mod link;
pub mod liveness;
pub mod metrics;
pub mod open_sessions;
pub mod operate;
pub mod refusal;
pub mod retention;
pub mod run;
pub mod session;
pub mod stamp;
pub mod store;
pub mod tally;
pub mod ui;
pub mod web;

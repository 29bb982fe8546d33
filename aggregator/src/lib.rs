//! The hub: sessions in, state and roll-up kept, bundles out.
//!
//! A module calls only to its right: session -> ingest -> store -> rollup -> api -> ui, and
//! bundles -> session. Nothing here ever sees an object of a cluster.

pub mod api;
pub mod auth;
pub mod link;
pub mod stamp;
pub mod store;
pub mod tally;
pub mod ui;
pub mod web;

//! Every signed object, accepted as it should be and refused for every reason there is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says so by failing"
)]

mod fleet;

mod assignments;
mod envelopes;
mod exemption_sets;
mod file_sets;
mod golden;
mod grants;
mod manifests;
mod properties;
mod roots;
mod state;

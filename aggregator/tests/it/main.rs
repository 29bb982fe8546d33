//! Tests of the hub against its real parts: the store's conformance suite, and a hub with agents over TLS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod agent;
mod chain;
mod conformance;
mod console;
mod gate;
mod hub;
mod limits;
mod newer;
mod offers;
mod reentry;
mod signer;

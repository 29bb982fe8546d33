//! Tests of the hub against its real parts: the store's conformance suite, and a hub with agents over TLS.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod chain;
mod conformance;

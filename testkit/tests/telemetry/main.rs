//! Telemetry of the daemons as processes: what a real OTLP receiver gets of them, what they expose, and what is in
//! none of it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod canary;
mod colour;
mod export;
mod fleet;
mod lines;
mod metrics;
mod receiver;

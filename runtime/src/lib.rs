//! Process plumbing that both daemons share: settings, shutdown, tasks, clock, certificates, TLS,
//! the admin port, metrics and telemetry.
//!
//! Knows nothing of policies, records or the wire. Time, randomness and the environment enter the
//! daemons here and nowhere else.

pub mod admin;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod errors;
pub mod metrics;
pub mod pki;
pub mod process;
pub mod shutdown;
pub mod spiffe;
pub mod tasks;
pub mod telemetry;
pub mod tls;
pub mod web;

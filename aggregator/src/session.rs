//! The agents' side of the hub: one gRPC service on its own listener, one stream per agent.
//!
//! Invariants: every call but Enrol and Reenter is by an issued, unexpired, unrevoked certificate of an APPROVED cluster,
//! looked up for each call and every 5 s on open streams; a batch is acknowledged only after it is durable; limits hold
//! before anything is decoded; the hub ends each session and connection at its own jittered age.

mod behind;
mod by_method;
pub mod connection;
pub mod identity;
mod resume;
pub mod server;
pub mod service;
mod stream;

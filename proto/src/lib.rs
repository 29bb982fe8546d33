//! The wire: generated code of `proto/provost/v1/*.proto`, and the checked conversions between it
//! and `model`.
//!
//! Invariants: a record is encoded once, here, and the bytes are what everybody hashes, signs,
//! stores and exports; decoding checks every enum, length and limit, and never panics on any
//! bytes; nothing else in the workspace touches a generated field that a conversion covers.

pub mod batch;
pub mod elision;
pub mod enrol;
mod enums;
pub mod envelope;
mod error;
mod fields;
pub mod heartbeat;
pub mod hello;
pub mod policy_set;
pub mod record;
pub mod session;
pub mod status;
mod subject;
pub mod token;
pub mod transport;
mod verdict;

pub use error::Error;
pub use prost::Message;

/// Generated from `proto/provost/v1/*.proto`.
#[allow(clippy::all, clippy::pedantic, clippy::disallowed_methods, missing_docs)]
pub mod v1 {
    tonic::include_proto!("provost.v1");
}

/// The protocol's version, as Hello carries it.
pub const PROTOCOL_VERSION: u32 = 1;

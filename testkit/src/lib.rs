//! What tests need beyond the crates themselves: real parts, started and stopped.
//!
//! Nothing here is part of the product; every crate may use it, as a dev-dependency only.

pub mod available;
pub mod controlplane;
pub mod daemon;
pub mod fault_proxy;
pub mod marked;
pub mod processes;
pub mod wait;

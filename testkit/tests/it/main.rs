//! Tests over the whole workspace: the rules of the tree, and the parts working together.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod admission;
mod api;
mod cluster_source;
mod decoders;
mod deploy;
mod fleet;
mod library;
mod one_verdict;
mod opa;
mod tidy;

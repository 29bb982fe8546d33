//! Policy trees from text to bundle and back, and every complaint on the way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says so by failing"
)]

mod tree;

mod built;
mod effective;
mod library;
mod properties;
mod source;

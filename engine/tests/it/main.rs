//! The engine from outside: held to OPA's answers, to its limits, and to hostile input.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cases;
mod evaluator;
mod fuzz;
mod idioms;
mod imports;
mod library;
mod oracle;
mod set;

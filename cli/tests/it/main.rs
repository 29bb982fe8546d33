//! The built program, run as people run it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bench;
mod demo;
mod exit_codes;
mod fleet;
mod help;
mod policy_tests;
mod program;
mod scan;
mod scan_bundles;
mod scan_corpus;
mod trust;
mod verify_reports;

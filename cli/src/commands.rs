//! One module a command: its arguments with examples, and `run`.
pub mod agent;
pub mod bench;
pub mod bundle;
pub mod demo;
pub mod doctor;
pub mod fleet;
pub mod keys;
pub mod root;
pub mod scan;
pub mod test;
pub mod verify_reports;

//! The REST API under `/api/v1`: the machine's way to everything the pages show.

pub mod cursor;
pub mod problem;

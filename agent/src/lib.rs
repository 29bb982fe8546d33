//! The agent: what a cluster runs to know whether it keeps to its policies, and to report it.

pub mod admission;
pub mod cluster;
pub mod report;
pub mod source;

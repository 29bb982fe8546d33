//! The agent: what a cluster runs to know whether it keeps to its policies, and to report it.

pub mod admission;
pub mod bundles;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod damage;
pub mod disk;
pub mod evaluate;
pub mod heap;
pub mod identity;
pub mod key;
pub mod metrics;
pub mod plane;
pub mod ports;
pub mod report;
pub mod run;
pub mod simulate;
pub mod source;
pub mod spool;
pub mod state;
pub mod status;
mod traced;
pub mod trust_state;
pub mod uplink;

//! The line on a bad day: processes that are killed, links that break, disks that fill, peers that lie.
//!
//! Every test names its scenario and what it guarantees. The daemons are real processes.
#![cfg(test)]

mod crash;
mod disk;
mod load;
mod objects;
mod policies;
mod shutdown;

//! The line on a bad day: processes that are killed, links that break, disks that fill, peers that lie.
//!
//! Every test names its scenario and what it guarantees. The daemons are real processes.
#![cfg(test)]

mod budget;
mod clock;
mod crash;
mod disk;
mod inside;
mod link;
mod load;
mod newer;
mod objects;
mod peers;
mod policies;
mod shutdown;

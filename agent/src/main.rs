//! Placeholder until the daemon lands.
fn main() {}

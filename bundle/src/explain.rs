//! Which bindings apply on a cluster, and why, for people.

//! What would change from one bundle to another.

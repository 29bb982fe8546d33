//! How records change current state: pure, shared by every store.

//! Tests over the whole workspace: the rules of the tree, and the parts working together.

mod cluster_source;
mod opa;
mod tidy;

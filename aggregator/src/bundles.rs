//! Policy bundles: the gate they pass before they are offered, and what each session is offered.
//!
//! The hub chooses nothing: the first publication establishes the root that its operator sent, later ones must follow
//! it, and agents verify everything again.

pub mod offer;
pub mod publish;
pub mod roots;

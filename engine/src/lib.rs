//! Policies and a resource in, verdicts out. The only crate that knows the Rego engine.
//!
//! No I/O, no wall clock, no panic out. One way through: `object` (bytes to value), `review` (what
//! is asked), `input` (what a policy sees), `guard` and `unit` (one policy compiled), `compiled`
//! and `set` (bindings and their verdicts), `evaluator` (lanes of threads), `selftest`.

mod builtin;
mod canonical;
mod compiled;
mod contain;
mod evaluator;
mod findings;
mod guard;
mod input;
mod matching;
mod object;
mod review;
pub mod selftest;
mod set;
mod shape;
mod unit;

pub use evaluator::{Answer, Error as EvaluatorError, Evaluator, LaneLimits, Limits};
pub use input::{Cluster, policy_input};
pub use object::{Error as ObjectError, MAX_DEPTH, Object};
pub use review::Review;
pub use set::{CompiledSet, Options, check};

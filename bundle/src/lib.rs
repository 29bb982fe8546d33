//! Policy bundles: read from a policy folder, packed, opened again, and put to work on a cluster.
//!
//! YAML is read here and nowhere behind it: a built bundle holds `.rego` and `.json` alone. Nothing
//! is evaluated here, and no signature is checked: `engine` and `trust` do that.

mod assemble;
pub mod bundle;
mod check;
pub mod contents;
pub mod diagnostic;
pub mod effective;
pub mod explain;
mod imports;
pub mod layout;
mod metadata;
pub mod parameters;
pub mod plan;
mod revision;
mod role;
pub mod source;
mod yaml;

pub use bundle::{Bundle, Example, ExampleCluster, ExampleInput, Expectation, Module, Policy};
pub use contents::{Contents, Header, VerifiedBundle};
pub use diagnostic::Diagnostic;
pub use effective::{Effective, InForce, State, effective};
pub use revision::revision;
pub use source::Source;

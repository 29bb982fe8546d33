//! Files to Kubernetes objects with positions: YAML and JSON, directories, several documents in
//! a file, Lists, standard input.
//!
//! Scalars resolve as the API server's YAML library resolves them, so that a policy sees here
//! what it sees in the cluster. One bad document never loses its file, one bad file never stops
//! the rest: each is a [`Problem`] with its position. Nothing is rendered: what is a template, a
//! patch or a kustomization is said to be one. Everything has a limit (see [`limits`]).

mod classify;
mod de;
pub mod document;
mod json;
pub mod kinds;
mod kustomize;
pub mod limits;
pub mod load;
pub mod node;
mod read;
mod scalar;
mod template;
mod walk;
mod yaml;

pub use de::Error as DeserializeError;
pub use document::{Class, Document, Problem, ProblemKind, Resource, Why};
pub use load::{Loaded, Options, Visited, load, revisit, visit};
pub use node::{Entry, Node, Position, Value};
pub use read::{Content, read_bytes};
pub use walk::{BadPattern, Exclude, Input, Source, Walk, walk};

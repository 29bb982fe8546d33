//! The nouns that every layer shares: what is counted, named, compared and limited.
//!
//! Plain data with serde and no I/O. Parsing is validation: a value of a type here keeps the rule
//! its type states. How a value is signed (`trust`), sent (`proto`) or stored (`aggregator`) is
//! not said here.

pub mod binding;
pub mod code;
pub mod digest;
pub mod finding;
pub mod id;
pub mod labels;
pub mod limits;
pub mod path;
pub mod policy;
pub mod record;
pub mod subject;
pub mod verdict;

pub use binding::{Binding, Match, PolicySet, PolicySetEntry};
pub use code::Code;
pub use digest::Digest;
pub use finding::{Finding, Fingerprint};
pub use id::{BindingId, ClusterId, InstanceId, PolicyId};
pub use labels::{LabelSelector, Labels};
pub use path::{Path, Segment};
pub use policy::{
    Action, Category, Checkpoint, ControlRef, FailMode, KindSelector, ParameterSpec, PolicyMeta,
    Severity,
};
pub use record::{Record, RecordBody};
pub use subject::{Attributes, Gvk, ResourceRef, Subject};
pub use verdict::{NotEvaluated, NotEvaluatedReason, Outcome, Verdict};

//! What a source says: which objects exist, which went, and where a full listing begins and ends.
//!
//! Sources stream: no object stays with them, and the channel that takes the changes is bounded,
//! so that a slow evaluation slows the listing and not the memory. Deletions that nobody saw (the
//! agent was down, a watch broke) are found by whoever receives the changes: what a finished
//! listing of a scope did not mention exists no more.

pub mod manifests;

use std::sync::Arc;

use async_trait::async_trait;
use provost_engine::{CompiledSet, Object};
use provost_model::subject::{Location, ResourceRef};
use provost_model::{Digest, NotEvaluatedReason};
use provost_runtime::shutdown::Shutdown;
use provost_runtime::telemetry::trace;
use tokio::sync::{mpsc, watch};

/// Changes that may wait between a source and the evaluation: enough to keep it busy, few enough to hold whole objects.
pub const CHANGES_IN_FLIGHT: usize = 32;

#[derive(Debug)]
pub enum Change {
    /// A full listing of `scope` begins.
    Begin(Scope),
    Exists(Box<Observed>),
    Gone {
        subject: ResourceRef,
        /// When the source came to know it: where its trace begins.
        seen: trace::Moment,
    },
    /// Known from before and not readable now: neither changed nor gone.
    Unreadable {
        subject: ResourceRef,
    },
    /// The listing of `scope` is complete: what it did not mention is gone.
    End {
        scope: Scope,
        /// When the source came to know it: where the traces of what is gone begin.
        seen: trace::Moment,
    },
    /// Every scope that can be read has been listed since the set `set` ([`CompiledSet::id`]) came
    /// into force.
    Complete {
        set: Digest,
        unavailable: Vec<Unavailable>,
    },
    /// Whether the source sees everything it should, and why not.
    Health {
        healthy: bool,
        detail: String,
    },
}

/// What one listing covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    Everything,
    Kind { group: String, kind: String },
}

/// A kind that the set asks for and the source cannot list; none of its objects is evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    pub group: String,
    pub kind: String,
    pub reason: NotEvaluatedReason,
    pub detail: String,
}

/// An object as it was read. It always has apiVersion, kind and a name.
#[derive(Debug)]
pub struct Observed {
    pub object: Object,
    /// Its key: with the namespace that was filled in, and `generateName` where there is no name.
    pub subject: ResourceRef,
    /// For objects from files.
    pub location: Option<Location>,
    /// When the source came to know it: where its trace begins.
    pub seen: trace::Moment,
}

impl Scope {
    #[must_use]
    pub fn covers(&self, subject: &ResourceRef) -> bool {
        match self {
            Self::Everything => true,
            Self::Kind { group, kind } => *group == subject.group && *kind == subject.kind,
        }
    }
}

/// A source that cannot go on at all, such as a directory that is not there at the start.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    pub what: String,
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Lists everything at first, again whenever the compiled set changes, and in between says what
/// changed. Ends at shutdown, or when nobody takes the changes any more.
#[async_trait]
pub trait Source: Send {
    async fn run(
        self: Box<Self>,
        sets: watch::Receiver<Arc<CompiledSet>>,
        changes: mpsc::Sender<Change>,
        shutdown: Shutdown,
    ) -> Result<(), Error>;
}

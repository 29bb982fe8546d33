//! What changed, sequenced: verdicts and events become records of the chain.
//!
//! A [`Recorder`] is the one task that owns the verdict table, the changes that have no seq yet and
//! the snapshots. Others reach it through two handles: [`Reporter`] hands in what happened,
//! [`Outbox`] takes out what is to be sent. Invariants:
//!
//! * a change gets its seq when it is sealed; until then changes of one key coalesce;
//! * a record with a seq never changes, and is durable before [`Position`] announces it;
//! * a record that names a policy set follows a P0 Bundle record that carries the set;
//! * between SnapshotBegin and SnapshotEnd stands no change of a verdict.
//!
//! The way of a change: `seen` compares it with the table, `pending` keeps it until it is sealed, `reported` and `records` make
//! it a record within the limits, `append` puts it into the spool, `outbox` cuts it into a batch. Beside that way: `snapshot`,
//! `epoch`, `closing`, and `ends`, which are the two handles as traits.

mod append;
mod closing;
pub mod ends;
mod epoch;
pub mod outbox;
mod pending;
pub mod recorder;
pub mod records;
mod reported;
pub mod reporter;
pub mod seen;
mod snapshot;
#[cfg(test)]
mod tests;

pub use append::MAX_TRACED;
pub use ends::{Chain, Journal};
pub use outbox::{AckError, Item, Outbox, Position, SealedBatch};
pub use recorder::{Ends, Recorder, Settings};
pub use reported::reported;
pub use reporter::{AdmissionLost, Reporter};

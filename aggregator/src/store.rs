//! The hub's memory, behind traits: SQLite implements them now, PostgreSQL joins with the same conformance
//! suite (`tests/it/conformance.rs`).
//!
//! Invariants every implementation keeps:
//! * a batch is applied whole or not at all, and is durable before [`Reports::ingest`] returns;
//! * what an operator does and its audit row are one transaction, and a refused action leaves a row too;
//! * roll-up counts always equal the counts of the rows they are made from;
//! * the store reads no clock: every time comes in as a parameter.
//!
//! Who is stale is not known here: that needs the hub's monotonic clock (`rollup::liveness`).

pub mod access;
pub mod batch;
pub mod bundles;
pub mod current;
pub mod findings;
pub mod fold;
pub mod history;
pub mod identity;
pub mod logins;
pub mod reports;
pub mod retention;
pub mod rollups;
pub(crate) mod sql;
pub mod sqlite;
pub mod verdicts;

use serde::{Deserialize, Serialize};

pub use access::Access;
pub use bundles::Bundles;
pub use findings::Findings;
pub use history::History;
pub use identity::Identity;
pub use logins::Logins;
pub use reports::Reports;
pub use retention::Retention;
pub use rollups::Rollups;
pub use sqlite::SqliteStore;
pub use verdicts::Verdicts;

/// Everything together; what the rest of the hub holds is an `Arc<dyn Store>`.
pub trait Store:
    Identity + Reports + Bundles + Rollups + Access + Findings + Verdicts + History + Logins + Retention
{
}

impl<T> Store for T where
    T: Identity
        + Reports
        + Bundles
        + Rollups
        + Access
        + Findings
        + Verdicts
        + History
        + Logins
        + Retention
{
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("the database cannot be brought to this version's schema")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("{} cannot be written: {cause}", path.display())]
    Volume { path: std::path::PathBuf, cause: std::io::Error },
    /// A row says what no code of this version writes.
    #[error("{table} holds a value that is not valid: {detail}")]
    Corrupt { table: &'static str, detail: String },
    #[error("{what} does not exist")]
    NotFound { what: String },
    /// The row is in a state that does not allow the change.
    #[error("{detail}")]
    Conflict { detail: String },
}

/// Who asked for a change: `token:<name>`, `agent:<cluster>`, `hub` for the hub itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor(pub String);

impl Actor {
    #[must_use]
    pub fn hub() -> Self {
        Self("hub".to_owned())
    }

    #[must_use]
    pub fn token(name: &str) -> Self {
        Self(format!("token:{name}"))
    }
}

/// One row of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    pub at_ms: i64,
    pub actor: Actor,
    /// `cluster.approve`, `token.create`, `bundle.publish`, ...
    pub action: String,
    pub target: String,
    /// `ok`, or the stable code of the refusal.
    pub result: String,
    pub detail: String,
}

impl Error {
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "errors are handed over by map_err")]
    pub fn corrupt(table: &'static str, detail: impl ToString) -> Self {
        Self::Corrupt { table, detail: detail.to_string() }
    }
}

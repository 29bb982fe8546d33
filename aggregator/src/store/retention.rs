//! What the store forgets. Evidence is not in it: batches, transitions, admissions, events and the audit log stay.

use async_trait::async_trait;

use super::Result;

#[async_trait]
pub trait Retention: Send + Sync {
    /// Deletes what is older than `cutoffs`, at most [`MAX_ROWS`] of each kind, so that other writers get their turn.
    async fn sweep(&self, cutoffs: &Cutoffs) -> Result<Swept>;
}

/// Rows of one kind that one sweep deletes; thousands take milliseconds.
pub const MAX_ROWS: u32 = 5_000;

/// Unix times in milliseconds: what ended before them goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cutoffs {
    pub reentry_nonces_ms: i64,
    /// By their end. The newest of each cluster stays whatever its age: by it the hub knows how long the cluster was
    /// away, and whether a person has to decide.
    pub certificates_ms: i64,
    /// By their end, or that of the API token that they hang on. Login links likewise.
    pub sessions_ms: i64,
    /// Enrolment and API tokens, by their use, revocation or end.
    pub tokens_ms: i64,
}

/// How many went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub reentry_nonces: u64,
    pub certificates: u64,
    pub sessions: u64,
    pub tokens: u64,
}

impl Swept {
    /// Whether there may be more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let Self { reentry_nonces, certificates, sessions, tokens } = *self;
        let most = u64::from(MAX_ROWS);
        [reentry_nonces, certificates, sessions, tokens].into_iter().any(|n| n >= most)
    }
}

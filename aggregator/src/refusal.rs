//! A refusal that the other side gets to see: a stable code, and words that name no secret.

use std::time::Duration;

use provost_model::Code;
use provost_model::record::FileError;

use crate::store;

#[derive(Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    pub code: Code,
    pub detail: String,
    /// What is wrong, file by file, where a bundle was refused.
    pub errors: Vec<FileError>,
    /// The other side may come back, and no sooner than this.
    pub retry_after: Option<Duration>,
    /// The cause, for the hub's own log; never sent.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

pub type Result<T, E = Refusal> = std::result::Result<T, E>;

impl Refusal {
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after: None, cause: None }
    }

    #[must_use]
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FileError>) -> Self {
        self.errors = errors;
        self
    }

    /// Says nothing of the cause to the other side.
    #[must_use]
    pub fn internal(cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        let refusal = Self::new(Code::Internal, "the hub failed; its log has the cause");
        Self { cause: Some(Box::new(cause)), ..refusal }
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NotFound { what } => {
                Self::new(Code::NotFound, format!("{what} does not exist"))
            }
            store::Error::Conflict { detail } => Self::new(Code::Conflict, detail),
            error => Self::internal(error),
        }
    }
}

impl From<provost_trust::Error> for Refusal {
    fn from(error: provost_trust::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<provost_proto::Error> for Refusal {
    fn from(error: provost_proto::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// What travels to an agent; the cause stays in the hub's log.
impl From<Refusal> for provost_proto::status::Refusal {
    fn from(refusal: Refusal) -> Self {
        if let Some(cause) = &refusal.cause {
            tracing::error!(error = %causes(cause.as_ref()), "a request failed inside the hub");
        }
        Self { retry_after: refusal.retry_after, ..Self::new(refusal.code, refusal.detail) }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

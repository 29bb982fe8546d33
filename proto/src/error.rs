//! Why bytes or a message are not what their type says.

use provost_model::Code;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("not a {what} message")]
    Decode { what: &'static str, source: prost::DecodeError },
    #[error("{field} is missing")]
    Missing { field: &'static str },
    #[error("{field}: {value} is not a value of this version")]
    Unknown { field: &'static str, value: i32 },
    #[error("{field}: {size} is over the limit of {limit}")]
    TooLong { field: &'static str, size: usize, limit: usize },
    #[error("{field}: {what}")]
    Bad { field: &'static str, what: String },
}

impl Error {
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Decode { .. } | Self::Missing { .. } | Self::Bad { .. } => Code::Invalid,
            Self::Unknown { .. } => Code::Unsupported,
            Self::TooLong { .. } => Code::Limit,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers hand errors and literals over")]
    pub(crate) fn bad(field: &'static str, what: impl ToString) -> Self {
        Self::Bad { field, what: what.to_string() }
    }
}

//! The one table from [`Code`] to gRPC status, and the way back.
//!
//! The code travels in metadata, never in text alone; text is for people.

use std::time::Duration;

use provost_model::Code;
use tonic::metadata::MetadataMap;
use tonic::{Code as Grpc, Status};

const CODE: &str = "provost-code";
const RETRY_AFTER: &str = "provost-retry-after-ms";

/// A refusal as both sides of the wire understand it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    pub code: Code,
    pub message: String,
    pub retry_after: Option<Duration>,
}

impl Refusal {
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    #[must_use]
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl From<crate::Error> for Refusal {
    fn from(error: crate::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<provost_trust::Error> for Refusal {
    fn from(error: provost_trust::Error) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut metadata = MetadataMap::new();
        // Codes are ASCII words.
        if let Ok(value) = refusal.code.as_str().parse() {
            metadata.insert(CODE, value);
        }
        if let Some(after) = refusal.retry_after {
            let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            metadata.insert(RETRY_AFTER, ms.into());
        }
        Self::with_metadata(grpc(refusal.code), refusal.message, metadata)
    }
}

impl From<&Status> for Refusal {
    fn from(status: &Status) -> Self {
        let text = |key| status.metadata().get(key).and_then(|value| value.to_str().ok());
        let code = text(CODE).and_then(|text| text.parse().ok());
        let retry_after = text(RETRY_AFTER).and_then(|text| text.parse().ok());
        Self {
            code: code.unwrap_or_else(|| plain(status.code())),
            message: status.message().chars().take(1024).collect(),
            retry_after: retry_after.map(Duration::from_millis),
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

/// gRPC status of a code.
#[must_use]
pub const fn grpc(code: Code) -> Grpc {
    match code {
        Code::Invalid
        | Code::WrongType
        | Code::Malformed
        | Code::UnsafePath
        | Code::MetadataInvalid
        | Code::ParameterInvalid => Grpc::InvalidArgument,
        Code::Limit | Code::TooLarge => Grpc::ResourceExhausted,
        Code::Unsupported => Grpc::Unimplemented,
        Code::Unauthenticated
        | Code::TokenUnknown
        | Code::TokenUsed
        | Code::TokenExpired
        | Code::CertificateExpired
        | Code::BadSignature
        | Code::Unsigned
        | Code::ThresholdNotMet => Grpc::Unauthenticated,
        Code::Forbidden
        | Code::Rejected
        | Code::Revoked
        | Code::WrongCluster
        | Code::WrongCa
        | Code::WrongRoot
        | Code::WrongTrustDomain => Grpc::PermissionDenied,
        Code::NotFound | Code::FileMissing => Grpc::NotFound,
        Code::Conflict | Code::SameVersionDiffers => Grpc::AlreadyExists,
        Code::Unavailable => Grpc::Unavailable,
        Code::Internal
        | Code::EvalTimeout
        | Code::EvalFailed
        | Code::EvalPanicked
        | Code::EvalShape => Grpc::Internal,
        Code::HeadMismatch | Code::UndeclaredGap => Grpc::OutOfRange,
        Code::DigestMismatch => Grpc::DataLoss,
        Code::NeedsApproval
        | Code::CloneSuspected
        | Code::Fork
        | Code::Quarantined
        | Code::RootChainBroken
        | Code::Expired
        | Code::Older
        | Code::BelowFloor
        | Code::RevokedVersion
        | Code::OutOfScope
        | Code::NotYet
        | Code::WrongAssignment
        | Code::EngineTooOld
        | Code::FileUnexpected
        | Code::CompileFailed
        | Code::BuiltinForbidden
        | Code::SelfTestFailed => Grpc::FailedPrecondition,
    }
}

/// What a status means that carries no code of ours: it comes from the transport, or a proxy.
const fn plain(status: Grpc) -> Code {
    match status {
        Grpc::Unavailable | Grpc::DeadlineExceeded | Grpc::Cancelled | Grpc::Aborted => {
            Code::Unavailable
        }
        Grpc::Unauthenticated => Code::Unauthenticated,
        Grpc::PermissionDenied => Code::Forbidden,
        Grpc::NotFound => Code::NotFound,
        Grpc::InvalidArgument => Code::Invalid,
        Grpc::ResourceExhausted | Grpc::OutOfRange => Code::Limit,
        Grpc::Unimplemented => Code::Unsupported,
        Grpc::AlreadyExists => Code::Conflict,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_wire() {
        for &code in Code::ALL {
            let refusal = Refusal::new(code, "why").retry_after(Duration::from_millis(1_500));
            let status = Status::from(refusal.clone());
            assert_ne!(status.code(), Grpc::Ok, "{code}");
            assert_ne!(status.code(), Grpc::Unknown, "{code}");
            assert_eq!(Refusal::from(&status), refusal);
        }
    }

    #[test]
    fn a_status_of_the_transport_has_a_plain_code() {
        assert_eq!(Refusal::from(Status::unavailable("gone")).code, Code::Unavailable);
        assert_eq!(Refusal::from(Status::unknown("?")).code, Code::Internal);
        let mut odd = Status::not_found("x");
        odd.metadata_mut().insert(CODE, "NO_SUCH_CODE".parse().unwrap());
        assert_eq!(Refusal::from(odd).code, Code::NotFound);
    }
}

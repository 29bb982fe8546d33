//! Errors as `application/problem+json` (RFC 9457): a stable code, what happened, what to do.
//!
//! The one table from code to HTTP status, and its one exception, a method that an address does not take. Nothing internal leaks: a failure of the store is
//! logged where it is turned into a problem, and answered without its text.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use provost_model::Code;
use serde::Serialize;

/// What a request got instead of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// `urn:provost:problem:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short, the same for every problem of the code.
    #[schema(value_type = String)]
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Stable; what programs branch on.
    #[schema(value_type = String, example = "NOT_FOUND")]
    pub code: Code,
    /// What happened here, for people.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// What is wrong, one by one, where there are several things.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ProblemEntry>,
}

/// One of several things that are wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ProblemEntry {
    pub path: String,
    pub code: String,
    pub message: String,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:provost:problem:{code}"),
            title: title(code),
            status: status(code).as_u16(),
            code,
            detail: detail.into(),
            help: String::new(),
            errors: Vec::new(),
        }
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no such {what}"))
    }

    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::Invalid, detail)
    }

    /// `INVALID`, with the status that HTTP has for it: the address is right, what is done with it is not.
    pub fn method_not_allowed() -> Self {
        let problem = Self::new(Code::Invalid, "this address does not take that method")
            .help("the header Allow says which it takes");
        Self { status: StatusCode::METHOD_NOT_ALLOWED.as_u16(), ..problem }
    }

    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "this needs an API token or a signed-in session").help(
            "send `Authorization: Bearer TOKEN`; `provost fleet` takes it from --token-file or PROVOST_TOKEN",
        )
    }

    /// Logs the cause here, once, and answers without it.
    pub fn internal(cause: &dyn std::error::Error) -> Self {
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(cause) = source {
            chain = format!("{chain}: {cause}");
            source = cause.source();
        }
        tracing::error!(error = %chain, "a request failed inside the hub");
        Self::new(Code::Internal, "the hub failed to answer; its log has the cause")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let challenge = self.code == Code::Unauthenticated;
        let mut response = (status, Json(&self)).into_response();
        // For `web`, which shows it as a page to who asked for one.
        response.extensions_mut().insert(self);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The one table from code to HTTP status.
#[must_use]
pub const fn status(code: Code) -> StatusCode {
    match code {
        Code::Invalid | Code::Malformed | Code::ParameterInvalid | Code::WrongType => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated | Code::TokenUnknown | Code::TokenExpired | Code::TokenUsed => {
            StatusCode::UNAUTHORIZED
        }
        Code::Forbidden
        | Code::NeedsApproval
        | Code::Rejected
        | Code::Revoked
        | Code::CertificateExpired
        | Code::WrongCluster => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::Conflict
        | Code::Older
        | Code::SameVersionDiffers
        | Code::RevokedVersion
        | Code::BelowFloor
        | Code::CloneSuspected
        | Code::HeadMismatch
        | Code::UndeclaredGap
        | Code::Fork
        | Code::Quarantined => StatusCode::CONFLICT,
        Code::TooLarge | Code::Limit => StatusCode::PAYLOAD_TOO_LARGE,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

const fn title(code: Code) -> &'static str {
    match code {
        Code::Invalid | Code::Malformed => "The request is not valid",
        Code::Unauthenticated => "Not signed in",
        Code::Forbidden => "Not allowed",
        Code::NotFound => "Not found",
        Code::Conflict => "The request conflicts with what the hub has",
        Code::TooLarge | Code::Limit => "A limit was exceeded",
        Code::Unavailable => "Try again later",
        Code::Internal => "The hub failed",
        _ => "Refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_an_error_and_no_answer_shows_a_cause() {
        for code in Code::ALL {
            let status = status(*code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
        }
        let problem = Problem::internal(&std::io::Error::other("disk path /secret"));
        assert!(!serde_json::to_string(&problem).unwrap().contains("secret"));
    }

    #[test]
    fn a_problem_is_problem_json_with_its_code() {
        let response = Problem::not_found("cluster").into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let json = serde_json::to_value(Problem::not_found("cluster")).unwrap();
        assert_eq!(json["code"], "NOT_FOUND");
    }
}

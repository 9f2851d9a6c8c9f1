//! Why there is no answer, as clients are told it. What a provider says of our keys and accounts is for the operator.

use axum::http::StatusCode;
use llm::{Failure, FailureKind, RequestError, routing::RouteError};

use crate::problem::Problem;

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let (status, code) = status_and_code(failure.kind);
        let is_ours = matches!(
            failure.kind,
            FailureKind::Authentication
                | FailureKind::Permission
                | FailureKind::ModelNotFound
                | FailureKind::QuotaExhausted
        );
        if is_ours {
            tracing::error!(
                kind = failure.kind.as_str(),
                status = failure.status,
                "a provider does not serve this server"
            );
        }
        let message =
            if is_ours { "the provider does not serve this server just now".to_owned() } else { failure.message };
        let problem = Self::new(status, code, message).with("reason", failure.kind.as_str());
        match failure.retry_after {
            // Whole seconds, and none of them too early.
            Some(wait) => problem.retry_after(wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))),
            None => problem,
        }
    }
}

/// The same where the key was the caller's own: then it is for the caller what the provider says of it.
pub(super) fn of_own_key(failure: Failure) -> Problem {
    match failure.kind {
        FailureKind::Authentication | FailureKind::Permission | FailureKind::QuotaExhausted => {
            let message = format!("the provider does not take byo_key: {}", failure.message);
            let problem = Problem::new(StatusCode::BAD_REQUEST, "byo_key_refused", message).field("byo_key");
            problem.with("reason", failure.kind.as_str())
        }
        _ => failure.into(),
    }
}

fn status_and_code(kind: FailureKind) -> (StatusCode, &'static str) {
    match kind {
        FailureKind::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid_request"),
        FailureKind::ContextLength => (StatusCode::BAD_REQUEST, "context_length_exceeded"),
        FailureKind::ContentFilter => (StatusCode::BAD_REQUEST, "content_policy_violation"),
        FailureKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"),
        FailureKind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "provider_overloaded"),
        FailureKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "no_provider_available"),
        FailureKind::FirstToken | FailureKind::Stalled | FailureKind::Total => {
            (StatusCode::GATEWAY_TIMEOUT, "provider_timeout")
        }
        FailureKind::Refused => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        FailureKind::Authentication
        | FailureKind::Permission
        | FailureKind::ModelNotFound
        | FailureKind::QuotaExhausted
        | FailureKind::Server
        | FailureKind::Connect
        | FailureKind::Cut
        | FailureKind::Malformed => (StatusCode::BAD_GATEWAY, "provider_error"),
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let status = match error.code {
            "request_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        let problem = Self::new(status, error.code, error.message);
        match error.param {
            Some(param) => problem.field(param),
            None => problem,
        }
    }
}

impl From<RouteError> for Problem {
    fn from(error: RouteError) -> Self {
        let (status, code) = match error {
            RouteError::UnknownModel(_) => (StatusCode::NOT_FOUND, "model_not_found"),
            RouteError::NotCapable { .. } => (StatusCode::BAD_REQUEST, "unsupported_by_model"),
            RouteError::NoneFits => (StatusCode::BAD_REQUEST, "no_model_fits"),
        };
        Self::new(status, code, error.to_string()).field("model")
    }
}

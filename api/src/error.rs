//! Why a question about the market cannot be answered.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use store::StoreError;

use crate::problem::Problem;

/// When to ask again while the store does not answer.
const RETRY_AFTER_SECONDS: u64 = 5;
/// The longest part of a client's text that an error repeats.
const ECHO_CHARS_MAX: usize = 80;

/// Why a request is not served, by what the client does next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// A parameter has a value that it cannot have.
    #[error("{message}")]
    Invalid { field: String, message: String },
    /// No parameter has that name.
    #[error("there is no parameter {name:?}; known: {known}")]
    UnknownParameter { name: String, known: String },
    /// Nothing is served or stored under that name.
    #[error("nothing is known of the symbol {name:?}")]
    UnknownSymbol { name: String, suggestions: Vec<String> },
    /// A number is beyond what the format can hold.
    #[error("a number of this page is beyond 38 digits, which {format} cannot hold; ask for format=json")]
    Unrepresentable { format: &'static str },
    /// A page cannot be written in the Arrow format, for a reason that is ours.
    #[error("the page cannot be written")]
    Arrow(#[source] arrow_schema::ArrowError),
    /// The same, found while its chunks were written.
    #[error("the page cannot be written")]
    Body(#[source] axum::BoxError),
    /// The store does not answer.
    #[error("the history cannot be read just now")]
    History(#[source] StoreError),
    /// The store holds what this version cannot read.
    #[error("the history holds something that cannot be read")]
    Foreign(#[source] StoreError),
}

impl ApiError {
    /// A wrong value of `field`.
    pub(crate) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.to_owned(), message: message.into() }
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid_parameter"),
            Self::UnknownParameter { .. } => (StatusCode::BAD_REQUEST, "unknown_parameter"),
            Self::UnknownSymbol { .. } => (StatusCode::NOT_FOUND, "unknown_symbol"),
            Self::Unrepresentable { .. } => (StatusCode::NOT_ACCEPTABLE, "not_representable"),
            Self::History(_) => (StatusCode::SERVICE_UNAVAILABLE, "history_unavailable"),
            Self::Foreign(_) | Self::Arrow(_) | Self::Body(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Foreign { .. } | StoreError::Page { .. } => Self::Foreign(error),
            StoreError::Full { .. } | StoreError::Unavailable { .. } | StoreError::InUse { .. } => Self::History(error),
        }
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        let (status, code) = error.status_and_code();
        let problem = Self::new(status, code, error.to_string());
        match error {
            ApiError::Invalid { field, .. } | ApiError::UnknownParameter { name: field, .. } => problem.field(field),
            ApiError::UnknownSymbol { suggestions, .. } => problem.field("symbol").with("suggestions", suggestions),
            ApiError::Unrepresentable { .. } => problem.field("format"),
            ApiError::Arrow(source) => {
                tracing::error!(error = %source, "a page could not be written");
                problem
            }
            ApiError::Body(source) => {
                tracing::error!(error = %source, "a page could not be written");
                problem
            }
            // What went wrong is for the operator: its text may name files and hosts.
            ApiError::History(source) | ApiError::Foreign(source) => {
                let cause = std::error::Error::source(&source).map(ToString::to_string);
                tracing::warn!(error = %source, ?cause, "history could not be read");
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    problem.retry_after(RETRY_AFTER_SECONDS)
                } else {
                    problem
                }
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

/// A client's text as an error may repeat it.
pub(crate) fn echo(text: &str) -> String {
    text.chars().take(ECHO_CHARS_MAX).collect()
}

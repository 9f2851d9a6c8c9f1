//! What a request is answered with when it cannot be served: one enum, stable codes, `{"error", "message", "field"}`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use store::StoreError;

/// When to ask again while the store does not answer.
const RETRY_AFTER_SECONDS: &str = "5";
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let mut body = json!({"error": code, "message": self.to_string()});
        match &self {
            Self::Invalid { field, .. } | Self::UnknownParameter { name: field, .. } => body["field"] = json!(field),
            Self::UnknownSymbol { suggestions, .. } => {
                body["field"] = json!("symbol");
                body["suggestions"] = json!(suggestions);
            }
            Self::Unrepresentable { .. } => body["field"] = json!("format"),
            Self::Arrow(source) => tracing::error!(error = %source, "a page could not be written"),
            Self::Body(source) => tracing::error!(error = %source, "a page could not be written"),
            // What went wrong is for the operator: its text may name files and hosts.
            Self::History(source) | Self::Foreign(source) => {
                let cause = std::error::Error::source(source).map(ToString::to_string);
                tracing::warn!(error = %source, ?cause, "history could not be read");
            }
        }
        let mut response = (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}

/// A client's text as an error may repeat it.
pub(crate) fn echo(text: &str) -> String {
    text.chars().take(ECHO_CHARS_MAX).collect()
}

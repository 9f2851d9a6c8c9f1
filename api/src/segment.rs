//! The part of a path that names something.

use axum::{
    extract::{FromRequestParts, Path},
    http::{StatusCode, request::Parts},
};

use crate::problem::Problem;

/// See the module.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segment = Path::from_request_parts(parts, state).await;
        segment.map(|Path(text)| Self(text)).map_err(|_| {
            let message = "a part of the path is no text in UTF-8";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_path", message)
        })
    }
}

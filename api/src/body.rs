//! The JSON body of a request, read once and whole, with the name of the field that is wrong.

use axum::{
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{StatusCode, header},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The body as bytes, bounded by the route's limit.
pub(crate) struct Raw(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state).await.map(Self).map_err(|refused| match refused {
            BytesRejection::FailedToBufferBody(body) if body.status() == StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "the body is larger than this route takes",
            ),
            _ => Problem::new(StatusCode::BAD_REQUEST, "unreadable_body", "the body could not be read to its end"),
        })
    }
}

/// Reads a JSON object. Unknown members are ignored.
///
/// # Errors
/// 400 with the name of the member that is missing or has a value that it cannot have.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.inner();
        let text = inner.to_string();
        let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        match (missing, inner.classify()) {
            (Some(name), _) => Problem::new(StatusCode::BAD_REQUEST, "missing_fields", format!("{name} is missing"))
                .field(if path == "." { name.to_owned() } else { format!("{path}.{name}") }),
            (None, serde_json::error::Category::Data) => {
                let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", without_place(&text));
                if path == "." { problem } else { problem.field(path) }
            }
            (None, _) => not_json(&text),
        }
    })?;
    json.end().map_err(|error| not_json(&error.to_string()))?;
    Ok(parsed)
}

fn not_json(text: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_json", format!("the body is not JSON: {text}"))
}

fn without_place(text: &str) -> String {
    // What a client sent is not repeated: it may be a password.
    let text = text.split(" at line ").next().unwrap_or(text);
    match text.split_once(", expected ") {
        Some((_, expected)) => format!("this must be {expected}"),
        None => text.to_owned(),
    }
}

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Exact::from_request(request, state).await.map(|exact| Self(exact.value))
    }
}

/// A JSON body and its very bytes, for what knows a request again by them.
pub(crate) struct Exact<T> {
    pub(crate) bytes: Bytes,
    pub(crate) value: T,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Exact<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "application/json" && !kind.ends_with("+json") {
            let message = "send JSON, with the header content-type: application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
        }
        let Raw(bytes) = Raw::from_request(request, state).await?;
        Ok(Self { value: parse(&bytes)?, bytes })
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http_body_util::BodyExt;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Login {
        password: String,
        #[serde(default)]
        tries: u8,
    }

    async fn check(body: &str, want: &str) {
        let got = match parse::<Login>(body.as_bytes()) {
            Ok(login) => format!("{} {}", login.password, login.tries),
            Err(problem) => {
                let body = problem.into_response().into_body().collect().await.unwrap().to_bytes();
                String::from_utf8(body.to_vec()).unwrap()
            }
        };
        assert_eq!(got, want, "{body}");
    }

    #[tokio::test]
    async fn the_member_that_is_wrong_is_named_and_its_value_is_not_repeated() {
        check(r#"{"password": "x", "more": 1}"#, "x 0").await;
        check("{}", r#"{"error":"missing_fields","field":"password","message":"password is missing"}"#).await;
        check(
            r#"{"password": 77}"#,
            r#"{"error":"invalid_parameter","field":"password","message":"this must be a string"}"#,
        )
        .await;
        check(
            r#"{"password": "secret", "tries": "secret"}"#,
            r#"{"error":"invalid_parameter","field":"tries","message":"this must be u8"}"#,
        )
        .await;
        for body in ["", "{", "{}x", "\u{1}"] {
            assert!(parse::<Login>(body.as_bytes()).is_err(), "{body}");
        }
    }
}

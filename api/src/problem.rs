//! What a client is told when its request is not served: one kind of answer with stable codes, in the shape that clients
//! of each family of routes expect.
//!
//! | family | shape |
//! |---|---|
//! | plain | `{"error": CODE, "message": …, "field": …}` |
//! | detail (`/v1/me`, `/v1/usage`, `/v1/audit`, …) | `{"detail": {"error": CODE, "message": …, "docs": …}}` |
//! | OpenAI (`/v1/chat/…`, `/v1/models`) | `{"error": {"message": …, "type": …, "param": …, "code": CODE}}` |

use std::sync::Arc;

use axum::{
    Json,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

/// Where the documents are.
const DOCS: &str = "/v1/openapi.json";
const DETAIL: [&str; 5] = ["/v1/me", "/v1/usage", "/v1/audit", "/v1/llm", "/v1/providers"];
/// What waiting a moment does not mend.
const MONEY: [&str; 3] = ["insufficient_funds", "usage_cap_reached", "key_cap_reached"];
const OPENAI: [&str; 2] = ["/v1/chat", "/v1/models"];

/// Why a request is not served.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
    field: Option<String>,
    more: Map<String, Value>,
    retry_after_s: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None, more: Map::new(), retry_after_s: None }
    }

    /// Which parameter or field of the body is wrong.
    pub(crate) fn field(mut self, name: impl Into<String>) -> Self {
        self.field = Some(name.into());
        self
    }

    /// One more member that helps a program.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// When to ask again.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Another status, for a family of routes that documents one.
    pub(crate) fn or_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body as OpenAI's clients know it, for a stream whose head has left.
    pub(crate) fn openai_body(&self) -> Value {
        self.body(Family::OpenAi)
    }

    fn body(&self, family: Family) -> Value {
        let Self { code, message, field, more, .. } = self;
        let mut members = more.clone();
        members.insert("message".to_owned(), json!(message));
        match family {
            Family::Plain | Family::Detail => {
                members.insert("error".to_owned(), json!(code));
                if let Some(field) = field {
                    members.insert("field".to_owned(), json!(field));
                }
                if family == Family::Plain {
                    return Value::Object(members);
                }
                members.insert("docs".to_owned(), json!(DOCS));
                json!({ "detail": members })
            }
            Family::OpenAi => {
                members.insert("code".to_owned(), json!(code));
                members.insert("param".to_owned(), json!(field));
                members.insert("type".to_owned(), json!(self.openai_type()));
                json!({ "error": members })
            }
        }
    }

    /// The types that OpenAI's own clients tell apart.
    fn openai_type(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            402 => "insufficient_quota",
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = Json(self.body(Family::Plain));
        let mut response = (self.status, [(header::CACHE_CONTROL, "no-store")], body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if MONEY.contains(&self.code) {
            // Clients of OpenAI ask again after 429 by themselves, which brings no money.
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Which clients a route is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Plain,
    Detail,
    OpenAi,
}

impl Family {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Detail, Self::OpenAi];

    /// Its name in the document.
    pub(crate) fn schema(self) -> &'static str {
        match self {
            Self::Plain => "Problem",
            Self::Detail => "DetailedProblem",
            Self::OpenAi => "OpenAiProblem",
        }
    }

    /// That of a path.
    pub(crate) fn of(path: &str) -> Self {
        let below = |base: &&str| path.strip_prefix(*base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if OPENAI.iter().any(&below) {
            Self::OpenAi
        } else if DETAIL.iter().any(below) {
            Self::Detail
        } else {
            Self::Plain
        }
    }
}

/// Writes each problem in the shape of its route's family. Outermost of all that may answer with one.
pub(crate) async fn shaped(request: Request, next: Next) -> Response {
    let family = Family::of(request.uri().path());
    let response = next.run(request).await;
    if family == Family::Plain {
        return response;
    }
    let Some(problem) = response.extensions().get::<Arc<Problem>>().cloned() else { return response };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    (parts.status, parts.headers, Json(problem.body(family))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_of_routes_has_the_shape_that_its_clients_know() {
        let problem =
            Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", "use 1 to 500").field("limit").with("max", 500);
        let body = |path| problem.body(Family::of(path));
        let plain = json!({"error": "invalid_parameter", "message": "use 1 to 500", "field": "limit", "max": 500});
        assert_eq!(body("/v1/billing/usage"), plain);
        assert_eq!(body("/v1/mean"), plain);
        assert_eq!(body("/v1/audit")["detail"]["error"], "invalid_parameter");
        assert_eq!(body("/v1/audit")["detail"]["docs"], DOCS);
        let openai = body("/v1/chat/completions");
        assert_eq!(openai["error"]["param"], "limit");
        assert_eq!(openai["error"]["type"], "invalid_request_error");
    }
}

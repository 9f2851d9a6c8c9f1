//! The OpenAPI document: gathered from the routes themselves, and completed with what all of them have in common.
//!
//! A handler says what only it does; its quota's headers, its request id and the shapes of its errors follow from its path,
//! as they do when it is served. `shapes` are bodies that no type of the code is written from.

mod shapes;

use std::future::ready;

use axum::{
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    access::{is_open, is_proving},
    problem::Family,
    routes::App,
};

pub(crate) use shapes::{ApiScope, Decimal};

/// What the document says before its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "kandle",
        description = "Market data, accounts and metered calls over HTTP. The live stream is at `/v1/ws`.\n\n\
            Amounts of money are integers in micros: 1 KAI is 1 US dollar is 1,000,000 micros. Times are RFC 3339 in UTC, \
            or milliseconds since 1970 where a name ends in `ts`. Unknown members of a body are ignored.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "market", description = "Candles, trades and prices. Free, and open to all."),
        (name = "accounts", description = "Users, their keys, and what a key may do."),
        (name = "models", description = "Language models, paid per token; OpenAI's clients work unchanged."),
        (name = "billing", description = "What was spent, what is left, who called what."),
        (name = "system", description = "Whether the server is well."),
    ),
    paths(document),
    components(schemas(shapes::Problem, shapes::DetailedProblem, shapes::OpenAiProblem)),
)]
struct Head;

/// A router to which routes add themselves and what is to be said of them.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Head::openapi())
}

/// The route that serves the document.
pub(crate) fn router(routes: utoipa::openapi::OpenApi) -> axum::Router<App> {
    let text = Bytes::from(complete(routes).to_string());
    axum::Router::new().route("/v1/openapi.json", get(move || ready(document(text.clone()))))
}

/// This document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "openapi",
    tag = "system",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object)),
)]
fn document(text: Bytes) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (headers, text).into_response()
}

/// Adds what all routes have in common.
fn complete(document: utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let components = &mut document["components"];
    components["headers"] = headers();
    components["responses"] = problems();
    components["securitySchemes"] = json!({
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`kai-…`), or the token that a login gives. A key may also be sent as `X-Api-Key`.",
        },
    });
    let Some(paths) = document["paths"].as_object_mut() else { return document };
    // A star says that slashes belong to the name, which OpenAPI has no sign for.
    let named = std::mem::take(paths).into_iter().map(|(path, item)| (path.replace("{*", "{"), item));
    paths.extend(named);
    for (path, item) in paths.iter_mut() {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            complete_operation(path, operation);
        }
    }
    document
}

/// Why a request of any route may not be served, when that applies, and in which words.
const PROBLEMS: [(&str, Applies, &str); 8] = [
    ("400", |of| of.has_input, "A parameter or a member of the body is wrong; `field` names it."),
    ("401", |of| of.is_secured, "No good key or token came along."),
    ("403", |of| of.needs_key, "The caller may not do this."),
    ("413", |of| of.has_body, "The body is larger than the route takes."),
    ("415", |of| of.has_body, "The body is not said to be JSON."),
    ("429", |of| !of.is_open, "Too many requests; `Retry-After` says when to come again."),
    ("503", |of| !of.is_open, "The server cannot answer just now; `Retry-After` says when to come again."),
    ("default", |_| true, "Any other problem."),
];

type Applies = fn(&Traits) -> bool;

/// What follows from a path and what its handler says.
struct Traits {
    is_open: bool,
    is_secured: bool,
    needs_key: bool,
    has_body: bool,
    has_input: bool,
}

fn complete_operation(path: &str, operation: &mut Value) {
    let (is_open, is_public) = (is_open(path), is_open(path) || is_proving(path));
    if operation.get("security").is_none() {
        operation["security"] = if is_public { json!([]) } else { json!([{"key": []}]) };
    }
    let ways = operation["security"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (is_secured, is_optional) = (!ways.is_empty(), ways.contains(&json!({})));
    let has_body = operation.get("requestBody").is_some();
    let has_input = has_body || operation.get("parameters").is_some();
    let traits = Traits { is_open, is_secured, needs_key: is_secured && !is_optional, has_body, has_input };
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    let family = Family::of(path);
    for (status, response) in responses.iter_mut() {
        if status.starts_with(['4', '5']) {
            response["content"] = content(family);
        }
        response["headers"] = with_headers(&response["headers"], status, is_open);
    }
    for (status, _, _) in PROBLEMS.iter().filter(|(_, applies, _)| applies(&traits)) {
        let shared = json!({"$ref": format!("#/components/responses/{}", shared_name(family, status))});
        responses.entry(*status).or_insert(shared);
    }
}

/// The problems of every family.
fn problems() -> Value {
    let mut shared = Map::new();
    for family in Family::ALL {
        for (status, _, description) in PROBLEMS {
            let headers = with_headers(&Value::Null, status, false);
            let response = json!({"description": description, "content": content(family), "headers": headers});
            shared.insert(shared_name(family, status), response);
        }
    }
    Value::Object(shared)
}

fn shared_name(family: Family, status: &str) -> String {
    format!("{}_{status}", family.schema())
}

fn content(family: Family) -> Value {
    json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{}", family.schema())}}})
}

/// The headers that a response has of its own, and those of all.
fn with_headers(own: &Value, status: &str, is_open: bool) -> Value {
    let limits = ["X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit", "RateLimit-Policy"];
    let limits = limits.into_iter().filter(|_| !is_open);
    let later = ["Retry-After"].into_iter().filter(|_| ["429", "503", "default"].contains(&status));
    let mut headers = own.as_object().cloned().unwrap_or_default();
    for name in ["X-Request-Id"].into_iter().chain(limits).chain(later) {
        headers.insert(name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
    }
    Value::Object(headers)
}

/// The headers of answers.
fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({"description": description, "schema": schema});
    let (count, text) = (json!({"type": "integer", "minimum": 0}), json!({"type": "string"}));
    json!({
        "X-Request-Id": header("The id of the request: the client's own, if it sent one, or a new one.", text.clone()),
        "X-RateLimit-Limit": header("How many requests may come at once.", count.clone()),
        "X-RateLimit-Remaining": header("How many more may come now.", count.clone()),
        "X-RateLimit-Reset": header("The second since 1970 at which as many as that may come again.", count.clone()),
        "RateLimit": header("The same in the form of the IETF draft, such as `\"pro\";r=59;t=1`.", text.clone()),
        "RateLimit-Policy": header("The policy, such as `\"pro\";q=60;w=60`.", text),
        "Retry-After": header("In how many seconds to come again.", count),
    })
}

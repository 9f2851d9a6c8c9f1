//! What every answer has, whatever its route: a request id, safe headers, rules for browsers, a bound on its time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower_http::{
    CompressionLevel,
    compression::CompressionLayer,
    cors::{AllowOrigin, CorsLayer},
};

use crate::problem::{Problem, shaped};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer id of a client is replaced by our own.
const REQUEST_ID_BYTES_MAX: usize = 64;
/// The largest body that a route takes if it does not say otherwise.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a route may take to begin its answer, reading of the request included.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// For how many seconds a browser may keep what it was told of methods and headers.
const CORS_SECONDS: Duration = Duration::from_secs(3600);

/// What the routes themselves say goes before.
const SAFE: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
];

/// The id of a request: the client's own, or `START-N`, both hexadecimal.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

impl RequestId {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Numbers the requests that come without an id of their own.
struct RequestIds {
    start: i64,
    next: AtomicU64,
}

/// Puts the shell around the routes. `origins` are those of the web pages that may read answers; none stands for all,
/// which is safe where no cookie says who somebody is.
pub(crate) fn shell<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    start_ms: i64,
    origins: &[String],
) -> Router<S> {
    let ids = Arc::new(RequestIds { start: start_ms, next: AtomicU64::new(1) });
    routes
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(cors(origins))
        .layer(middleware::from_fn(shaped))
        // Behind what writes bodies anew.
        .layer(CompressionLayer::new().quality(CompressionLevel::Fastest))
        .layer(middleware::map_response(safe))
        .layer(middleware::from_fn_with_state(ids, request_id))
}

/// Answers 503 where a route takes too long.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the answer took too long; try again")
            .retry_after(1)
            .into_response(),
    }
}

fn cors(origins: &[String]) -> CorsLayer {
    let origin = match origins {
        [] => AllowOrigin::any(),
        some => AllowOrigin::list(some.iter().filter_map(|origin| HeaderValue::try_from(origin.as_str()).ok())),
    };
    let told = [
        "x-request-id",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "etag",
        "link",
        "idempotency-replayed",
        "x-kai-cost-micros",
        "x-kai-balance-micros",
        "x-kai-model",
        "x-kai-provider",
        "x-kai-output-tokens-max",
    ];
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("x-max-cost-micros"),
            REQUEST_ID,
        ])
        .expose_headers(told.map(HeaderName::from_static))
        .max_age(CORS_SECONDS)
}

async fn safe(mut response: Response) -> Response {
    for (name, value) in SAFE {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Echoes the id of the request, or gives it one.
async fn request_id(State(ids): State<Arc<RequestIds>>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_plain(id.as_bytes())).cloned();
    let id = given.or_else(|| {
        let number = ids.next.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{:x}-{number:x}", ids.start)).ok()
    });
    let id = id.unwrap_or_else(|| HeaderValue::from_static("0"));
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn is_plain(id: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.iter().all(allowed)
}

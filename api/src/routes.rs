//! The paths, their answers and errors. Every answer carries `x-request-id`.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRef, State},
    http::{Method, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::{
    access::{Access, gate},
    accounts::Accounts,
    billing, chat, keys, market, openapi,
    problem::Problem,
    shell::{in_time, shell},
    users,
    view::{Health, SymbolStatus, View},
};

/// The longest part of an unknown path that an error repeats.
const PATH_CHARS_MAX: usize = 120;

/// What every route may ask.
#[derive(Clone)]
pub struct App {
    /// The running engine.
    pub view: Arc<dyn View>,
    /// Who asks, and the accounts.
    pub access: Arc<Access>,
}

type Shared = Arc<dyn View>;

impl FromRef<App> for Shared {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.view)
    }
}

impl App {
    /// This moment.
    pub(crate) fn now(&self) -> ledger::Timestamp {
        let nanos = u64::try_from(self.view.now_ms()).unwrap_or(0).saturating_mul(1_000_000);
        ledger::Timestamp::new(nanos).unwrap_or(ledger::Timestamp::ZERO)
    }

    /// The accounts.
    ///
    /// # Errors
    /// 503 where there are none.
    pub(crate) fn accounts(&self) -> Result<&Arc<Accounts>, Problem> {
        let message = "this server has no accounts; its configuration turns them on with [records]";
        let none = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "accounts_disabled", message);
        self.access.accounts().ok_or_else(none)
    }
}

/// All routes. `/v1/ws` is not among them: the streaming runtime answers it before it asks here. `origins` are those of the
/// web pages that may read answers; none stands for all.
pub fn router(app: App, origins: &[String]) -> Router {
    let start_ms = app.view.now_ms();
    let (routes, document) = openapi::routes()
        .routes(routes!(health))
        .routes(routes!(ping))
        .routes(routes!(symbols))
        .routes(routes!(metrics))
        .merge(market::router())
        .merge(users::router())
        .merge(keys::router())
        .merge(billing::router())
        .layer(middleware::from_fn(in_time))
        // A model may think for longer than any other answer may take; it has time limits of its own.
        .merge(chat::router())
        .split_for_parts();
    let routes = routes
        .merge(openapi::router(document))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), gate));
    shell(routes, start_ms, origins).with_state(app)
}

/// `/v1/ping`.
#[derive(Serialize, ToSchema)]
struct Pong {
    ok: bool,
    /// Of the API: it stays while nothing breaks.
    version: &'static str,
    pong: bool,
    /// The server's time in milliseconds.
    ts: i64,
}

/// `/v1/market/symbols`.
#[derive(Serialize, ToSchema)]
struct Symbols {
    /// Every symbol that is served, under its alias.
    symbols: Vec<SymbolStatus>,
}

/// Whether the server is well.
///
/// Each feed, and whether what is streamed is kept.
#[utoipa::path(
    get,
    path = "/v1/health",
    tag = "system",
    responses((status = 200, description = "`ok`, or `degraded` with since when and why.", body = Health)),
)]
async fn health(State(view): State<Shared>) -> Response {
    fresh(Json(view.health().with_history(view.history_status())))
}

/// Whether anybody answers.
#[utoipa::path(
    get,
    path = "/v1/ping",
    tag = "system",
    responses((status = 200, description = "Somebody does.", body = Pong)),
)]
async fn ping(State(view): State<Shared>) -> Response {
    fresh(Json(Pong { ok: true, version: "v1", pong: true, ts: view.now_ms() }))
}

/// What is streamed, and how it fares.
#[utoipa::path(
    get,
    path = "/v1/market/symbols",
    tag = "market",
    security((), ("key" = [])),
    responses((status = 200, description = "Every symbol.", body = Symbols)),
)]
async fn symbols(State(view): State<Shared>) -> Response {
    fresh(Json(Symbols { symbols: view.symbols() }))
}

/// All metrics, for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "system",
    responses((status = 200, description = "Metrics in the OpenMetrics text format.", body = String,
        content_type = "application/openmetrics-text")),
)]
async fn metrics(State(view): State<Shared>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    fresh(([(header::CONTENT_TYPE, kind)], view.metrics()))
}

/// An answer about this moment, which nobody may keep.
pub(crate) fn fresh(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(PATH_CHARS_MAX).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("nothing is at {path}; /v1/openapi.json lists what is, and /v1/ws streams"),
    )
}

async fn not_allowed(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(PATH_CHARS_MAX).collect();
    let method: String = method.as_str().chars().take(16).collect();
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{path} does not take {method}; use what the header Allow names"),
    )
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Request};
    use engine::{
        candle::Candle,
        interval::Interval,
        market::{Symbol, Trade},
    };
    use http_body_util::BodyExt;
    use serde_json::{Value, json};
    use tower::ServiceExt;

    use super::*;
    use crate::view::{Answer, Feed, FeedState, Listing, Liveness, TickerRow};

    struct Fake;

    impl View for Fake {
        fn now_ms(&self) -> i64 {
            1_000
        }
        fn health(&self) -> Health {
            let feed = |venue: &str, state, since| Feed {
                venue: venue.to_owned(),
                state,
                since,
                last_trade_ms: None,
                symbols: 1,
                connections: 1,
                error: None,
            };
            let feeds = vec![
                feed("binance", FeedState::Ok, 1),
                feed("okx", FeedState::Silent, 700),
                feed("kraken", FeedState::Down, 500),
                feed("bybit", FeedState::Disabled, 1),
            ];
            Health::of(feeds, "0.1.0", 999)
        }
        fn symbols(&self) -> Vec<SymbolStatus> {
            vec![SymbolStatus {
                symbol: "BTC".to_owned(),
                source: "binance:BTCUSDT".to_owned(),
                status: Liveness::Live,
                last_trade_ts: Some(990),
                last_trade_age_ms: Some(10),
                gaps: 0,
                gaps_open: 0,
                trades: 7,
            }]
        }
        fn metrics(&self) -> String {
            "kandle_trades_total 7\n# EOF\n".to_owned()
        }
        fn listing(&self, _: &str) -> Option<Listing> {
            None
        }
        fn names(&self) -> Vec<String> {
            Vec::new()
        }
        fn history(&self) -> Option<store::Store> {
            None
        }
        fn history_status(&self) -> Option<store::WriterStatus> {
            None
        }
        fn latest(&self, _: Symbol, _: Interval, _: usize) -> Answer<'_, Vec<Candle>> {
            Box::pin(std::future::ready(Vec::new()))
        }
        fn newest_trades(&self, _: Symbol, _: usize) -> Vec<Trade> {
            Vec::new()
        }
        fn tickers(&self) -> Answer<'_, Vec<TickerRow>> {
            Box::pin(std::future::ready(Vec::new()))
        }
    }

    async fn ask(method: &str, path: &str, id: Option<&str>) -> (StatusCode, String, String) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(id) = id {
            request = request.header("x-request-id", id);
        }
        let response = router(App { view: Arc::new(Fake), access: Arc::new(Access::open_to_all()) }, &[])
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let status = response.status();
        let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, id, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn health_names_the_feeds_that_are_silent_and_since_when() {
        let (status, id, body) = ask("GET", "/v1/health", None).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, id.as_str()), (StatusCode::OK, "3e8-1"));
        assert_eq!(body["status"], "degraded");
        assert_eq!(body["since"], 500);
        assert_eq!(body["degraded"], json!(["okx", "kraken"]));
        assert_eq!(body["feeds"][1]["state"], "silent");
    }

    #[tokio::test]
    async fn every_route_answers_and_echoes_a_request_id() {
        let (_, id, body) = ask("GET", "/v1/ping", Some("mine-1")).await;
        assert_eq!((id.as_str(), body.as_str()), ("mine-1", r#"{"ok":true,"version":"v1","pong":true,"ts":1000}"#));
        let (_, id, body) = ask("GET", "/v1/market/symbols", Some("not plain!")).await;
        assert_eq!(id, "3e8-1");
        assert!(body.contains(r#""status":"live""#), "{body}");
        let (_, _, body) = ask("GET", "/metrics", Some(&"x".repeat(65))).await;
        assert!(body.contains("kandle_trades_total 7"));
    }

    #[tokio::test]
    async fn an_unknown_path_or_method_is_told_what_is_known() {
        let (status, _, body) = ask("GET", "/v2/ping", None).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body.contains("not_found") && body.contains("/v1/openapi.json"), "{body}");
        let (status, _, body) = ask("POST", "/v1/ping", None).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(body.contains("Allow"), "{body}");
    }
}

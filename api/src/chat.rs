//! Language models over HTTP, metered: no byte of a prompt leaves before money is set aside, and every attempt has a row.
//!
//! `budget` (how long an answer may be for the money) → `meter` (owns the money of a call: hold, rows, settlement) → `call` (a
//! call from its hold to its answer) → `whole` and `stream` (the task that reads it, which is not the client's). Routes: `completions`, `models`, `prompt` (`/v1/ai/chat`), `task` (`/v1/llm`),
//! `providers`. `refusal` says why not, `metrics` counts. Read `meter` first.
//!
//! - **A client that leaves is not refunded.** It pays for what was generated, by the policy of the provider: `cancel` stops the
//!   model, `drain` reads to the end, for a bounded time. Before the first token, and where the answer is kept for an
//!   Idempotency-Key, the call goes on in any case.
//! - **Only what was answered is paid.** Attempts that gave nothing to see have rows without cost.
//! - **Bounded.** Calls at once, drains at once, pieces that wait for a client, and the time of each call have maxima.

mod budget;
mod call;
mod completions;
mod meter;
mod metrics;
mod models;
mod prompt;
mod providers;
mod refusal;
mod shapes;
mod stream;
mod task;
mod whole;

use std::{sync::Arc, time::Duration};

use axum::{extract::DefaultBodyLimit, http::StatusCode};
use ledger::Micros;
use llm::{Catalog, Driver};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::metrics::ChatMetrics;
use crate::{problem::Problem, routes::App};

/// The longest body: pictures come in it.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Calls at once.
const CALLS_MAX: u32 = 4096;
/// Streams at once that are read to their end for clients that have left.
const DRAINS_MAX: usize = 256;
/// How long calls are given to end when the server does.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// What holds for every call.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What a call costs beside its tokens.
    pub fee: Micros,
    /// What a call costs whose caller pays the provider with a key of its own.
    pub own_key_fee: Micros,
    /// The most tokens of an answer where the request says nothing.
    pub output_tokens: u32,
    /// How long a call takes at most, all attempts together: the driver's own limit.
    pub total: Duration,
    /// How long a stream is read on at most for a client that has left.
    pub drain: Duration,
}

/// The language models of a server.
pub struct Chat {
    catalog: Catalog,
    driver: Driver,
    metrics: ChatMetrics,
    terms: Terms,
    /// When this server began, in seconds: when its models were, for want of anything better.
    since_s: u64,
    calls: Arc<Semaphore>,
    drains: Arc<Semaphore>,
    stop: watch::Sender<bool>,
}

impl Chat {
    /// The models of `catalog`, called by `driver`.
    #[must_use]
    pub fn new(catalog: Catalog, driver: Driver, metrics: ChatMetrics, terms: Terms, since_s: u64) -> Self {
        let calls = Arc::new(Semaphore::new(CALLS_MAX as usize));
        let drains = Arc::new(Semaphore::new(DRAINS_MAX));
        Self { catalog, driver, metrics, terms, since_s, calls, drains, stop: watch::Sender::new(false) }
    }

    /// The right to make one call; it is given back when all of the call is written.
    fn enter(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let full = |_| {
            let message = "too many calls of models are under way; try again";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).retry_after(1)
        };
        Arc::clone(&self.calls).try_acquire_owned().map_err(full)
    }

    /// Goes on if there is a model at all.
    fn needs_models(&self) -> Result<(), Problem> {
        if self.catalog.models().next().is_some() { Ok(()) } else { Err(no_provider()) }
    }

    pub(crate) async fn close(&self) {
        self.stop.send_replace(true);
        let Ok(ended) = timeout(CLOSE_WITHIN, self.calls.acquire_many(CALLS_MAX)).await else {
            return tracing::warn!("some calls of models did not end in time; their holds will expire");
        };
        // Whoever comes now finds it closed.
        drop(ended);
        self.calls.close();
    }
}

impl App {
    /// The language models.
    ///
    /// # Errors
    /// 503 where there are no accounts, or no models.
    fn chat(&self) -> Result<&Arc<Chat>, Problem> {
        self.accounts()?.chat.as_ref().ok_or_else(no_provider)
    }
}

fn no_provider() -> Problem {
    let message = "this server has no language models; its configuration adds them with [llm.providers.NAME] and \
                   [[llm.models]], or a small one runs in it: build with --features local, and fetch it with \
                   api/llm/model/fetch.sh kandle-data/models";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_provider", message)
}

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(completions::completions))
        .routes(routes!(prompt::prompt))
        .routes(routes!(task::task))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .routes(routes!(models::list))
        .routes(routes!(models::one))
        .routes(routes!(providers::providers))
}

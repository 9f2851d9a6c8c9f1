//! A venue's REST interface: one request at a time, at the venue's pace, each bounded in time and bytes.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use tokio::time::{Instant, sleep_until};

use crate::venue::{FeedError, RestRequest, message};

const BODY_BYTES_MAX: usize = 4 << 20;
const WAIT_MAX: Duration = Duration::from_secs(600);
/// A refusal without `Retry-After` still asks for patience: a venue's ban grows when it is not respected.
const REFUSED_WAIT: Duration = Duration::from_secs(10);
const BANNED_WAIT: Duration = Duration::from_secs(120);

/// `Retry-After` in seconds, or a wait by status: 403 and 418 are bans, 429 a warning.
pub(crate) fn wait_of(status: u16, headers: &HeaderMap) -> Duration {
    let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    asked.map(Duration::from_secs).unwrap_or(match status {
        403 | 418 => BANNED_WAIT,
        429 => REFUSED_WAIT,
        _ => Duration::ZERO,
    })
}

/// Why a page could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestError {
    #[error("the venue answered with status {status} {words:?}")]
    Status { status: u16, words: String },
    #[error("the request failed: {0}")]
    Transport(String),
    #[error("the answer is longer than {BODY_BYTES_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Page(#[from] FeedError),
}

impl RestError {
    /// Whether asking again cannot help: the venue does not know what it was asked for.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Status { status: 400..=499, .. }) && !self.is_limit()
    }

    /// Whether the venue asks for patience.
    pub(crate) fn is_limit(&self) -> bool {
        matches!(self, Self::Status { status: 403 | 408 | 418 | 425 | 429, .. })
    }
}

impl From<reqwest::Error> for RestError {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error.without_url().to_string())
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Rest {
    client: Option<reqwest::Client>,
    pause: Duration,
    next: Instant,
}

impl Rest {
    /// A client whose requests take at most `timeout` and start at least `pause` apart.
    pub(crate) fn new(timeout: Duration, pause: Duration) -> Self {
        let client = reqwest::Client::builder().timeout(timeout).connect_timeout(timeout).user_agent("kandle");
        let client = client.redirect(reqwest::redirect::Policy::limited(2)).build();
        let client = client.inspect_err(|error| tracing::error!(%error, "no REST client")).ok();
        Self { client, pause, next: Instant::now() }
    }

    /// The body of the answer.
    pub(crate) async fn fetch(&mut self, request: &RestRequest) -> Result<Vec<u8>, RestError> {
        let Some(client) = &self.client else { return Err(RestError::Transport("no client".to_owned())) };
        sleep_until(self.next).await;
        self.next = Instant::now() + self.pause;
        let builder = match &request.body {
            Some(body) => client.post(&request.url).header("content-type", "application/json").body(body.clone()),
            None => client.get(&request.url),
        };
        let mut response = builder.send().await?;
        let status = response.status();
        if !status.is_success() {
            self.next += wait_of(status.as_u16(), response.headers()).min(WAIT_MAX);
            // What it says helps a person; one piece of it is enough.
            let words = response.chunk().await.ok().flatten().unwrap_or_default();
            return Err(RestError::Status { status: status.as_u16(), words: message(&words) });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > BODY_BYTES_MAX {
                return Err(RestError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

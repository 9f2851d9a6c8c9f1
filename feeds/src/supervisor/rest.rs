//! A venue's REST interface: one request at a time, at the venue's pace, each bounded in time and bytes.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::dial::wait_of;
use crate::venue::{FeedError, RestRequest};

const BODY_BYTES_MAX: usize = 4 << 20;
const WAIT_MAX: Duration = Duration::from_secs(600);

/// Why a page could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestError {
    #[error("the venue answered with status {0}")]
    Status(u16),
    #[error("the request failed: {0}")]
    Transport(String),
    #[error("the answer is longer than {BODY_BYTES_MAX} bytes")]
    TooLong,
    #[error(transparent)]
    Page(#[from] FeedError),
}

impl From<reqwest::Error> for RestError {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error.without_url().to_string())
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Rest {
    client: Option<reqwest::Client>,
    pause: Duration,
    next: Instant,
}

impl Rest {
    /// A client whose requests take at most `timeout` and start at least `pause` apart.
    pub(super) fn new(timeout: Duration, pause: Duration) -> Self {
        let client = reqwest::Client::builder().timeout(timeout).connect_timeout(timeout).user_agent("kandle");
        let client = client.redirect(reqwest::redirect::Policy::limited(2)).build();
        let client = client.inspect_err(|error| tracing::error!(%error, "no REST client")).ok();
        Self { client, pause, next: Instant::now() }
    }

    /// The body of the answer.
    pub(super) async fn fetch(&mut self, request: &RestRequest) -> Result<Vec<u8>, RestError> {
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
            return Err(RestError::Status(status.as_u16()));
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

//! One attempt to get an answer, and who is told of it.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::{
    breaker::Breakers,
    catalog::Model,
    event::{Event, Thought},
    failure::Failure,
    request::ChatRequest,
    usage::{Source, Usage, estimate_tokens},
};

/// Whoever owns the money of a call. It hears of every attempt, in this order: [`begin`](Attempts::begin),
/// [`first_token`](Attempts::first_token) at most once, [`end`](Attempts::end) exactly once if `begin` gave leave.
///
/// A call whose future is dropped before `begin` has answered gives that attempt no end, as it had none to begin with: a
/// task that is not dropped when a client leaves is the place to make calls from.
pub trait Attempts: Send + Sync + 'static {
    /// Asks leave for the attempt, while the connection is being made. No byte of the prompt leaves before the answer. A
    /// hold is placed here, and is in the journal when this returns.
    fn begin(&self, attempt: &Attempt) -> BoxFuture<'static, Result<(), Refused>>;

    /// The first visible token came, so long after the attempt began.
    fn first_token(&self, _attempt: &Attempt, _after: Duration) {}

    /// The attempt is over.
    fn end(&self, attempt: &Attempt, end: &End);
}

/// No leave for an attempt, in the words for the caller: the call ends with [`FailureKind::Refused`](crate::FailureKind).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

/// Which attempt.
#[derive(Clone)]
pub struct Attempt {
    /// From one, within its call.
    pub number: u32,
    /// Who is asked.
    pub model: Arc<Model>,
    /// What is asked.
    pub request: Arc<ChatRequest>,
    /// The caller pays the provider with a key of its own.
    pub is_own_key: bool,
    /// An attempt before was cut within its answer, and this one says it again: see [`Rescue`](crate::Rescue).
    pub is_rescue: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Whether it was answered.
    pub outcome: Outcome,
    /// What it used: `None` if the provider gave nothing, so that there is nothing to pay.
    pub usage: Option<Usage>,
    /// From the begin of the attempt to its end.
    pub latency: Duration,
    /// From the begin of the attempt to its first visible token.
    pub first_token: Option<Duration>,
}

/// Whether an attempt was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To the end.
    Done,
    /// Nobody read it to the end.
    Cancelled,
    /// It failed.
    Failed(Failure),
}

impl Outcome {
    /// In a word, for rows and counters: `ok`, `cancelled`, or the kind of the failure.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done => "ok",
            Self::Cancelled => "cancelled",
            Self::Failed(failure) => failure.kind.as_str(),
        }
    }
}

/// An attempt under way. It ends once, if need be when it is dropped.
pub(crate) struct Running {
    pub(crate) attempt: Attempt,
    attempts: Arc<dyn Attempts>,
    /// `None` where failures say nothing of the model's health.
    breakers: Option<Arc<Breakers>>,
    begun: Instant,
    first_token: Option<Duration>,
    has_ended: bool,
    has_come: bool,
    is_finished: bool,
    seen: Option<Usage>,
    bytes: u64,
    reasoning_bytes: u64,
}

impl Running {
    pub(crate) fn new(attempt: Attempt, attempts: Arc<dyn Attempts>, breakers: Option<Arc<Breakers>>) -> Self {
        Self {
            attempt,
            attempts,
            breakers,
            begun: Instant::now(),
            first_token: None,
            has_ended: false,
            has_come: false,
            is_finished: false,
            seen: None,
            bytes: 0,
            reasoning_bytes: 0,
        }
    }

    pub(crate) fn begin(&self) -> BoxFuture<'static, Result<(), Refused>> {
        self.attempts.begin(&self.attempt)
    }

    /// No leave was given, so there is nothing to end.
    pub(crate) fn forget(mut self) {
        self.has_ended = true;
    }

    pub(crate) fn is_visible(&self) -> bool {
        self.first_token.is_some()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    pub(crate) fn on_event(&mut self, event: &Event) {
        self.has_come = true;
        if event.is_visible() && self.first_token.is_none() {
            let after = self.begun.elapsed();
            self.first_token = Some(after);
            self.attempts.first_token(&self.attempt, after);
            if let Some(breakers) = &self.breakers {
                breakers.on_success(&self.attempt.model.config.id);
            }
        }
        match event {
            Event::Text(text) | Event::Refusal(text) => self.bytes += text.len() as u64,
            Event::ToolCall(delta) => {
                let name = delta.name.as_deref().unwrap_or_default();
                self.bytes += (name.len() + delta.arguments.len()) as u64;
            }
            Event::Thought(Thought::Text { text, .. }) => self.reasoning_bytes += text.len() as u64,
            Event::Usage(usage) => self.seen = Some(usage.clone()),
            Event::Finish(_) => self.is_finished = true,
            Event::Started { .. } | Event::Thought(Thought::Sealed(_)) | Event::Logprobs(_) => {}
        }
    }

    pub(crate) fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        if let (Outcome::Failed(failure), Some(breakers)) = (&outcome, &self.breakers) {
            breakers.on_failure(&self.attempt.model.config.id, failure, Instant::now().into_std());
        }
        let usage = self.usage();
        let end = End { outcome, usage, latency: self.begun.elapsed(), first_token: self.first_token };
        self.attempts.end(&self.attempt, &end);
    }

    /// The provider's count if it came with the end of the answer, or ours of each token; else the greater of what the
    /// provider said and of what was seen.
    fn usage(&mut self) -> Option<Usage> {
        match self.seen.take() {
            Some(usage) if self.is_finished || usage.source == Source::Counted => Some(usage),
            None if !self.has_come => None,
            seen => Some(Usage::cut(
                seen.as_ref(),
                self.attempt.request.estimate_input(),
                estimate_tokens(self.bytes),
                estimate_tokens(self.reasoning_bytes),
            )),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}

//! An answer on its way: reads the wire, translates, watches the time, and ends its attempt.

use std::{collections::VecDeque, time::Duration};

use futures_util::FutureExt;
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{Instant, timeout_at},
};

use crate::{
    attempt::{Attempt, Outcome, Running},
    driver::Limits,
    event::{Event, Finish},
    failure::{Failure, FailureKind},
    providers::{Decoder, Flow, WireError},
    secret::Secret,
    sse,
};

/// The longest answer that is not streamed, and the most of a stream.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Messages that are passed over because they are malformed, before the stream is given up.
const MALFORMED_MAX: u32 = 8;
/// Pieces of a stream that are taken together at most.
const PIECES_TOGETHER_MAX: usize = 64;
/// How long usage is waited for once the model has finished.
const TAIL: Duration = Duration::from_secs(5);

/// Where events come from.
pub(crate) enum Source {
    /// A stream of server-sent events.
    Stream { response: reqwest::Response, parser: sse::Parser, decoder: Box<dyn Decoder>, bytes: usize, malformed: u32 },
    /// A body that comes as a whole.
    Whole { response: reqwest::Response, decoder: Box<dyn Decoder> },
    /// A model in this process. Its channel ends after the finish.
    #[cfg_attr(not(feature = "local"), expect(dead_code, reason = "only the local model is a channel"))]
    Channel(mpsc::Receiver<Result<Event, Failure>>),
}

/// An answer whose first visible token has come. Dropping it closes the connection and ends the attempt.
pub struct Answer {
    source: Source,
    running: Running,
    /// Whose key is not to be told.
    key: Option<Secret>,
    /// Events that have come and were not taken.
    ready: VecDeque<Event>,
    failure: Option<Failure>,
    is_over: bool,
    limits: Limits,
    /// When the first token must be here.
    first_token_by: Instant,
    /// When all must be here.
    deadline: Instant,
}

impl Answer {
    pub(crate) fn new(
        source: Source,
        running: Running,
        key: Option<Secret>,
        limits: Limits,
        first_token_by: Instant,
        deadline: Instant,
    ) -> Self {
        let (ready, failure) = (VecDeque::new(), None);
        Self { source, running, key, ready, failure, is_over: false, limits, first_token_by, deadline }
    }

    /// Which attempt it is that was answered.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.running.attempt
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The next event; `None` after the last. A failure is the last as well: the answer is not complete then.
    pub async fn next(&mut self) -> Option<Result<Event, Failure>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.is_over {
                return self.failure.take().map(Err);
            }
            self.fill().await;
            self.gather().await;
        }
    }

    /// Takes what has come with what was just read. Its task and that of the connection pass on one piece at a time; what is taken
    /// together is sent together, and a send costs more than all the rest of a piece.
    async fn gather(&mut self) {
        for _ in 1..PIECES_TOGETHER_MAX {
            if self.is_over || !matches!(self.source, Source::Stream { .. }) {
                return;
            }
            // The first look asks the connection for more, which it has by the second look if it has come.
            let mut next = read(&mut self.source).now_or_never();
            if next.is_none() {
                yield_now().await;
                next = read(&mut self.source).now_or_never();
            }
            let Some(read) = next else { return };
            self.take(read);
        }
    }

    /// Waits for the first event that is visible. A failure before it leaves no trace in the answer.
    pub(crate) async fn prime(&mut self) -> Result<(), Failure> {
        while !self.is_over && !self.running.is_visible() {
            self.fill().await;
        }
        if self.running.is_visible() {
            return Ok(());
        }
        Err(self.failure.take().unwrap_or_else(|| Failure::new(FailureKind::Cut, "the answer was empty")))
    }

    /// Reads once and translates.
    async fn fill(&mut self) {
        let (by, kind) = self.patience();
        let read = match timeout_at(by, read(&mut self.source)).await {
            Ok(read) => read,
            Err(_) => Err(Failure::new(kind, "the provider was silent for too long")),
        };
        self.take(read);
    }

    fn take(&mut self, read: Result<Option<Read>, Failure>) {
        match read {
            Ok(Some(read)) => {
                for event in read.events {
                    self.running.on_event(&event);
                    self.ready.push_back(event);
                }
                match read.failure {
                    Some(failure) => self.fail(failure),
                    None if read.flow == Flow::Done => self.finish(),
                    None => {}
                }
            }
            // Nothing more, or nothing more in time: enough if the model had finished.
            Ok(None) | Err(_) if self.running.is_finished() => self.complete(),
            Ok(None) => self.fail(Failure::new(FailureKind::Cut, "the stream ended before the answer did")),
            Err(failure) => self.fail(failure),
        }
    }

    /// By when the next bytes must be here, and what it is if they are not.
    fn patience(&self) -> (Instant, FailureKind) {
        let (by, kind) = match &self.source {
            Source::Whole { .. } => (self.deadline, FailureKind::Total),
            _ if self.running.is_finished() => (Instant::now() + TAIL.min(self.limits.idle), FailureKind::Stalled),
            _ if self.running.is_visible() => (Instant::now() + self.limits.idle, FailureKind::Stalled),
            _ => (self.first_token_by, FailureKind::FirstToken),
        };
        if by < self.deadline { (by, kind) } else { (self.deadline, FailureKind::Total) }
    }

    /// The provider said that this was all.
    fn finish(&mut self) {
        if !self.running.is_finished() {
            let event = Event::Finish(Finish::Stop);
            self.running.on_event(&event);
            self.ready.push_back(event);
        }
        self.complete();
    }

    fn complete(&mut self) {
        self.is_over = true;
        self.running.end(Outcome::Done);
    }

    fn fail(&mut self, failure: Failure) {
        let failure = failure.without(self.key.as_ref());
        self.is_over = true;
        self.running.end(Outcome::Failed(failure.clone()));
        self.failure = Some(failure);
    }
}

/// What one read gave.
struct Read {
    events: Vec<Event>,
    flow: Flow,
    failure: Option<Failure>,
}

/// `None` is the end of the stream. Safe to drop between reads.
async fn read(source: &mut Source) -> Result<Option<Read>, Failure> {
    match source {
        Source::Stream { response, parser, decoder, bytes, malformed } => {
            let Some(chunk) = response.chunk().await.map_err(|error| cut(&error))? else { return Ok(None) };
            *bytes += chunk.len();
            if *bytes > ANSWER_BYTES_MAX {
                return Err(too_long());
            }
            Ok(Some(decode_chunk(&chunk, parser, decoder.as_mut(), malformed)))
        }
        Source::Whole { response, decoder } => {
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| cut(&error))? {
                if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                    return Err(too_long());
                }
                body.extend_from_slice(&chunk);
            }
            let mut events = Vec::new();
            let decoded = decoder.decode(&String::from_utf8_lossy(&body), &mut events);
            Ok(Some(Read { events, flow: Flow::Done, failure: decoded.err().map(into_failure) }))
        }
        Source::Channel(events) => match events.recv().await {
            Some(event) => Ok(Some(Read { events: vec![event?], flow: Flow::More, failure: None })),
            None => Ok(None),
        },
    }
}

fn decode_chunk(chunk: &[u8], parser: &mut sse::Parser, decoder: &mut dyn Decoder, malformed: &mut u32) -> Read {
    let mut read = Read { events: Vec::new(), flow: Flow::More, failure: None };
    let pushed = parser.push(chunk, |message| {
        if read.flow == Flow::Done || read.failure.is_some() {
            return;
        }
        match decoder.decode(&message.data, &mut read.events) {
            Ok(flow) => read.flow = flow,
            Err(WireError::Malformed(_)) if *malformed < MALFORMED_MAX => *malformed += 1,
            Err(error) => read.failure = Some(into_failure(error)),
        }
    });
    if pushed.is_err() && read.failure.is_none() {
        read.failure = Some(too_long());
    }
    read
}

fn into_failure(error: WireError) -> Failure {
    match error {
        WireError::Malformed(what) => Failure::new(FailureKind::Malformed, what),
        WireError::Failed(failure) => failure,
    }
}

fn cut(error: &reqwest::Error) -> Failure {
    Failure::new(FailureKind::Cut, format!("the connection was lost within the answer: {}", deepest(error)))
}

fn too_long() -> Failure {
    Failure::new(FailureKind::Malformed, "the answer is longer than its bound")
}

/// The cause at the bottom of `error`: the layers above it name URLs.
pub(crate) fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

//! An answer that is streamed. The task that reads it belongs to the call, not to the client: it goes on when the client leaves,
//! for as long as the provider's policy says, and pays in any case.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use ledger::Micros;
use llm::{
    Answer, Completion, Dialect, Event, Failure, OnDisconnect,
    reply::{DONE, KEEP_ALIVE, Reply},
};
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{
    call::{Call, Facts, Opened, closing},
    completions,
    meter::Meter,
};
use crate::{access::CostLater, once::Ticket, problem::Problem};

/// Pieces that wait for a client. Further ones wait at the provider.
const PIECES_MAX: usize = 64;
/// A client that takes nothing for so long has left.
const CLIENT_WITHIN: Duration = Duration::from_secs(60);
/// How long a stream is silent at most. So long also the head of an answer waits for the first token, and with it for a
/// failure that is told by its status.
const PING_EVERY: Duration = Duration::from_secs(15);

/// Makes a call and streams its answer.
///
/// # Errors
/// Why there is no answer, if that is known soon enough.
pub(super) async fn streamed(call: Call, ticket: Ticket, has_usage: bool) -> Result<Response, Problem> {
    let (pieces, taken) = mpsc::channel(PIECES_MAX);
    let (began, begun) = oneshot::channel();
    let (paid, cost) = oneshot::channel();
    // The call's permit is what a server that ends waits for.
    tokio::spawn(Box::pin(pump(call, ticket, has_usage, Client { began, pieces, paid })));
    let mut response = match timeout(PING_EVERY, begun).await {
        Ok(Ok(Ok(facts))) => {
            let mut response = events(taken, false);
            facts.tell(&mut response);
            response
        }
        Ok(Ok(Err(problem))) => return Err(problem),
        Ok(Err(_)) => return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the call failed")),
        Err(_) => events(taken, true),
    };
    response.extensions_mut().insert(CostLater(cost.shared()));
    Ok(response)
}

/// What is told to whoever asked.
struct Client {
    /// That the answer has begun, or why it will not.
    began: oneshot::Sender<Result<Facts, Problem>>,
    pieces: mpsc::Sender<Bytes>,
    /// What it has cost.
    paid: oneshot::Sender<Micros>,
}

/// Gives an answer that was given before, from its body.
pub(super) fn again(mut body: Value, has_usage: bool) -> Response {
    // It is written beside what came of the answer before.
    let error = body.as_object_mut().and_then(|body| body.remove("error"));
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let created = body.get("created").and_then(Value::as_u64).unwrap_or_default();
    let reply = Reply::new(text("id"), created, text("model"), has_usage);
    let mut events = Vec::new();
    // It was written by this program; what cannot be read of it is left out.
    let _ = Dialect::Openrouter.decoder().decode(&body.to_string(), &mut events);
    let mut out = Vec::new();
    reply.begin(&mut out);
    let is_seen = |event: &&Event| error.is_none() || !matches!(event, Event::Finish(_));
    events.iter().filter(is_seen).for_each(|event| reply.event(event, &mut out));
    match error {
        Some(error) => out.extend_from_slice(&event(&json!({ "error": error }))),
        None => end(&reply, body.get("usage").unwrap_or(&Value::Null), &mut out),
    }
    head(Body::from(out))
}

/// The pieces as they come; before those of an answer that is late, a sign of life.
fn events(taken: mpsc::Receiver<Bytes>, is_late: bool) -> Response {
    head(Body::from_stream(stream::unfold((taken, is_late), next_piece)))
}

async fn next_piece((mut taken, is_late): (mpsc::Receiver<Bytes>, bool)) -> Option<NextPiece> {
    let alive = Bytes::from_static(KEEP_ALIVE);
    let piece = if is_late { alive } else { timeout(PING_EVERY, taken.recv()).await.unwrap_or(Some(alive))? };
    Some((Ok(piece), (taken, false)))
}

type NextPiece = (Result<Bytes, Infallible>, (mpsc::Receiver<Bytes>, bool));

fn head(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Reads an answer to its end, or as far as it is worth, and pays it.
async fn pump(mut call: Call, ticket: Ticket, has_usage: bool, client: Client) {
    let Client { began, pieces, paid } = client;
    let Opened { answer, meter, facts } = match call.open().await {
        Ok(opened) => opened,
        Err(problem) => {
            // Where the head has left, the failure comes as an event.
            if let Err(Err(problem)) = began.send(Err(problem)) {
                let _ = pieces.send(event(&problem.openai_body())).await;
            }
            return;
        }
    };
    let _ = began.send(Ok(facts.clone()));
    let reply = facts.reply(has_usage);
    let mut reading =
        Reading { call: &call, reply: &reply, reader: Reader::Client(pieces), is_kept: ticket.is_named() };
    reading.write(|reply, out| reply.begin(out)).await;
    let (whole, failure) = reading.read(answer).await;
    let client = reading.client();
    let (last, cost) = pay(&call, &ticket, &meter, facts, whole, failure, &reply).await;
    let _ = paid.send(cost);
    if let Some(client) = client {
        // Nothing is left to do for a client that does not take it.
        let _ = client.send_timeout(last, CLIENT_WITHIN).await;
    }
}

/// Writes what the answer came to, and gives what is still to be sent and its cost: whoever sees `[DONE]` knows that it is
/// written.
async fn pay(
    call: &Call,
    ticket: &Ticket,
    meter: &Meter,
    facts: Facts,
    whole: Completion,
    failure: Option<Failure>,
    reply: &Reply,
) -> (Bytes, Micros) {
    let is_whole = whole.finish.is_some();
    let problem = failure.map(Problem::from);
    let done = match call.done(meter, facts, whole).await {
        Ok(done) => done,
        Err(problem) => {
            meter.close(None).await;
            return (event(&problem.openai_body()), Micros::ZERO);
        }
    };
    let mut kept = None;
    // What was stopped because nobody read it is not kept: whoever comes again wants a whole answer.
    if ticket.is_named() && (is_whole || problem.is_some()) {
        let mut body = completions::answer(&done);
        if let (Some(problem), Some(body)) = (&problem, body.as_object_mut()) {
            let error = problem.openai_body().get("error").cloned();
            body.insert("error".to_owned(), json!(error));
        }
        kept = ticket.compose(&call.accounts, call.now, StatusCode::OK, &body).ok().and_then(|composed| composed.kept);
    }
    meter.close(kept).await;
    let last = match problem {
        Some(problem) => event(&problem.openai_body()),
        None => {
            let mut out = Vec::new();
            end(reply, &completions::usage(&done), &mut out);
            out.into()
        }
    };
    (last, done.cost())
}

fn end(reply: &Reply, usage: &Value, out: &mut Vec<u8>) {
    reply.usage(usage, out);
    out.extend_from_slice(DONE);
}

/// An event of its own, such as an error: nothing follows it, for official clients take a stream that just ends for a whole
/// answer.
fn event(value: &Value) -> Bytes {
    format!("data: {value}\n\n").into()
}

/// Reads an answer for somebody.
struct Reading<'a> {
    call: &'a Call,
    reply: &'a Reply,
    reader: Reader,
    /// Whether somebody may come again for the answer.
    is_kept: bool,
}

/// For whom an answer is read.
enum Reader {
    /// A client.
    Client(mpsc::Sender<Bytes>),
    /// Nobody, but to its end, until then.
    Nobody(Instant, #[expect(dead_code, reason = "held while the stream is drained")] OwnedSemaphorePermit),
    /// Nobody, and no further.
    Stopped,
}

impl Reading<'_> {
    /// The answer as far as it was read, and the failure that ended it.
    async fn read(&mut self, mut answer: Answer) -> (Completion, Option<Failure>) {
        let mut whole = Completion::default();
        let mut stop = self.call.stop();
        loop {
            let event = match &self.reader {
                Reader::Stopped => return (whole, None),
                Reader::Client(client) => tokio::select! {
                    event = answer.next() => event,
                    () = client.closed() => {
                        self.leave(&answer);
                        continue;
                    }
                    _ = stop.wait_for(|stop| *stop) => return (whole, Some(closing())),
                },
                Reader::Nobody(until, _) => tokio::select! {
                    event = answer.next() => event,
                    () = sleep_until(*until) => return (whole, None),
                    _ = stop.wait_for(|stop| *stop) => return (whole, None),
                },
            };
            match event {
                None => return (whole, None),
                Some(Err(failure)) => return (whole, Some(failure)),
                Some(Ok(event)) => {
                    if !self.write(|reply, out| reply.event(&event, out)).await {
                        self.leave(&answer);
                    }
                    whole.push(event);
                }
            }
        }
    }

    /// Whether there is no client, or it took the piece.
    async fn write(&self, piece: impl FnOnce(&Reply, &mut Vec<u8>)) -> bool {
        let Reader::Client(client) = &self.reader else { return true };
        let mut out = Vec::new();
        piece(self.reply, &mut out);
        out.is_empty() || client.send_timeout(out.into(), CLIENT_WITHIN).await.is_ok()
    }

    /// The client has left.
    fn leave(&mut self, answer: &Answer) {
        let is_drained = self.is_kept || answer.attempt().model.provider.on_disconnect == OnDisconnect::Drain;
        let permit = is_drained.then(|| self.call.chat.drains.clone().try_acquire_owned().ok()).flatten();
        self.reader = match permit {
            Some(permit) => Reader::Nobody(Instant::now() + self.call.chat.terms.drain, permit),
            None => Reader::Stopped,
        };
    }

    fn client(self) -> Option<mpsc::Sender<Bytes>> {
        match self.reader {
            Reader::Client(client) => Some(client),
            _ => None,
        }
    }
}

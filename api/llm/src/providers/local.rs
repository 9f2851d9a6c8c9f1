//! A small model in this process, so that a machine without any provider's key can answer.
//!
//! [SmolLM2-135M-Instruct](https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct) of 4 bits, run by candle on the
//! processor. One thread generates, one request after another; a bounded queue waits for it. It writes text and nothing
//! else: no tools, no pictures, no schemas.
//!
//! candle spreads one product of matrices over all cores. `CANDLE_NUM_THREADS` and `RAYON_NUM_THREADS` in the environment of
//! the process bound that; with 1 the model takes one core and leaves the others to the streams.

mod model;
mod stop;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use candle_transformers::generation::LogitsProcessor;
use serde_json::json;
use tokio::sync::mpsc;

pub use self::model::{CONTEXT_TOKENS, LoadError};
use self::{
    model::{Generation, Weights},
    stop::Stops,
};
use super::{RequestError, not_offered};
use crate::{
    catalog::ModelConfig,
    event::{Event, Finish},
    failure::{Failure, FailureKind},
    request::ChatRequest,
    usage::{Source, Tokens, Usage},
};

/// Requests that wait for the thread.
const QUEUE_MAX: usize = 32;
/// The most tokens of one answer, whatever the request and the catalog say.
const OUTPUT_TOKENS_MAX: u32 = 2048;
/// What the model's card advises, for requests that say nothing.
const TEMPERATURE: f64 = 0.2;
const TOP_P: f64 = 0.9;

type Sender = mpsc::Sender<Result<Event, Failure>>;

/// The model and its thread. The last clone to go stops the thread and waits for it, which is a token's time.
#[derive(Clone)]
pub struct Local(Arc<Worker>);

struct Worker {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    is_stopped: Arc<AtomicBool>,
}

struct Job {
    request: Arc<ChatRequest>,
    output_tokens_max: u32,
    events: Sender,
}

impl Local {
    /// Loads the weights at `path`, a GGUF file as `model/fetch.sh` brings it, and starts the thread. It takes a second or
    /// two and must not be called where others wait.
    ///
    /// # Errors
    /// [`LoadError`] if the file is not there or not such a model, or the system gives no thread.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let weights = Weights::load(path)?;
        let (jobs, queue) = sync_channel(QUEUE_MAX);
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_stopped);
        let thread = std::thread::Builder::new()
            .name("llm-local".to_owned())
            .spawn(move || work(&weights, &queue, &stopped))
            .map_err(|source| LoadError::Thread { source })?;
        Ok(Self(Arc::new(Worker { jobs: Some(jobs), thread: Some(thread), is_stopped })))
    }

    /// Whether the model can do all that is asked. Tools, pictures, schemas and probabilities are capabilities, which it has not.
    ///
    /// # Errors
    /// The name of what it cannot.
    pub(crate) fn check(request: &ChatRequest) -> Result<(), RequestError> {
        let sampling = &request.sampling;
        let is_asked = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
        let unable = [
            ("frequency_penalty", is_asked(sampling.frequency_penalty)),
            ("presence_penalty", is_asked(sampling.presence_penalty)),
            ("logit_bias", !sampling.logit_bias.is_empty()),
        ];
        match unable.into_iter().find(|(_, is_asked)| *is_asked) {
            Some((name, _)) => Err(not_offered(name, "the local model")),
            None => Ok(()),
        }
    }

    /// Puts a request into the queue. Whoever drops the receiver ends the generation at its next token.
    pub(crate) fn submit(
        &self,
        request: Arc<ChatRequest>,
        model: &ModelConfig,
    ) -> Result<mpsc::Receiver<Result<Event, Failure>>, Failure> {
        let wanted = request.output_tokens_max.unwrap_or(model.output_tokens_max);
        let output_tokens_max = wanted.min(model.output_tokens_max).min(OUTPUT_TOKENS_MAX);
        // All events of an answer have room, so that a slow reader never holds up the thread: a token gives its count and at
        // most one text, and four more frame them.
        let (events, receiver) = mpsc::channel(2 * output_tokens_max as usize + 4);
        let job = Job { request, output_tokens_max, events };
        match self.0.jobs.as_ref().map(|jobs| jobs.try_send(job)) {
            Some(Ok(())) => Ok(receiver),
            Some(Err(TrySendError::Full(_))) => {
                Err(Failure::new(FailureKind::Overloaded, "too many requests wait for the local model"))
            }
            Some(Err(TrySendError::Disconnected(_))) | None => {
                Err(Failure::new(FailureKind::Server, "the local model has stopped"))
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told to its request.
            let _ = thread.join();
        }
    }
}

fn work(weights: &Weights, queue: &Receiver<Job>, is_stopped: &AtomicBool) {
    while let Ok(job) = queue.recv() {
        if is_stopped.load(Ordering::Relaxed) {
            return;
        }
        if let Err(failure) = answer(weights, &job, is_stopped) {
            // Nobody may be listening any more.
            let _ = job.events.try_send(Err(failure));
        }
    }
}

fn answer(weights: &Weights, job: &Job, is_stopped: &AtomicBool) -> Result<(), Failure> {
    let send = |event| job.events.try_send(Ok(event)).is_ok();
    let prompt = weights.prompt(&job.request.messages).map_err(broken)?;
    let room = CONTEXT_TOKENS.saturating_sub(prompt.len());
    if room == 0 {
        let message = format!("the prompt has {} tokens and the model reads {CONTEXT_TOKENS}", prompt.len());
        return Err(Failure::new(FailureKind::ContextLength, message));
    }
    send(Event::Started { id: None, model: Some(weights.name.clone()) });
    let sampling = &job.request.sampling;
    let temperature = sampling.temperature.unwrap_or(TEMPERATURE);
    let seed = sampling.seed.unwrap_or(0).cast_unsigned();
    let mut drawing = LogitsProcessor::new(seed, Some(temperature), Some(sampling.top_p.unwrap_or(TOP_P)));
    let mut stops = Stops::new(&job.request.stop);
    let mut generation = Generation::new(weights);
    let mut text = weights.decoder();
    let mut logits = None;
    for chunk in Generation::chunks(&prompt) {
        if job.events.is_closed() || is_stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        logits = Some(generation.read(chunk).map_err(broken)?);
    }
    let mut output = 0;
    let limit = (job.output_tokens_max as usize).min(room);
    let finish = loop {
        let Some(last) = logits else { break Finish::Stop };
        let token = drawing.sample(&last).map_err(broken)?;
        if token == weights.end {
            break Finish::Stop;
        }
        output += 1;
        // Counted as it goes: who leaves in the midst of it pays for just this.
        send(usage(prompt.len(), output));
        let piece = text.step(token).map_err(broken)?;
        let is_stop = piece.is_some_and(|piece| {
            let (text, is_stop) = stops.push(&piece);
            // A reader that has gone is seen below.
            let _ = text.is_empty() || send(Event::Text(text));
            is_stop
        });
        if is_stop {
            break Finish::Stop;
        }
        if output == limit {
            break Finish::Length;
        }
        if job.events.is_closed() || is_stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        logits = Some(generation.read(&[token]).map_err(broken)?);
    };
    let rest = stops.finish();
    if !rest.is_empty() {
        send(Event::Text(rest));
    }
    send(usage(prompt.len(), output));
    send(Event::Finish(finish));
    Ok(())
}

fn usage(input: usize, output: usize) -> Event {
    let tokens = Tokens { input: input as u64, output: output as u64, ..Tokens::default() };
    let raw = json!({"prompt_tokens": input, "completion_tokens": output});
    Event::Usage(Usage { tokens, source: Source::Counted, raw })
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Server, format!("the local model failed: {error}"))
}

//! What the tests of all dialects share: a model, and the way from bytes to events.

use std::time::Duration;

use llm::{
    Capability, ChatRequest, Completion, Dialect, Event, Failure, ModelConfig, Price, Rates, Thinking, Tokens,
    providers::{Flow, WireError},
    sse,
};
use serde_json::Value;

pub(crate) const RATES: Rates =
    Rates { input: 1_000_000, cache_read: 100_000, cache_write: 1_250_000, output: 2_000_000 };

/// A model that can do everything.
pub(crate) fn model(id: &str, provider: &str, thinking: Thinking) -> ModelConfig {
    ModelConfig {
        id: id.into(),
        provider: provider.into(),
        upstream: format!("{id}-upstream"),
        price: Price { rates: RATES, long: None },
        context_tokens: 100_000,
        output_tokens_max: 20_000,
        grade: 1,
        capabilities: vec![
            Capability::Tools,
            Capability::Images,
            Capability::JsonObject,
            Capability::JsonSchema,
            Capability::Logprobs,
        ],
        thinking,
    }
}

/// The body that `dialect` sends for `request`, OpenAI's JSON.
pub(crate) fn encode(dialect: Dialect, thinking: Thinking, request: &Value) -> (String, Value) {
    let wire = dialect.encode(&parse(request), &model("m", "p", thinking)).unwrap();
    (wire.path, serde_json::from_slice(&wire.body).unwrap())
}

pub(crate) fn parse(request: &Value) -> ChatRequest {
    ChatRequest::from_value(request).unwrap()
}

/// The events of a stream, and whether the provider said that it was over.
pub(crate) fn stream(dialect: Dialect, text: &str) -> Result<(Vec<Event>, Flow), WireError> {
    let mut decoder = dialect.decoder();
    let mut parser = sse::Parser::default();
    let mut events = Vec::new();
    let mut last = Ok(Flow::More);
    // Small pieces, so that messages are cut wherever they can be.
    for chunk in text.as_bytes().chunks(7) {
        let decode = |message: sse::Message| {
            if last.is_ok() {
                last = decoder.decode(&message.data, &mut events);
            }
        };
        parser.push(chunk, decode).unwrap();
    }
    last.map(|flow| (events, flow))
}

pub(crate) fn streamed(dialect: Dialect, text: &str) -> Completion {
    fold(stream(dialect, text).unwrap().0)
}

pub(crate) fn whole(dialect: Dialect, body: &Value) -> Completion {
    let mut events = Vec::new();
    dialect.decoder().decode(&body.to_string(), &mut events).unwrap();
    fold(events)
}

pub(crate) fn tokens(input: u64, cache_read: u64, cache_write: u64, output: u64, reasoning: u64) -> Tokens {
    Tokens { input, cache_read, cache_write, output, reasoning }
}

pub(crate) fn failure(dialect: Dialect, status: u16, body: &Value) -> Failure {
    dialect.failure(status, body.to_string().as_bytes())
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);

fn fold(events: Vec<Event>) -> Completion {
    let mut whole = Completion::default();
    for event in events {
        whole.push(event);
    }
    whole
}

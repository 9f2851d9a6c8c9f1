//! Chat with language models: one neutral request in, one neutral stream of events out, whoever answers.
//!
//! `request` (what is asked; `parse` reads it from OpenAI's JSON) → `catalog` (models, their prices, aliases) → `routing`
//! (who may answer, in which order; `breaker` remembers who fails) → `driver` (sends, waits, retries, fails over) →
//! `providers` (three translations each) and `sse` (the wire of streams) → `event` and `usage` (what comes back; `reply`
//! writes it as OpenAI does, `rescue` mends it). `failure` says why not. Read `driver` first: it calls all the others.
//!
//! - **No price, no call.** A [`Model`] without a [`Price`] cannot be said, and what is not in the [`Catalog`] is not asked.
//! - **Every attempt is told.** [`Attempts`] hears of each attempt before a byte of its prompt leaves, at its first token,
//!   and at its end, which comes exactly once, also for a caller that goes away. Money is the business of whoever listens.
//! - **Nothing is repeated once it was seen.** Retries and failover happen before the first visible token; after it a
//!   [`Rescue`] goes on only where another answer says the same, letter by letter.
//! - **Tokens are counted in disjoint [`Tokens`] buckets**, and what the provider said is kept beside them.
//!
//! # A call, as a route makes it
//!
//! The task that makes it is not the handler's: a client that leaves must not take the end of its bill with it.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use llm::{Attempts, Call, Catalog, ChatRequest, Completion, Driver, Rescue, reply::{DONE, Reply, usage_json}, routing};
//!
//! type Sent = Result<Vec<u8>, Box<dyn std::error::Error>>;
//!
//! async fn pump(driver: &Driver, catalog: &Catalog, body: &[u8], ledger: Arc<dyn Attempts>) -> Sent {
//!     let mut request = ChatRequest::parse(body)?;
//!     let route = routing::by_name(catalog, &request)?;
//!     let reply = Reply::new("chatcmpl-1", 1_764_000_000, &request.model, request.include_usage);
//!     let wants_stream = std::mem::replace(&mut request.stream, true);
//!     request.reasoning = route.reasoning;
//!     // What is held for it, and how much can be written for the money there is.
//!     let (price, input) = (route.targets[0].config.price, request.input_max());
//!     let output = price.affordable(1_000_000, input, 1024).ok_or("insufficient funds")?;
//!     request.output_tokens_max = Some(output.try_into()?);
//!
//!     let call = Call { request: Arc::new(request), targets: route.targets, own_key: None, seed: 1, attempts: ledger };
//!     // A failure up to here can still be a status.
//!     let mut answer = Rescue::new(driver, &call, driver.open(&call).await?);
//!     let (mut out, mut whole) = (Vec::new(), Completion::default());
//!     reply.begin(&mut out);
//!     while let Some(event) = answer.next().await {
//!         match event {
//!             Ok(event) => {
//!                 reply.event(&event, &mut out);
//!                 whole.push(event);
//!             }
//!             Err(failure) => {
//!                 Reply::error(&failure.message, "server_error", failure.kind.as_str(), &mut out);
//!                 return Ok(out);
//!             }
//!         }
//!     }
//!     if !wants_stream {
//!         return Ok(reply.whole(&whole).to_string().into_bytes());
//!     }
//!     if let Some(usage) = &whole.usage {
//!         reply.usage(&usage_json(usage), &mut out);
//!     }
//!     out.extend_from_slice(DONE);
//!     Ok(out)
//! }
//! ```

mod answer;
mod attempt;
mod breaker;
mod catalog;
mod driver;
mod event;
mod failure;
mod field;
mod gate;
mod parse;
pub mod providers;
pub mod reply;
mod request;
mod rescue;
pub mod routing;
mod secret;
pub mod sse;
mod usage;

pub use answer::Answer;
pub use attempt::{Attempt, Attempts, End, Outcome, Refused};
pub use breaker::{BreakerPolicy, Breakers, Open};
pub use catalog::{Alias, Catalog, CatalogError, LongPrice, Model, ModelConfig, Price, Rates, Task, Thinking};
pub use driver::{Call, Driver, Limits};
pub use event::{Completion, Event, Finish, TOOL_CALLS_MAX, Thought, ToolDelta};
pub use failure::{Failure, FailureKind};
pub use field::RequestError;
pub use providers::{Dialect, OnDisconnect, Provider, ProviderConfig};
pub use request::{
    Assistant, BODY_BYTES_MAX, Capability, ChatRequest, Effort, Format, Image, MESSAGES_MAX, Message, Part, Reasoning,
    Sampling, Tool, ToolCall, ToolChoice, Verbosity,
};
pub use rescue::Rescue;
pub use secret::Secret;
pub use usage::{Source, Tokens, Usage, estimate_tokens};

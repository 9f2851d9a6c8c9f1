//! Chat with language models: one neutral request in, one neutral stream of events out, whoever answers.
//!
//! `request` (what is asked; `parse` reads it from OpenAI's JSON) → `catalog` (models, their prices, aliases) → `routing`
//! (who may answer, in which order; `breaker` remembers who fails) → `driver` (sends, waits, retries, fails over) →
//! `providers` (three translations each) and `sse` (the wire of streams) → `event` and `usage` (what comes back).
//! `failure` says why not. Read `driver` first: it calls all the others.
//!
//! - **No price, no call.** A [`Model`] without a [`Price`] cannot be said, and what is not in the [`Catalog`] is not asked.
//! - **Every attempt is told.** [`Attempts`] hears of each attempt before a byte of its prompt leaves, at its first token,
//!   and at its end, which comes exactly once, also for a caller that goes away. Money is the business of whoever listens.
//! - **Nothing is repeated once it was seen.** Retries and failover happen before the first visible token, never after.
//! - **Tokens are counted in disjoint [`Tokens`] buckets**, and what the provider said is kept beside them.

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
pub use providers::{Dialect, OnDisconnect, Provider};
pub use request::{
    Assistant, BODY_BYTES_MAX, Capability, ChatRequest, Effort, Format, Image, MESSAGES_MAX, Message, Part, Reasoning,
    Sampling, Tool, ToolCall, ToolChoice, Verbosity,
};
pub use rescue::Rescue;
pub use secret::Secret;
pub use usage::{Source, Tokens, Usage, estimate_tokens};

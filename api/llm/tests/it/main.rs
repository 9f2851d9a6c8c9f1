//! Providers' wires in, neutral events out; calls against scripted servers on loopback.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod anthropic;
mod calls;
mod failover;
mod gemini;
mod llmock;
#[cfg(feature = "local")]
mod local;
mod openai;
mod reply;
mod request;
mod rescue;
mod routing;
mod stage;
mod upstream;
mod wire;

//! Providers' wires in, neutral events out; calls against scripted servers on loopback.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod anthropic;
mod gemini;
mod openai;
mod request;
mod wire;

//! The supervisor against fake venues in this process.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod candles;
mod fake;
mod harness;
mod venues;

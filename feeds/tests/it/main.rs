//! The supervisor against venues in this process, and recordings through the parsers.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;
mod harness;
mod recordings;
mod venues;

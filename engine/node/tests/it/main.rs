//! Tests of a whole node: one binary, a module for each concern.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]
#![allow(unreachable_pub, reason = "modules of one test binary")]

mod raw;
mod slow;
mod stage;
mod stream;
mod tls;
mod wire;

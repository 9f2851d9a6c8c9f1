//! Tests of a whole node: one binary, a module for each concern.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed test panics")]
#![allow(unreachable_pub, reason = "modules of one test binary")]

mod slow;
mod stage;
mod stream;

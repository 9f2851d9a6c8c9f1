//! Integration tests of the program: one binary, a module for each concern.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod clients;
mod end_to_end;
mod fixtures;
mod follower;
mod golden;
mod hostile;
mod loadtest;
mod played;
mod process;
mod record;
mod replay;
mod shard;
mod support;
mod tidy;
mod trouble;
mod venue;

//! Integration tests of the program: one binary, a module for each concern.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod accounts;
mod backfill;
mod chat;
mod clients;
mod contract;
mod end_to_end;
mod fixtures;
mod follower;
mod golden;
mod history;
mod hostile;
mod import;
mod llmock;
mod loadtest;
mod local;
mod model;
mod outage;
mod played;
mod process;
#[path = "servers/questdb.rs"]
mod questdb;
mod quickstart;
mod record;
mod replay;
mod restart;
mod shard;
mod support;
mod tidy;
mod trouble;
mod venue;
mod venue_rest;

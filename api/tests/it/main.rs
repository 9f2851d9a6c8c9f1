//! Market data over HTTP, as a client sees it: a real server, a real store, and an engine that says what it is told to say.
//!
//! Each test of `candles` and `trades` runs on the embedded store, and on QuestDB where `KANDLE_QUESTDB` names its HTTP
//! address; with `KANDLE_REQUIRE_QUESTDB=1` its absence is a failure. `venues` compares with recorded candles of venues.
//!
//! Tests of `accounts` run on SQLite, and on PostgreSQL where `KANDLE_POSTGRES` names a server by its URL; with
//! `KANDLE_REQUIRE_POSTGRES=1` its absence is a failure.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod accounts;
mod billing;
mod caching;
mod candles;
mod chat;
mod document;
mod errors;
mod formats;
mod stage;
mod trades;
mod venues;

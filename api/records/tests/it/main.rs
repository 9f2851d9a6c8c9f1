//! The records on real files, a real server and in processes that are killed.
//!
//! Each test runs on SQLite, and on PostgreSQL where `KANDLE_POSTGRES` names a server by a URL whose user may create
//! databases, such as `postgres://kandle@127.0.0.1:5432/postgres` of `tests/servers/postgres.sh`; with
//! `KANDLE_REQUIRE_POSTGRES=1` its absence is a failure.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod accounts;
mod cast;
mod charges;
mod crash;
mod outage;
mod stage;
mod suite;

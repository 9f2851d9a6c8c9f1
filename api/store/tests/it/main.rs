//! The stores and their writer, on real files, a real server and real processes that are killed.
//!
//! Each test of `suite` runs on the embedded store, and on QuestDB where `KANDLE_QUESTDB` names its HTTP address, such as
//! `http://127.0.0.1:9000`; with `KANDLE_REQUIRE_QUESTDB=1` its absence is a failure. `outage` starts servers of its own
//! with `tests/servers/questdb.sh`, under the same condition.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed test panics")]

mod crash;
mod full_disk;
mod laws;
mod outage;
#[path = "../../../../tests/servers/questdb.rs"]
mod questdb;
mod stage;
mod suite;
mod writer;

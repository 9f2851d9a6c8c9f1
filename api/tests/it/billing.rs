//! Money over HTTP: real servers, a real database, cards by a fake of Stripe.
//!
//! Each test runs on SQLite, and on PostgreSQL where `KANDLE_POSTGRES` names a server by a URL whose user may create databases;
//! with `KANDLE_REQUIRE_POSTGRES=1` its absence is a failure. At the end of each the journal is verified.

mod bounds;
mod checkouts;
pub(crate) mod desk;
mod downtime;
mod reports;
mod reversals;
mod shop;
mod webhooks;

//! Language models over HTTP: real servers, a real database, providers on loopback that do what a script says.
//!
//! Each test about money runs on SQLite, and on PostgreSQL where `KANDLE_POSTGRES` names a server. At the end of each the journal
//! is verified.

mod answers;
mod departures;
mod money;
mod refusals;
mod routes;
mod stage;
mod twice;

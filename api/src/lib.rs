//! HTTP sidecar: health, market symbols, candles, trades and tickers, metrics. It asks a [`View`] and a store, and knows
//! neither feeds nor shards.
//!
//! `view` (what can be asked) → `routes` (which path asks it, request ids) → `market` (candles and trades, stored and
//! running) → `error` (what a request is answered with otherwise). Read `routes` first.

mod access;
mod accounts;
pub mod billing;
mod body;
mod error;
mod given;
pub mod limits;
mod market;
mod moment;
mod once;
mod problem;
pub mod routes;
mod shell;
pub mod tiers;
pub mod view;

pub use access::{Access, Follower};
pub use accounts::{Accounts, Welcome};
pub use routes::{App, router};
pub use view::View;

//! HTTP sidecar: health, market symbols, candles, trades and tickers, metrics. It asks a [`View`] and a store, and knows
//! neither feeds nor shards.
//!
//! `view` (what can be asked) → `routes` (which path asks it, request ids) → `market` (candles and trades, stored and
//! running) → `error` (what a request is answered with otherwise). Read `routes` first.

mod body;
mod error;
pub mod limits;
mod market;
mod problem;
pub mod routes;
mod shell;
pub mod tiers;
pub mod view;

pub use routes::router;
pub use view::View;

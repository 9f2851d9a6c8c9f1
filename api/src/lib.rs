//! HTTP sidecar: health, market symbols, metrics. It asks a [`View`] and knows neither feeds nor shards.
//!
//! `view` (what can be asked) → `routes` (which path asks it, request ids, errors). Read `routes` first.

pub mod routes;
pub mod view;

pub use routes::router;
pub use view::View;

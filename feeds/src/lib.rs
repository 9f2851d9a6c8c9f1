//! Venues: recorded and live trades as integers, with what proves them complete.
//!
//! `venue` (the one interface; `venue/scan` reads JSON text, then one file a venue) → `rest` (requests at a venue's pace) →
//! `supervisor` (connections, repair), `record` (what they were sent, on disk), `backfill` (candles of the past), `sim` (load).
//! Read `venue` first. `symbols` is the default configuration.

pub mod backfill;
mod backoff;
pub mod metrics;
pub mod record;
mod rest;
pub mod sim;
pub mod supervisor;
pub mod symbols;
pub mod venue;

//! Streaming core: trades in, encoded frames out. No I/O, no clock, no lock, no async.
//!
//! `number` → `market` → `interval` → `continuity` → `candle` → `aggregator` → `ticker` → `ring` → `json` →
//! `frame` → `channel` → `message` → `shard`. Read `shard` first: it calls all the others.
//!
//! Time and trades are inputs, frames are outputs: the same inputs give the same bytes.

pub mod channel;
pub mod frame;
pub mod interval;
pub mod market;
pub mod message;
pub mod number;

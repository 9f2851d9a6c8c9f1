//! Streaming core: trades in, encoded frames out. No I/O, no clock, no lock, no async.
//!
//! `digits` → `number` → `market` → `interval` → `continuity` → `candle` → `series` → `aggregator` → `seed` → `ticker` → `ring` →
//! `json` → `frame` → `block` → `channel` → `message` → `topic` → `book` → `shard`. Read `shard` first: it calls all the others.
//!
//! Time and trades are inputs, frames are outputs: the same inputs give the same bytes.

pub mod aggregator;
mod block;
mod book;
pub mod candle;
pub mod channel;
pub mod continuity;
mod digits;
pub mod feed_gap;
pub mod fold;
pub mod frame;
pub mod interval;
pub mod json;
pub mod market;
pub mod message;
pub mod number;
pub mod ring;
pub mod seed;
mod series;
pub mod shard;
pub mod ticker;
mod topic;

//! Streaming runtime: shards, workers, sessions, WebSocket.
//!
//! `server` starts it all: one `shard_thread` per shard, one `worker` per few cores, the `accept` loop.
//! - In: inputs through a `ShardSender` → `shard_thread` → batches over a `link` to each worker.
//! - Out: a worker drains its queue (`deliver`: who follows what is in `table`), gathers (`turn`, `wire`, `deflate`), writes
//!   (`flush`, by a `transmit`ter); slow sessions have an `outbox`. Each second: `upkeep`.
//! - Clients: `accept` (`tls`) → `upgrade` (`auth`) → a worker's `session`; their bytes (`socket`) → `codec` → `protocol` → `commands` →
//!   `answer`.
//! - For the sidecar: closed candles to a `keep`er, and answers about the present.
//! - `clock` reads the time, `metrics` counts, `config` bounds.

pub mod accept;
mod answer;
pub mod auth;
pub mod clock;
pub mod codec;
mod commands;
pub mod config;
mod deflate;
mod deliver;
mod flush;
pub mod keep;
mod leave;
mod link;
pub mod metrics;
mod outbox;
mod place;
mod protocol;
pub mod sender;
pub mod server;
mod session;
mod shard_thread;
mod socket;
mod table;
mod tls;
mod transmit;
mod turn;
mod upgrade;
mod upkeep;
mod wire;
mod worker;

pub use auth::{Authenticator, ConfiguredKeys, Grant, KeyId};
pub use clock::Clock;
pub use config::{Io, Limits, NodeConfig};
pub use keep::{Keeper, Present};
pub use metrics::Metrics;
pub use place::take_short_turns;
pub use sender::{SendError, ShardSender};
pub use server::{Node, Parts, Status};
pub use tls::{Tls, TlsError};

//! Settings of a node.

use std::{net::SocketAddr, thread};

/// How much a client may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Channels of one connection.
    pub channels_per_connection: usize,
    /// How long after its end a candle may still be corrected.
    pub late_window_ms: i64,
    /// How long after its end a candle closes at the latest.
    pub close_delay_ms: i64,
    /// Bytes that wait for one slow client before its events are lost.
    pub outbox_bytes: usize,
    /// Open connections, HTTP and WebSocket together.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            channels_per_connection: 50,
            late_window_ms: 300_000,
            close_delay_ms: 1000,
            outbox_bytes: 1 << 20,
            connections: 65_536,
        }
    }
}

/// How workers send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// By `io_uring` where the kernel allows it, else by one call a send.
    #[default]
    Auto,
    /// By one call a send.
    Epoll,
    /// As [`Io::Auto`], and a warning tells if there is no ring.
    Uring,
}

/// Settings of a node.
#[derive(Clone, Copy, Debug)]
pub struct NodeConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that own sockets.
    pub workers: usize,
    /// Threads that own symbols.
    pub shards: usize,
    /// Trades and states go out at whole multiples of this, or at once if it is zero; see `engine::shard::ShardConfig`.
    pub emit_ms: i64,
    /// Inputs that a shard takes in one turn at the most: states and trades of one turn share their events.
    pub turn_inputs_max: usize,
    /// Turns of shards that may wait for a worker; what is beyond is read again from the shard's log.
    pub worker_messages_max: usize,
    /// How workers send.
    pub io: Io,
    /// Whether workers and shards stay on one core each.
    pub pin: bool,
    /// How much a client may ask for.
    pub limits: Limits,
    /// How often a client is pinged; silent for two of these, it is closed.
    pub ping_interval_ms: i64,
    /// How long a socket may take nothing before its client counts as stuck.
    pub write_deadline_ms: i64,
    /// Whether messages are compressed for clients that offer it.
    pub deflate: bool,
    /// The kernel's send buffer of a session.
    pub send_buffer_bytes: usize,
    /// The epoch of this start: never repeats on the same listener. Zero takes the time of the start.
    pub epoch: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            workers: (cores / 2).max(1),
            shards: (cores / 4).max(1),
            emit_ms: 0,
            turn_inputs_max: 8192,
            worker_messages_max: 4096,
            io: Io::Auto,
            pin: false,
            limits: Limits::default(),
            ping_interval_ms: 20_000,
            write_deadline_ms: 10_000,
            deflate: true,
            send_buffer_bytes: 128 * 1024,
            epoch: 0,
        }
    }
}

//! What the server says besides market data: one variant per op.

use bytes::Bytes;
use engine::frame::text_frame;
use serde::Serialize;
use serde_json::Value;

/// How much a connection may do.
#[derive(Debug, Serialize)]
pub(crate) struct WelcomeLimits {
    pub(crate) connections: u32,
    pub(crate) channels: usize,
}

/// One channel of a `list`.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    pub(crate) channel: String,
    /// The last event that the session has or that waits for it; none before the snapshot.
    pub(crate) seq: Option<u64>,
    /// How many messages wait.
    pub(crate) pending: usize,
    pub(crate) rate_ms: u32,
}

/// A server op, without those that shards encode.
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum Answer {
    Welcome {
        connection_id: String,
        server_time: i64,
        epoch: String,
        limits: WelcomeLimits,
        ping_interval_ms: i64,
    },
    Subscribed {
        channels: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    Unsubscribed {
        channels: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    List {
        channels: Vec<Listed>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    Ping {
        ts: i64,
    },
    Pong {
        ts: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    Error {
        code: &'static str,
        message: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    Gap {
        channel: String,
        from: u64,
        to: u64,
        lost: u64,
        cause: &'static str,
        state: &'static str,
    },
}

impl Answer {
    /// Tells a slow client what it lost.
    pub(crate) fn lost(channel: String, from: u64, to: u64, lost: u64) -> Self {
        Self::Gap { channel, from, to, lost, cause: "slow_consumer", state: "lost" }
    }

    /// The whole WebSocket frame.
    pub(crate) fn frame(&self) -> Bytes {
        // Strings, integers and parsed values always serialise.
        text_frame(&serde_json::to_vec(self).unwrap_or_default())
    }
}

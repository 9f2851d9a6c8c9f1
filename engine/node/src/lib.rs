//! Streaming runtime: shards, workers, sessions, WebSocket.

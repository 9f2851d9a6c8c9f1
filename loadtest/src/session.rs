//! One connection: subscribes, then checks the number of every event of every channel.

use std::{collections::HashMap, future::Future, net::SocketAddr, sync::Arc};

use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, WebSocketError, handshake};
use hdrhistogram::Histogram;
use http_body_util::Empty;
use hyper::{Request, body::Bytes, header, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout_at};

use crate::{Plan, clock::now_ms};

/// The slowest latency that the histogram tells apart.
const LATENCY_MS_MAX: u64 = 600_000;

/// Why a run, or a connection of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The address is not on this machine.
    #[error("{0} is not on loopback: a load test of another machine must be allowed by its own switch")]
    Remote(SocketAddr),
    /// None, or too many.
    #[error("{0} connections: between 1 and {max} can be opened", max = crate::CONNECTIONS_MAX)]
    Connections(usize),
    /// Every connection failed.
    #[error("nobody could connect: {0}")]
    Nobody(String),
    /// The socket.
    #[error("no connection")]
    Connect(#[from] std::io::Error),
    /// The handshake or a frame.
    #[error("the WebSocket failed")]
    WebSocket(#[from] WebSocketError),
    /// The request could not be built from the plan.
    #[error("the URL or key has characters that a request cannot carry")]
    Request(#[from] hyper::http::Error),
    /// The server closed.
    #[error("closed by the server with code {0}")]
    Closed(u16),
    /// The histogram refused a bound.
    #[error("the latency histogram cannot be made")]
    Histogram,
}

/// What one connection saw, or all of them together.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Events received.
    pub events: u64,
    /// Events that the server told to have skipped or lost.
    pub told: u64,
    /// Numbers missing without a word.
    pub holes: u64,
    /// Bytes of JSON.
    pub bytes: u64,
    /// From `ts` to receipt.
    pub latency_ms: Histogram<u64>,
    last: HashMap<String, u64>,
}

#[derive(Deserialize)]
struct Op<'a> {
    #[serde(borrow)]
    op: &'a str,
    #[serde(borrow)]
    channel: Option<&'a str>,
    seq: Option<u64>,
    ts: Option<u64>,
    skipped: Option<u64>,
    lost: Option<u64>,
}

impl Tally {
    /// Nothing seen yet.
    ///
    /// # Errors
    /// [`LoadError::Histogram`] never in practice: its bounds are constant.
    pub fn new() -> Result<Self, LoadError> {
        let latency_ms = Histogram::new_with_bounds(1, LATENCY_MS_MAX, 3).map_err(|_| LoadError::Histogram)?;
        Ok(Self { events: 0, told: 0, holes: 0, bytes: 0, latency_ms, last: HashMap::new() })
    }

    /// Adds another connection's.
    ///
    /// # Errors
    /// [`LoadError::Histogram`] never in practice: all have the same bounds.
    pub fn add(&mut self, other: &Self) -> Result<(), LoadError> {
        self.events += other.events;
        self.told += other.told;
        self.holes += other.holes;
        self.bytes += other.bytes;
        self.latency_ms.add(&other.latency_ms).map_err(|_| LoadError::Histogram)
    }

    /// Checks one text of the server.
    fn on_text(&mut self, text: &[u8], now: u64) {
        self.bytes += text.len() as u64;
        let Ok(op) = serde_json::from_slice::<Op<'_>>(text) else { return };
        let Some(channel) = op.channel else { return };
        match (op.op, op.seq) {
            ("snapshot", Some(seq)) => {
                self.last.insert(channel.to_owned(), seq);
            }
            ("event", Some(seq)) => {
                self.events += 1;
                let skipped = op.skipped.unwrap_or(0);
                self.told += skipped;
                if let Some(last) = self.last.get_mut(channel) {
                    self.holes += seq.saturating_sub(*last + 1 + skipped);
                    *last = seq;
                }
                let latency = now.saturating_sub(op.ts.unwrap_or(now)).clamp(1, LATENCY_MS_MAX);
                self.latency_ms.saturating_record(latency);
            }
            ("gap", _) => {
                // Lost events count as told: the next event's number is beyond them.
                let lost = op.lost.unwrap_or(0);
                self.told += lost;
                if let Some(last) = self.last.get_mut(channel) {
                    *last += lost;
                }
            }
            _ => {}
        }
    }
}

struct Spawn;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

async fn connect(plan: &Plan) -> Result<FragmentCollector<TokioIo<Upgraded>>, LoadError> {
    let socket = TcpStream::connect(plan.address).await?;
    socket.set_nodelay(true)?;
    let request = Request::builder()
        .uri("/v1/ws")
        .header(header::HOST, plan.address.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {}", plan.key))
        .header(header::UPGRADE, "websocket")
        .header(header::CONNECTION, "upgrade")
        .header(header::SEC_WEBSOCKET_KEY, handshake::generate_key())
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .body(Empty::<Bytes>::new())?;
    let (socket, _) = handshake::client(&Spawn, request, socket).await?;
    Ok(FragmentCollector::new(socket))
}

/// Follows the plan's channels for its time.
pub(crate) async fn follow(plan: Arc<Plan>) -> Result<Tally, LoadError> {
    let mut socket = connect(&plan).await?;
    let wish = serde_json::json!({"op": "subscribe", "channels": plan.channels, "snapshot": 1}).to_string();
    socket.write_frame(Frame::text(Payload::Owned(wish.into_bytes()))).await?;
    let mut tally = Tally::new()?;
    let end = tokio::time::Instant::now() + plan.listen;
    while let Ok(frame) = timeout_at(end, socket.read_frame()).await {
        let frame = frame?;
        match frame.opcode {
            OpCode::Text => tally.on_text(&frame.payload, now_ms()),
            OpCode::Close => {
                let code = frame.payload.first_chunk().map_or(1005, |bytes| u16::from_be_bytes(*bytes));
                return Err(LoadError::Closed(code));
            }
            _ => {}
        }
    }
    let _ = socket.write_frame(Frame::close(1000, b"")).await;
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_counts_unless_the_server_told_of_it() {
        let mut tally = Tally::new().unwrap();
        for text in [
            r#"{"op":"snapshot","channel":"a","seq":5,"data":[]}"#,
            r#"{"op":"event","channel":"a","seq":6,"ts":90,"data":{}}"#,
            r#"{"op":"event","channel":"a","seq":9,"ts":90,"skipped":2,"data":{}}"#,
            r#"{"op":"gap","channel":"a","from":10,"to":11,"lost":2,"state":"lost"}"#,
            r#"{"op":"event","channel":"a","seq":12,"ts":90,"data":{}}"#,
            r#"{"op":"event","channel":"a","seq":14,"ts":90,"data":{}}"#,
            "not json",
        ] {
            tally.on_text(text.as_bytes(), 100);
        }
        assert_eq!((tally.events, tally.told, tally.holes), (4, 4, 1));
        assert_eq!(tally.latency_ms.max(), 10);
    }
}

//! A client that reads frames byte by byte, compressed or in arrays, and can stop reading.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::stage::Stage;

/// Trades that a stalled client must read later: more than its sockets hold, less than an outbox may.
const TRADES: u64 = 4000;

/// A client that reads its frames itself, and only when it is asked to.
pub struct Raw<S> {
    pub io: S,
    is_batch: bool,
    /// What the server answered to the offer of compression.
    pub extension: Option<String>,
    ops: Vec<Value>,
}

impl Raw<TcpStream> {
    /// With the smallest receive buffer that the kernel gives.
    pub async fn connect(stage: &Stage, query: &str) -> Self {
        Self::offering(stage, query, None).await
    }

    pub async fn offering(stage: &Stage, query: &str, offer: Option<&str>) -> Self {
        let io = small_socket(stage).await;
        Self::handshake(io, query, offer).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub async fn handshake(mut io: S, query: &str, offer: Option<&str>) -> Self {
        let offer = offer.map_or(String::new(), |offer| format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        let request = format!(
            "GET /v1/ws?api_key=kai-test{query} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        );
        io.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let extension = lines.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-extensions"));
        let extension = extension.map(|(_, value)| value.to_owned());
        Self { io, is_batch: query.contains("batch=1"), extension, ops: Vec::new() }
    }

    /// Sends a frame with a mask of zeros, which leaves the bytes as they are.
    pub async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            middle => {
                frame.push(0x80 | 126);
                frame.extend((middle as u16).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.io.write_all(&frame).await.unwrap();
    }

    pub async fn say(&mut self, op: Value) {
        self.send(0x81, op.to_string().as_bytes()).await;
    }

    /// The next frame: its first byte and its payload.
    pub async fn frame(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let first = self.io.read_u8().await.unwrap();
            let size = match self.io.read_u8().await.unwrap() {
                126 => usize::from(self.io.read_u16().await.unwrap()),
                127 => self.io.read_u64().await.unwrap() as usize,
                size => usize::from(size),
            };
            let mut payload = vec![0; size];
            self.io.read_exact(&mut payload).await.unwrap();
            (first, payload)
        };
        timeout(Duration::from_secs(10), read).await.expect("a frame")
    }

    /// The next op; an array of ops comes one by one.
    pub async fn op(&mut self) -> Value {
        while self.ops.is_empty() {
            let (first, payload) = self.frame().await;
            if first & 0x0f != 1 {
                assert_ne!(first & 0x0f, 8, "closed: {payload:?}");
                continue;
            }
            let text = match first {
                0xc1 if self.extension.is_some() => unpacked(&payload),
                _ => payload,
            };
            assert_eq!(first & !0x40, 0x81);
            self.ops = match serde_json::from_slice(&text).unwrap() {
                Value::Array(ops) if self.is_batch && !ops.is_empty() => ops,
                op @ Value::Object(_) if !self.is_batch => vec![op],
                other => panic!("not of the form that was chosen: {other}"),
            };
        }
        self.ops.remove(0)
    }

    pub async fn hear(&mut self, name: &str) -> Value {
        loop {
            let op = self.op().await;
            if op["op"] == name {
                return op;
            }
        }
    }

    /// The next control frame; texts before it are passed over.
    pub async fn control(&mut self) -> (u8, Vec<u8>) {
        loop {
            let frame = self.frame().await;
            if frame.0 & 0x08 != 0 {
                return frame;
            }
        }
    }

    pub async fn close_code(&mut self) -> u16 {
        let (first, payload) = self.control().await;
        assert_eq!(first, 0x88);
        u16::from_be_bytes([payload[0], payload[1]])
    }
}

pub async fn small_socket(stage: &Stage) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(stage.node.local_addr()).await.unwrap()
}

/// The text of a compressed message; each stands alone.
pub fn unpacked(payload: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let ended = [payload, &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
    flate2::read::DeflateDecoder::new(&ended[..]).read_to_end(&mut text).unwrap();
    text
}

/// A compressed message as clients make it.
pub fn packed(text: &[u8]) -> Vec<u8> {
    let mut stream = flate2::Compress::new(flate2::Compression::default(), false);
    let mut out = Vec::with_capacity(text.len() + 1024);
    stream.compress_vec(text, &mut out, flate2::FlushCompress::Sync).unwrap();
    out.truncate(out.len() - 4);
    out
}

/// Reads nothing while trades come in, then everything: each trade is there once and in order.
pub async fn check_stalled<S: AsyncRead + AsyncWrite + Unpin>(stage: &Stage, client: &mut Raw<S>) {
    client.say(json!({"op": "subscribe", "channels": ["trades.C0", "market.C0.1s", "ticker.C0"]})).await;
    for _ in 0..3 {
        client.hear("snapshot").await;
    }
    for id in 1..=TRADES {
        stage.trade(id).await;
        if id % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let since = Instant::now();
    while stage.metrics.outbox_bytes.get() == 0 {
        assert!(since.elapsed() < Duration::from_secs(10), "the client is not slow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut next = 1;
    while next <= TRADES {
        let event = client.hear("event").await;
        if event["channel"] == "trades.C0" {
            for trade in event["data"].as_array().unwrap() {
                assert_eq!(trade["id"], next);
                next += 1;
            }
        }
    }
    client.say(json!({"op": "ping", "id": "still here"})).await;
    assert_eq!(client.hear("pong").await["id"], "still here");
}

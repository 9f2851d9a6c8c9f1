//! What a client may choose on connecting, read byte by byte.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use node::NodeConfig;
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
struct Raw<S> {
    io: S,
    is_batch: bool,
    /// What the server answered to the offer of compression.
    extension: Option<String>,
    ops: Vec<Value>,
}

impl Raw<TcpStream> {
    /// With the smallest receive buffer that the kernel gives.
    async fn connect(stage: &Stage, query: &str) -> Self {
        Self::offering(stage, query, None).await
    }

    async fn offering(stage: &Stage, query: &str, offer: Option<&str>) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let io = socket.connect(stage.node.local_addr()).await.unwrap();
        Self::handshake(io, query, offer).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    async fn handshake(mut io: S, query: &str, offer: Option<&str>) -> Self {
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
    async fn send(&mut self, first: u8, payload: &[u8]) {
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

    async fn say(&mut self, op: Value) {
        self.send(0x81, op.to_string().as_bytes()).await;
    }

    /// The next frame: its first byte and its payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
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
    async fn op(&mut self) -> Value {
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

    async fn hear(&mut self, name: &str) -> Value {
        loop {
            let op = self.op().await;
            if op["op"] == name {
                return op;
            }
        }
    }

    /// The next control frame; texts before it are passed over.
    async fn control(&mut self) -> (u8, Vec<u8>) {
        loop {
            let frame = self.frame().await;
            if frame.0 & 0x08 != 0 {
                return frame;
            }
        }
    }

    async fn close_code(&mut self) -> u16 {
        let (first, payload) = self.control().await;
        assert_eq!(first, 0x88);
        u16::from_be_bytes([payload[0], payload[1]])
    }
}

/// The text of a compressed message; each stands alone.
fn unpacked(payload: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let ended = [payload, &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
    flate2::read::DeflateDecoder::new(&ended[..]).read_to_end(&mut text).unwrap();
    text
}

/// A compressed message as clients make it.
fn packed(text: &[u8]) -> Vec<u8> {
    let mut stream = flate2::Compress::new(flate2::Compression::default(), false);
    let mut out = Vec::with_capacity(text.len() + 1024);
    stream.compress_vec(text, &mut out, flate2::FlushCompress::Sync).unwrap();
    out.truncate(out.len() - 4);
    out
}

/// Reads nothing while trades come in, then everything: each trade is there once and in order.
async fn check_stalled<S: AsyncRead + AsyncWrite + Unpin>(stage: &Stage, client: &mut Raw<S>) {
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

fn small_buffers() -> NodeConfig {
    NodeConfig { workers: 1, shards: 2, send_buffer_bytes: 4096, ..NodeConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_client_reads_only_arrays_of_the_same_ops() {
    let stage = Stage::start();
    let (mut plain, mut batch) = (Raw::connect(&stage, "").await, Raw::connect(&stage, "&batch=1").await);
    for client in [&mut plain, &mut batch] {
        client.hear("welcome").await;
        client.say(json!({"op": "subscribe", "channels": ["trades.C0", "trades.C1", "market.C0.1s"], "id": 1})).await;
        client.hear("subscribed").await;
        for _ in 0..3 {
            client.hear("snapshot").await;
        }
    }
    for id in 1..=20 {
        stage.trade(id).await;
        batch.hear("event").await;
    }
    let last = loop {
        let event = batch.hear("event").await;
        if event["channel"] == "trades.C0" && event["data"][0]["id"] == 20 {
            break event;
        }
    };
    let same = loop {
        let event = plain.hear("event").await;
        if event["channel"] == "trades.C0" && event["seq"] == last["seq"] {
            break event;
        }
    };
    assert_eq!(same, last);
    batch.send(0x89, b"are you there").await;
    assert_eq!(batch.control().await, (0x8a, b"are you there".to_vec()));
    batch.send(0x81, b"\xff").await;
    assert_eq!(batch.close_code().await, 1007);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_client_that_stops_reading_goes_on_without_damage() {
    for query in ["", "&batch=1"] {
        let stage = Stage::start_with(small_buffers(), 2);
        check_stalled(&stage, &mut Raw::connect(&stage, query).await).await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressing_client_reads_the_same_and_is_understood() {
    let stage = Stage::start();
    let offer = "permessage-deflate; server_max_window_bits=10, permessage-deflate; client_max_window_bits";
    let mut client = Raw::offering(&stage, "", Some(offer)).await;
    let terms = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12";
    assert_eq!(client.extension.as_deref(), Some(terms));
    let mut plain = Raw::connect(&stage, "").await;
    assert_eq!(plain.extension, None);
    client.hear("welcome").await;
    let op = json!({"op": "subscribe", "channels": ["trades.C0", "market.C0.1m"], "id": 5, "unknown": "x".repeat(300)});
    client.send(0xc1, &packed(op.to_string().as_bytes())).await;
    assert_eq!(client.hear("subscribed").await["id"], op["id"]);
    plain.say(op).await;
    for client in [&mut client, &mut plain] {
        client.hear("snapshot").await;
        client.hear("snapshot").await;
    }
    for id in 1..=20 {
        stage.trade(id).await;
        let (one, other) = (client.hear("event").await, plain.hear("event").await);
        assert_eq!(one, other);
    }
    // A message that is not compressed is read as well.
    client.say(json!({"op": "ping", "id": 1})).await;
    assert_eq!(client.hear("pong").await["id"], 1);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_clients_that_stop_reading_go_on_without_damage() {
    for query in ["", "&batch=1"] {
        let stage = Stage::start_with(small_buffers(), 2);
        let mut client = Raw::offering(&stage, query, Some("permessage-deflate")).await;
        check_stalled(&stage, &mut client).await;
        stage.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_that_means_harm_closes_the_connection() {
    let stage = Stage::start();
    let bomb = packed(&vec![b' '; 5_000_000]);
    for (first, payload, code) in
        [(0xc1, &bomb[..], 1009), (0xc1, &[0xff; 50], 1007), (0xc9, b"x", 1002), (0xe1, b"x", 1002), (0xc0, b"x", 1002)]
    {
        let mut client = Raw::offering(&stage, "", Some("permessage-deflate")).await;
        client.send(first, payload).await;
        assert_eq!(client.close_code().await, code, "{first:x}");
    }
    // Nobody agreed on it.
    let mut client = Raw::offering(&stage, "", Some("permessage-deflate; nonsense=1")).await;
    assert_eq!(client.extension, None);
    client.send(0xc1, &packed(b"{}")).await;
    assert_eq!(client.close_code().await, 1002);
    stage.end().await;
    let stage = Stage::start_with(NodeConfig { deflate: false, ..NodeConfig::default() }, 2);
    assert_eq!(Raw::offering(&stage, "", Some("permessage-deflate")).await.extension, None);
    stage.end().await;
}

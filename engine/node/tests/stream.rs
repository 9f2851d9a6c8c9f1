//! A node on loopback, as its clients see it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use engine::{
    market::{Directory, IdRule, Instrument, Origin, Price, Quantity, Side, Symbol, Timestamp, Trade, Venue},
    message::Input,
    number::Scale,
};
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};
use node::{Authenticator, Clock, ConfiguredKeys, Grant, KeyId, Metrics, Node, NodeConfig, Parts};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

#[path = "stream/wire.rs"]
mod wire;

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

#[derive(Clone)]
struct Hello;

impl tower_service::Service<Request<Incoming>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Incoming>) -> Self::Future {
        std::future::ready(Ok(Response::new(Full::from("hello"))))
    }
}

/// Keys that can be revoked all at once.
struct Keys(ConfiguredKeys, Arc<AtomicBool>);

impl Authenticator for Keys {
    fn authenticate(&self, token: &str) -> Option<Grant> {
        self.0.authenticate(token)
    }

    fn is_valid(&self, key: KeyId) -> bool {
        self.0.is_valid(key) && !self.1.load(Ordering::Relaxed)
    }
}

struct Stage {
    node: Node,
    clock: Arc<Clock>,
    revoked: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    _missing: mpsc::Receiver<engine::message::Missing>,
}

impl Stage {
    fn start() -> Self {
        Self::start_with(NodeConfig::default())
    }

    fn start_with(config: NodeConfig) -> Self {
        let mut directory = Directory::new();
        let scale = Scale::new(2).unwrap();
        for at in 0..3 {
            let name = format!("C{at}USDT").into();
            let (venue, ids) = (Venue::Sim, IdRule::Contiguous);
            let instrument = Instrument { venue, name, price_scale: scale, quantity_scale: scale, ids };
            directory.register(Some(&format!("C{at}")), instrument).unwrap();
        }
        let (missing, _missing) = mpsc::channel(16);
        let clock = Arc::new(Clock::start());
        let revoked = Arc::<AtomicBool>::default();
        let metrics = Arc::new(Metrics::new());
        let parts = Parts {
            directory: Arc::new(directory),
            authenticator: Arc::new(Keys(ConfiguredKeys::new(["kai-test"], 2), Arc::clone(&revoked))),
            fallback: Hello,
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            missing,
        };
        let config = NodeConfig { listen: "127.0.0.1:0".parse().unwrap(), workers: 2, shards: 2, ..config };
        Self { node: Node::start(config, parts).unwrap(), clock, revoked, metrics, _missing }
    }

    async fn connect(&self, key: &str) -> Client {
        let url = format!("ws://{}/v1/ws?api_key={key}", self.node.local_addr());
        connect_async(url).await.unwrap().0
    }

    async fn trade(&self, id: u64) {
        let now = self.clock.now();
        let trade = Trade {
            symbol: Symbol(0),
            first_id: id,
            id,
            trades: 1,
            ts_event: now,
            ts_recv: Timestamp(now.0 + 1),
            price: Price(10_000 + id as i64),
            quantity: Quantity(150),
            side: Side::Buy,
            origin: Origin::Live,
        };
        self.node.sender().send(Input::Trade(trade)).await.unwrap();
    }

    async fn end(self) {
        self.node.shutdown(Duration::from_secs(5)).await;
    }
}

async fn say(client: &mut Client, op: Value) {
    client.send(Message::text(op.to_string())).await.unwrap();
}

/// The next message of that op; others are passed over.
async fn hear(client: &mut Client, op: &str) -> Value {
    loop {
        let message = timeout(Duration::from_secs(5), client.next()).await.expect(op).unwrap().unwrap();
        if let Message::Text(text) = message {
            let value: Value = serde_json::from_str(&text).unwrap();
            if value["op"] == op {
                return value;
            }
            assert_ne!(value["op"], "error", "{value}");
        }
    }
}

async fn close_code(client: &mut Client) -> u16 {
    loop {
        match timeout(Duration::from_secs(5), client.next()).await.expect("a close frame").unwrap().unwrap() {
            Message::Close(Some(close)) => return close.code.into(),
            _ => continue,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_sees_welcome_snapshot_events_and_can_resume() {
    let stage = Stage::start();
    let mut client = stage.connect("kai-test").await;
    let welcome = hear(&mut client, "welcome").await;
    assert_eq!(welcome["limits"], json!({"connections": 2, "channels": 50}));
    say(&mut client, json!({"op": "subscribe", "channels": ["trades.C0", "market.C0.1m"], "id": 7})).await;
    let subscribed = hear(&mut client, "subscribed").await;
    assert_eq!(subscribed, json!({"op": "subscribed", "channels": ["trades.C0", "market.C0.1m"], "id": 7}));
    let snapshot = hear(&mut client, "snapshot").await;
    assert_eq!((&snapshot["channel"], &snapshot["recovered"]), (&json!("trades.C0"), &json!(false)));
    hear(&mut client, "snapshot").await;
    stage.trade(1).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(hear(&mut client, "event").await);
    }
    let trades = seen.iter().find(|event| event["channel"] == "trades.C0").unwrap();
    assert_eq!(trades["data"][0]["id"], 1);
    say(&mut client, json!({"op": "list"})).await;
    let list = hear(&mut client, "list").await;
    assert_eq!(list["channels"][0], json!({"channel": "trades.C0", "seq": trades["seq"], "pending": 0, "rate_ms": 0}));
    drop(client);

    stage.trade(2).await;
    let mut client = stage.connect("kai-test").await;
    let since = json!({"trades.C0": {"epoch": snapshot["epoch"], "seq": trades["seq"]}});
    say(&mut client, json!({"op": "subscribe", "channels": ["trades.C0"], "since": since})).await;
    assert_eq!(hear(&mut client, "snapshot").await["recovered"], true);
    let missed = hear(&mut client, "event").await;
    assert_eq!(missed["data"][0]["id"], 2);
    stage.trade(3).await;
    let next = hear(&mut client, "event").await;
    assert_eq!(next["seq"].as_u64(), missed["seq"].as_u64().map(|seq| seq + 1));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_close_codes() {
    let stage = Stage::start();
    assert_eq!(close_code(&mut stage.connect("kai-wrong").await).await, 4401);
    let (mut first, mut second) = (stage.connect("kai-test").await, stage.connect("kai-test").await);
    hear(&mut first, "welcome").await;
    hear(&mut second, "welcome").await;
    assert_eq!(close_code(&mut stage.connect("kai-test").await).await, 4429);
    stage.revoked.store(true, Ordering::Relaxed);
    assert_eq!(close_code(&mut first).await, 4401);
    assert_eq!(close_code(&mut second).await, 4401);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_channel_too_many_is_an_error_and_the_connection_lives() {
    let stage = Stage::start();
    let mut client = stage.connect("kai-test").await;
    let all =
        ["1s", "5s", "15s", "30s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d"];
    let channels: Vec<_> = (0..3).flat_map(|at| all.map(|interval| format!("market.C{at}.{interval}"))).collect();
    say(&mut client, json!({"op": "subscribe", "channels": channels})).await;
    assert_eq!(hear(&mut client, "subscribed").await["channels"].as_array().unwrap().len(), 50);
    let error = loop {
        let message = client.next().await.unwrap().unwrap().into_text().unwrap();
        let value: Value = serde_json::from_str(&message).unwrap();
        if value["op"] == "error" {
            break value;
        }
    };
    let message = "50 channels per connection";
    assert_eq!(error, json!({"op": "error", "code": "channel_limit", "message": message, "channel": "market.C2.3d"}));
    for _ in 0..50 {
        hear(&mut client, "snapshot").await;
    }
    say(&mut client, json!({"op": "unsubscribe", "channels": ["market.C0.1s"]})).await;
    assert_eq!(hear(&mut client, "unsubscribed").await["channels"], json!(["market.C0.1s"]));
    say(&mut client, json!({"op": "ping", "ts": 5, "id": "a"})).await;
    assert_eq!(hear(&mut client, "pong").await, json!({"op": "pong", "ts": 5, "id": "a"}));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_frames_close_the_connection() {
    let stage = Stage::start();
    let mut client = stage.connect("kai-test").await;
    client.send(Message::text("x".repeat(65_537))).await.unwrap();
    assert_eq!(close_code(&mut client).await, 1009);
    let mut client = stage.connect("kai-test").await;
    for _ in 0..10 {
        client.send(Message::text("no json")).await.unwrap();
    }
    assert_eq!(close_code(&mut client).await, 4400);

    let mut raw = TcpStream::connect(stage.node.local_addr()).await.unwrap();
    let request = "GET /v1/ws?api_key=kai-test HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\u{1}";
    raw.write_all(request.as_bytes()).await.unwrap();
    raw.write_all(&[0x01, b'x']).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(5), raw.read_to_end(&mut answer)).await;
    let close = [0x03, 0xea];
    assert!(answer.windows(2).any(|part| part == close), "{read:?} {:?}", String::from_utf8_lossy(&answer));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_paths_are_served_and_a_restart_is_told() {
    let stage = Stage::start();
    let get = async |path: &str| {
        let mut raw = TcpStream::connect(stage.node.local_addr()).await.unwrap();
        raw.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        raw.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(get("/").await.ends_with("hello"));
    let answer = get("/v1/ws").await;
    assert!(answer.starts_with("HTTP/1.1 426") && answer.contains("\"error\":\"upgrade_required\""), "{answer}");
    let taken = NodeConfig { listen: stage.node.local_addr(), ..NodeConfig::default() };
    let mut client = stage.connect("kai-test").await;
    hear(&mut client, "welcome").await;
    let (code, ()) = tokio::join!(close_code(&mut client), stage.end());
    assert_eq!((code, taken.listen.port() > 0), (1012, true));
}

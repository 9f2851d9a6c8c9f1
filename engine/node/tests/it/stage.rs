//! A node on loopback and what a client says to it.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use engine::{
    market::{Directory, IdRule, Instrument, Origin, Price, Quantity, Side, Symbol, Timestamp, Trade, Venue},
    message::Input,
    number::Scale,
};
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};
use node::{Authenticator, Clock, ConfiguredKeys, Grant, KeyId, Metrics, Node, NodeConfig, Parts, Tls};
use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

pub type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

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
    fn authenticate(&self, token: &str, peer: std::net::IpAddr) -> Option<Grant> {
        self.0.authenticate(token, peer)
    }

    fn is_valid(&self, key: KeyId) -> bool {
        self.0.is_valid(key) && !self.1.load(Ordering::Relaxed)
    }

    fn changes(&self) -> u64 {
        self.1.load(Ordering::Relaxed).into()
    }
}

pub struct Stage {
    pub node: Node,
    clock: Arc<Clock>,
    pub metrics: Arc<Metrics>,
    pub revoked: Arc<AtomicBool>,
    _missing: mpsc::Receiver<engine::message::Missing>,
}

impl Stage {
    pub fn start() -> Self {
        Self::start_with(NodeConfig { workers: 2, shards: 2, ..NodeConfig::default() }, 2)
    }

    /// A node with three symbols, and a key `kai-test` for so many connections.
    pub fn start_with(config: NodeConfig, connections: u32) -> Self {
        Self::start_tls(config, connections, None)
    }

    pub fn start_tls(config: NodeConfig, connections: u32, tls: Option<Tls>) -> Self {
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
        let metrics = Arc::new(Metrics::new());
        let revoked = Arc::<AtomicBool>::default();
        let parts = Parts {
            directory: Arc::new(directory),
            authenticator: Arc::new(Keys(ConfiguredKeys::new(["kai-test"], connections), Arc::clone(&revoked))),
            fallback: Hello,
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&clock),
            missing,
            tls,
            keepers: Vec::new(),
            before: Vec::new(),
        };
        let config = NodeConfig { listen: "127.0.0.1:0".parse().unwrap(), ..config };
        Self { node: Node::start(config, parts).unwrap(), clock, metrics, revoked, _missing }
    }

    pub async fn connect(&self, key: &str) -> Client {
        let url = format!("ws://{}/v1/ws?api_key={key}", self.node.local_addr());
        connect_async(url).await.unwrap().0
    }

    pub async fn trade(&self, id: u64) {
        self.node.sender().send(self.input(id)).await.unwrap();
    }

    /// A trade of `C0`, happening now.
    pub fn input(&self, id: u64) -> Input {
        let now = self.clock.now();
        Input::Trade(Trade {
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
        })
    }

    pub async fn end(self) {
        self.node.shutdown(Duration::from_secs(5)).await;
    }
}

pub async fn say(client: &mut Client, op: Value) {
    client.send(Message::text(op.to_string())).await.unwrap();
}

/// The next message of that op; others are passed over.
pub async fn hear(client: &mut Client, op: &str) -> Value {
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

pub async fn close_code(client: &mut Client) -> u16 {
    loop {
        match timeout(Duration::from_secs(5), client.next()).await.expect("a close frame").unwrap().unwrap() {
            Message::Close(Some(close)) => return close.code.into(),
            _ => continue,
        }
    }
}

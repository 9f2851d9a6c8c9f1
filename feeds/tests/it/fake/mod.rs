//! A venue in this process: its WebSocket and its REST interface, on loopback.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use engine::market::Venue;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{broadcast, watch},
};
use tokio_tungstenite::{accept_async, tungstenite::Message};

pub mod words;

pub use words::FakeTrade;

/// What the venue does to all its connections.
#[derive(Clone, Debug)]
enum Command {
    Say(String),
    /// Without a word.
    Cut,
}

/// Who came and went, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    Opened(u64),
    Closed(u64),
}

/// See the module.
pub struct Exchange {
    pub venue: Venue,
    pub name: &'static str,
    pub ws: SocketAddr,
    pub rest: SocketAddr,
    history: Mutex<Vec<FakeTrade>>,
    commands: broadcast::Sender<Command>,
    pub visits: watch::Sender<Vec<Visit>>,
    /// Connections that have subscribed.
    pub listening: watch::Sender<HashSet<u64>>,
    pub rest_is_empty: AtomicBool,
    next_id: AtomicU64,
}

/// The name of the one instrument that each venue serves.
pub const fn name_of(venue: Venue) -> &'static str {
    match venue {
        Venue::Binance | Venue::Bybit => "BTCUSDT",
        Venue::Coinbase => "BTC-USD",
        Venue::Kraken => "BTC/USD",
        Venue::Okx => "BTC-USDT",
        _ => "BTC",
    }
}

impl Exchange {
    pub async fn open(venue: Venue) -> Arc<Self> {
        let ws = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let rest = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let exchange = Arc::new(Self {
            venue,
            name: name_of(venue),
            ws: ws.local_addr().unwrap(),
            rest: rest.local_addr().unwrap(),
            history: Mutex::default(),
            commands: broadcast::channel(4096).0,
            visits: watch::channel(Vec::new()).0,
            listening: watch::channel(HashSet::new()).0,
            rest_is_empty: AtomicBool::new(false),
            next_id: AtomicU64::new(1_000_000),
        });
        tokio::spawn(Arc::clone(&exchange).serve_ws(ws));
        tokio::spawn(Arc::clone(&exchange).serve_rest(rest));
        exchange
    }

    /// Makes `count` trades at `ms`; they are pushed to whoever listens.
    pub fn trade(&self, count: u64, ms: i64) {
        for trade in self.trade_unheard(count, ms) {
            self.say(&words::trade_frame(self.venue, self.name, &trade));
        }
    }

    /// Makes trades that nobody is told of.
    pub fn trade_unheard(&self, count: u64, ms: i64) -> Vec<FakeTrade> {
        let make = |_| {
            let id = self.next_id.fetch_add(1, SeqCst);
            FakeTrade { id, ms, price: 6_000_000 + id % 977, quantity: 1 + id % 89 }
        };
        let trades: Vec<_> = (0..count).map(make).collect();
        self.history.lock().unwrap().extend(&trades);
        trades
    }

    pub fn history(&self) -> Vec<FakeTrade> {
        self.history.lock().unwrap().clone()
    }

    pub fn last_id(&self) -> u64 {
        self.next_id.load(SeqCst) - 1
    }

    pub fn say(&self, text: &str) {
        let _ = self.commands.send(Command::Say(text.to_owned()));
    }

    pub fn cut(&self) {
        let _ = self.commands.send(Command::Cut);
        self.listening.send_modify(HashSet::clear);
    }

    /// Waits until `count` connections have subscribed since the last cut.
    pub async fn listeners(&self, count: usize) {
        self.listening.subscribe().wait_for(|listening| listening.len() >= count).await.unwrap();
    }

    /// Waits until the connection of that number has subscribed.
    pub async fn heard_by(&self, id: u64) {
        self.listening.subscribe().wait_for(|listening| listening.contains(&id)).await.unwrap();
    }

    async fn serve_ws(self: Arc<Self>, listener: TcpListener) {
        let mut next = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&self).connection(next, stream));
            next += 1;
        }
    }

    async fn connection(self: Arc<Self>, id: u64, stream: TcpStream) {
        let mut commands = self.commands.subscribe();
        let Ok(mut socket) = accept_async(stream).await else { return };
        self.visits.send_modify(|visits| visits.push(Visit::Opened(id)));
        if let Some(text) = words::greeting(self.venue) {
            let _ = socket.send(Message::text(text)).await;
        }
        let mut subscribed = self.venue == Venue::Binance;
        if subscribed {
            self.listening.send_modify(|listening| _ = listening.insert(id));
        }
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Ok(Command::Say(text)) if subscribed => {
                        if socket.send(Message::text(text)).await.is_err() {
                            break;
                        }
                    }
                    Ok(Command::Say(_)) => {}
                    _ => break,
                },
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        if let Some(answer) = words::answer(self.venue, &text) {
                            let _ = socket.send(Message::text(answer)).await;
                        }
                        if text.contains("subscribe") {
                            subscribed = true;
                            self.listening.send_modify(|listening| _ = listening.insert(id));
                        }
                    }
                    Some(Ok(_)) => {}
                    _ => break,
                },
            }
        }
        self.listening.send_modify(|listening| _ = listening.remove(&id));
        self.visits.send_modify(|visits| visits.push(Visit::Closed(id)));
    }

    async fn serve_rest(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&self).answer(stream));
        }
    }

    /// One request a connection.
    async fn answer(self: Arc<Self>, mut stream: TcpStream) {
        let Some((head, body)) = request(&mut stream).await else { return };
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let history =
            if self.rest_is_empty.load(SeqCst) && !target.contains("candles") { Vec::new() } else { self.history() };
        let page = words::page(self.venue, &target, &body, &history);
        let _ = stream.write_all(&response("200 OK", "", &page)).await;
    }
}

fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}").into_bytes()
}

/// The head and body of an HTTP/1.1 request.
async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = |line: &str| line.to_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok();
            if body.len() >= head.lines().find_map(length).unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A door that answers `status` to everybody, and when they came.
pub async fn closed_door(
    status: &'static str,
    headers: &'static str,
) -> (SocketAddr, watch::Receiver<Vec<tokio::time::Instant>>) {
    doors(vec![(status, headers, "")]).await
}

/// Gives these answers in turn, the last one for good, and says when they were asked for: status, headers, body.
pub async fn doors(
    answers: Vec<(&'static str, &'static str, &'static str)>,
) -> (SocketAddr, watch::Receiver<Vec<tokio::time::Instant>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (came, times) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let last = answers[answers.len() - 1];
        let mut answers = answers.into_iter();
        while let Ok((mut stream, _)) = listener.accept().await {
            came.send_modify(|times| times.push(tokio::time::Instant::now()));
            let _ = request(&mut stream).await;
            let (status, headers, body) = answers.next().unwrap_or(last);
            let _ = stream.write_all(&response(status, headers, body)).await;
        }
    });
    (address, times)
}

/// A line to `to` that carries one byte at a time.
pub async fn slow_line(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(to).await.unwrap();
            for stream in [&client, &server] {
                stream.set_nodelay(true).unwrap();
            }
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            tokio::spawn(async move {
                while let Ok(byte) = from_server.read_u8().await {
                    if to_client.write_u8(byte).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

//! Clients that do not keep up: conflated, then told, then closed, while all others are sent every event. The same by
//! either way of sending.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{SinkExt, StreamExt};
use node::{Io, Limits, NodeConfig};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::stage::Stage;

const TRADES: u64 = 1500;
/// Enough for a batch of sends.
const HEALTHY: usize = 8;

type Client = WebSocketStream<TcpStream>;

/// What a client was sent, and how it was told of the rest.
#[derive(Default)]
struct Account {
    last: HashMap<String, u64>,
    skipped: u64,
    lost: u64,
    newest: u64,
}

impl Account {
    /// Takes a message in; panics if a number is missing without a word.
    fn on(&mut self, op: &Value) {
        let Some(channel) = op["channel"].as_str() else { return };
        let last = self.last.entry(channel.to_owned()).or_default();
        match op["op"].as_str().unwrap() {
            "snapshot" => {
                *last = op["seq"].as_u64().unwrap();
                self.see(op["data"].as_array().unwrap().last());
            }
            "gap" => {
                let lost = op["lost"].as_u64().unwrap();
                *last += lost;
                self.lost += lost;
            }
            "event" => {
                let (seq, skipped) = (op["seq"].as_u64().unwrap(), op["skipped"].as_u64().unwrap_or(0));
                assert_eq!(seq, *last + 1 + skipped, "{op}");
                *last = seq;
                self.skipped += skipped;
                self.see(op["data"].as_array().map_or(Some(&op["data"]), |trades| trades.last()));
            }
            _ => {}
        }
    }
}

impl Account {
    /// The newest trade of a candle, or a trade.
    fn see(&mut self, data: Option<&Value>) {
        let id = data.and_then(|data| data["last_id"].as_u64().or_else(|| data["id"].as_u64()));
        self.newest = self.newest.max(id.unwrap_or(0));
    }
}

/// A client; if it is a small one, its kernel takes little in for it.
async fn connect(address: SocketAddr, is_small: bool) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if is_small {
        socket.set_recv_buffer_size(4096).unwrap();
    }
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let socket = TcpStream::from_std(socket.into()).unwrap();
    let mut client = client_async(format!("ws://{address}/v1/ws?api_key=kai-test"), socket).await.unwrap().0;
    let wish = json!({"op": "subscribe", "channels": ["trades.C0", "market.C0.1m"]});
    client.send(Message::text(wish.to_string())).await.unwrap();
    client
}

/// Reads until `done`; a close frame gives its code.
async fn read(client: &mut Client, account: &mut Account, done: impl Fn(&Account) -> bool) -> Option<u16> {
    while !done(account) {
        match client.next().await.unwrap().unwrap() {
            Message::Text(text) => account.on(&serde_json::from_str(&text).unwrap()),
            Message::Close(close) => return close.map(|close| close.code.into()),
            _ => {}
        }
    }
    None
}

fn stage(io: Io, write_deadline_ms: i64) -> Stage {
    let limits = Limits { outbox_bytes: 64 * 1024, ..Limits::default() };
    let (workers, shards, turn_inputs_max, send_buffer_bytes) = (1, 1, 1, 4096);
    let usual = NodeConfig::default();
    let config =
        NodeConfig { workers, shards, io, limits, turn_inputs_max, send_buffer_bytes, write_deadline_ms, ..usual };
    Stage::start_with(config, 100)
}

/// A client that has its snapshots.
async fn follower(stage: &Stage, is_small: bool) -> (Client, Account) {
    let (mut client, mut account) = (connect(stage.node.local_addr(), is_small).await, Account::default());
    assert_eq!(read(&mut client, &mut account, |account| account.last.len() == 2).await, None);
    (client, account)
}

/// Clients that read all the time, and trades as fast as they can read them on a busy machine.
async fn publish(stage: &Stage, count: u64) {
    let progress: Arc<[AtomicU64]> = (0..HEALTHY).map(|_| AtomicU64::new(0)).collect();
    let mut healthy = Vec::new();
    for index in 0..HEALTHY {
        let ((mut client, mut account), progress) = (follower(stage, false).await, Arc::clone(&progress));
        healthy.push(tokio::spawn(async move {
            let done = |account: &Account| {
                progress[index].store(account.newest, Ordering::Relaxed);
                account.newest == count
            };
            assert_eq!(read(&mut client, &mut account, done).await, None);
            account
        }));
    }
    for id in 1..=count {
        stage.trade(id).await;
        while progress.iter().any(|newest| newest.load(Ordering::Relaxed) + 50 < id) {
            tokio::task::yield_now().await;
        }
    }
    for task in healthy {
        let account = task.await.unwrap();
        assert_eq!((account.last["trades.C0"], account.lost), (count, 0), "others lose nothing");
    }
}

async fn a_slow_client_is_conflated_and_told(io: Io) {
    let stage = stage(io, 600_000);
    let (mut slow, mut account) = follower(&stage, true).await;
    publish(&stage, TRADES).await;
    assert_eq!(read(&mut slow, &mut account, |account| account.newest == TRADES).await, None);
    assert!(account.skipped > 0, "open candles are conflated");
    assert!(account.lost > 0, "beyond the bound trades are lost, and counted");
    assert_eq!(account.last["trades.C0"], TRADES, "every number that is missing was told of");
    stage.end().await;
}

async fn a_stuck_client_is_closed(io: Io) {
    let stage = stage(io, 1000);
    let (mut stuck, mut account) = follower(&stage, true).await;
    let metrics = Arc::clone(&stage.metrics);
    let reads_late = tokio::spawn(async move {
        while metrics.slow_closes.get() == 0 {
            tokio::task::yield_now().await;
        }
        read(&mut stuck, &mut account, |_| false).await
    });
    publish(&stage, TRADES).await;
    assert_eq!(reads_late.await.unwrap(), Some(4408));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_late_is_told_of_each_event_that_it_missed() {
    a_slow_client_is_conflated_and_told(Io::Epoll).await;
    a_slow_client_is_conflated_and_told(Io::Auto).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_closed_with_4408() {
    a_stuck_client_is_closed(Io::Epoll).await;
    a_stuck_client_is_closed(Io::Auto).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_a_busy_worker_never_got_are_read_again() {
    const FLOOD: u64 = 2_000;
    let config =
        NodeConfig { workers: 1, shards: 1, turn_inputs_max: 1, worker_messages_max: 4, ..NodeConfig::default() };
    let stage = Stage::start_with(config, 100);
    let mut clients = Vec::new();
    for _ in 0..16 {
        let (mut client, mut account) = follower(&stage, false).await;
        clients.push(tokio::spawn(async move {
            let closed = read(&mut client, &mut account, |account| account.newest == FLOOD).await;
            (account, closed)
        }));
    }
    stage.node.sender().send_all((1..=FLOOD).map(|id| stage.input(id))).await.unwrap();
    for client in clients {
        let (account, closed) = client.await.unwrap();
        assert_eq!((account.newest, closed), (FLOOD, None));
    }
    assert!(stage.metrics.frames_dropped.get() > 0, "the worker's queue never overflowed");
    stage.end().await;
}

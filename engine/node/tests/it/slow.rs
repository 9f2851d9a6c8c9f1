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
            "snapshot" => *last = op["seq"].as_u64().unwrap(),
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
                let id = op["data"]["last_id"].as_u64().or_else(|| op["data"].as_array()?.last()?["id"].as_u64());
                self.newest = self.newest.max(id.unwrap());
            }
            _ => {}
        }
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

async fn check(io: Io) {
    let limits = Limits { outbox_bytes: 64 * 1024, ..Limits::default() };
    let config = NodeConfig {
        workers: 1,
        shards: 1,
        io,
        limits,
        turn_inputs_max: 1,
        send_buffer_bytes: 4096,
        write_deadline_ms: 6000,
        ..NodeConfig::default()
    };
    let stage = Stage::start_with(config, 100);
    let address = stage.node.local_addr();
    let subscribed = |account: &Account| account.last.len() == 2;
    let mut healthy = Vec::new();
    let progress: Arc<[AtomicU64]> = (0..HEALTHY).map(|_| AtomicU64::new(0)).collect();
    for index in 0..HEALTHY {
        let (mut client, mut account) = (connect(address, false).await, Account::default());
        read(&mut client, &mut account, subscribed).await;
        let progress = Arc::clone(&progress);
        healthy.push(tokio::spawn(async move {
            let done = |account: &Account| {
                progress[index].store(account.newest, Ordering::Relaxed);
                account.newest == 2 * TRADES
            };
            read(&mut client, &mut account, done).await;
            account
        }));
    }
    // As fast as the healthy ones can read on a busy machine.
    let publish = async |ids: std::ops::RangeInclusive<u64>| {
        for id in ids {
            stage.trade(id).await;
            while progress.iter().any(|newest| newest.load(Ordering::Relaxed) + 50 < id) {
                tokio::task::yield_now().await;
            }
        }
    };
    let (mut slow, mut account) = (connect(address, true).await, Account::default());
    read(&mut slow, &mut account, subscribed).await;

    // It reads nothing, then all: every number that is missing was told of.
    publish(1..=TRADES).await;
    assert_eq!(read(&mut slow, &mut account, |account| account.newest == TRADES).await, None);
    assert!(account.skipped > 0, "open candles are conflated");
    assert!(account.lost > 0, "beyond the bound trades are lost, and counted");
    assert_eq!(account.last["trades.C0"], TRADES);

    // It reads nothing again, and for too long.
    publish(TRADES + 1..=2 * TRADES).await;
    for task in healthy {
        let account = task.await.unwrap();
        assert_eq!(account.last["trades.C0"], 2 * TRADES);
        assert_eq!(account.lost, 0, "others lose nothing");
    }
    while stage.metrics.slow_closes.get() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(read(&mut slow, &mut account, |_| false).await, Some(4408));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_is_conflated_told_and_closed_and_nobody_else_notices() {
    check(Io::Epoll).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_the_same_through_a_ring() {
    check(Io::Auto).await;
}

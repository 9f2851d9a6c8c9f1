//! A venue that loses trades and cuts its connection, the real program, and a client that must notice and miss nothing.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, WebSocket, accept, client, stream::MaybeTlsStream};

use crate::process::Kandle;

#[expect(clippy::disallowed_methods, reason = "the venue of this test has a clock of its own")]
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// A trade of the venue in the form of its stream.
fn frame(id: u64, ms: u64) -> Message {
    Message::text(format!(
        r#"{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{ms},"s":"BTCUSDT","t":{id},"p":"61837.63000000","q":"0.02000000","T":{ms},"m":true,"M":true}}}}"#
    ))
}

/// The venue's WebSocket side: hands each accepted connection to the test.
fn stream_side() -> (String, Receiver<WebSocket<TcpStream>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let (connected, connections) = channel();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let Ok(socket) = accept(socket) else { continue };
            if connected.send(socket).is_err() {
                return;
            }
        }
    });
    (url, connections)
}

/// The venue's REST side: past trades as single aggregates, between the times that are asked for.
fn rest_side(known: Receiver<(u64, u64)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let mut trades = BTreeMap::new();
        for mut socket in listener.incoming().flatten() {
            trades.extend(known.try_iter());
            let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let rows: Vec<String> = trades
                .iter()
                .map(|(id, ms)| {
                    format!(r#"{{"a":{id},"p":"61837.63000000","q":"0.02000000","f":{id},"l":{id},"T":{ms},"m":true,"M":true}}"#)
                })
                .collect();
            let body = if request.contains("/aggTrades") { format!("[{}]", rows.join(",")) } else { "[]".into() };
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
            let _ = write!(socket, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    url
}

/// A client of the program.
struct Client(WebSocket<MaybeTlsStream<TcpStream>>);

impl Client {
    fn connect(kandle: &Kandle, channels: &[&str]) -> Self {
        let address = kandle.url.strip_prefix("http://").unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let url = format!("{}?api_key={}", kandle.ws_url, kandle.key);
        let (mut socket, _) = client(url, MaybeTlsStream::Plain(socket)).unwrap();
        socket.send(Message::text(serde_json::json!({"op": "subscribe", "channels": channels}).to_string())).unwrap();
        let mut client = Self(socket);
        for _ in channels {
            client.until(&mut |op| op["op"] == "snapshot");
        }
        client
    }

    /// Reads until `done`, within a bounded time.
    fn until(&mut self, done: &mut dyn FnMut(&Value) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            assert!(Instant::now() < deadline, "it did not come");
            if let Message::Text(text) = self.0.read().unwrap()
                && done(&serde_json::from_str(text.as_str()).unwrap())
            {
                return;
            }
        }
    }
}

/// Collects trade ids and gap notices until `last` is there and no gap is open.
fn collect(client: &mut Client, last: u64, ids: &mut Vec<u64>, gaps: &mut Vec<Value>) {
    client.until(&mut |op| {
        match op["op"].as_str() {
            Some("event") if op["channel"] == "trades.BTC" => {
                ids.extend(op["data"].as_array().unwrap().iter().map(|trade| trade["id"].as_u64().unwrap()));
            }
            Some("gap") if op["channel"] == "trades.BTC" => gaps.push(op.clone()),
            _ => {}
        }
        let open = gaps.iter().filter(|gap| gap["state"] == "open").count();
        ids.contains(&last) && gaps.len() == open * 2
    });
}

fn send(socket: &mut WebSocket<TcpStream>, ids: impl Iterator<Item = u64>, known: &Sender<(u64, u64)>, lost: &[u64]) {
    for id in ids {
        let ms = now_ms();
        known.send((id, ms)).unwrap();
        if !lost.contains(&id) {
            socket.send(frame(id, ms)).unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn lost_trades_and_a_cut_connection_are_told_and_repaired_and_nothing_is_doubled() {
    let (ws_url, connections) = stream_side();
    let (known, asked) = channel();
    let rest_url = rest_side(asked);
    let kandle = Kandle::serve(&format!(
        "[venues.binance]\nws_url = \"{ws_url}\"\nrest_url = \"{rest_url}\"\n\
         [symbols]\nBTC = \"binance:BTCUSDT\"\n[[keys]]\nkey = \"kai-test-key\"\nconnections = 5\n"
    ));
    let mut venue = connections.recv_timeout(Duration::from_secs(20)).unwrap();
    let mut client = Client::connect(&kandle, &["trades.BTC", "market.BTC.1s"]);
    let (mut ids, mut gaps) = (Vec::new(), Vec::new());

    send(&mut venue, 100..=120, &known, &[108, 109, 110]);
    collect(&mut client, 120, &mut ids, &mut gaps);
    let told: Vec<_> = gaps.iter().filter(|gap| gap["first_id"] == 108).collect();
    assert_eq!(told.iter().map(|gap| gap["state"].as_str().unwrap()).collect::<Vec<_>>(), ["open", "repaired"]);
    assert!(told.iter().all(|gap| gap["last_id"] == 110 && gap["cause"] == "missing_trades"), "{told:?}");

    // The connection breaks without a word; trades go on meanwhile; the new one repeats a few.
    drop(venue);
    for id in 121..=125 {
        known.send((id, now_ms())).unwrap();
        thread::sleep(Duration::from_millis(20));
    }
    let mut venue = connections.recv_timeout(Duration::from_secs(40)).unwrap();
    send(&mut venue, 126..=135, &known, &[]);
    let again = now_ms();
    for id in 118..=120 {
        venue.send(frame(id, again)).unwrap();
    }
    send(&mut venue, 136..=140, &known, &[]);
    collect(&mut client, 140, &mut ids, &mut gaps);
    assert!(gaps.iter().any(|gap| gap["cause"] == "feed_disconnect"), "{gaps:?}");
    assert!(gaps.iter().all(|gap| gap["state"] != "lost"), "{gaps:?}");
    ids.sort_unstable();
    assert_eq!(ids, (100..=140).collect::<Vec<_>>(), "each trade once");
}

//! A client that keeps every closed candle it is sent, also over restarts of the server.

use std::{
    net::TcpStream,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client, error::ProtocolError, stream::MaybeTlsStream};

use crate::process::Kandle;

/// How long a read waits before it looks whether the test is over.
const LOOK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(40);

/// What came, in order, and who waits for more.
#[derive(Default)]
struct Heard {
    candles: Mutex<Vec<Value>>,
    more: Condvar,
}

/// See the module.
pub(crate) struct Follower {
    heard: Arc<Heard>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Follows the candles of `BTC` in these intervals; numbers come as text. Connects again whenever it is cut.
    pub(crate) fn start(kandle: &Kandle, intervals: &[&str]) -> Self {
        let (address, url) =
            (kandle.url.replace("http://", ""), format!("{}?api_key={}&numbers=string", kandle.ws_url, kandle.key));
        let channels: Vec<String> = intervals.iter().map(|interval| format!("market.BTC.{interval}")).collect();
        let wish = json!({"op": "subscribe", "channels": channels, "snapshot": 200}).to_string();
        let (heard, stop) = (Arc::<Heard>::default(), Arc::<AtomicBool>::default());
        let (hears, stopped) = (Arc::clone(&heard), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Relaxed) {
                if let Some(mut socket) = connect(&address, &url, &wish) {
                    listen(&mut socket, &hears, &stopped);
                } else {
                    // Nobody listens between two lives of the server.
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        Self { heard, stop, thread: Some(thread) }
    }

    /// Waits until `is_done` of all closed candles so far.
    pub(crate) fn until(&self, what: &str, is_done: impl Fn(&[Value]) -> bool) {
        let candles = self.heard.candles.lock().unwrap();
        let (candles, waited) =
            self.heard.more.wait_timeout_while(candles, PATIENCE, |candles| !is_done(candles)).unwrap();
        let last = crate::played::final_revisions(candles.clone());
        let partial: Vec<&Value> = last.values().filter(|candle| candle["state"] == "partial").collect();
        let state = format!("{} candles, the last {:?}, unproven {partial:?}", candles.len(), candles.last());
        drop(candles);
        assert!(!waited.timed_out(), "waited in vain for {what}; {state}");
    }

    /// How many closed candles came so far.
    pub(crate) fn count(&self) -> usize {
        self.heard.candles.lock().unwrap().len()
    }

    /// Ends and gives every closed candle in the order in which it came.
    pub(crate) fn end(mut self) -> Vec<Value> {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut *self.heard.candles.lock().unwrap())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

type Socket = WebSocket<MaybeTlsStream<TcpStream>>;

fn connect(address: &str, url: &str, wish: &str) -> Option<Socket> {
    let socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (mut socket, _) = client(url, MaybeTlsStream::Plain(socket)).ok()?;
    socket.send(Message::text(wish)).ok()?;
    let MaybeTlsStream::Plain(plain) = socket.get_ref() else { return None };
    plain.set_read_timeout(Some(LOOK)).unwrap();
    Some(socket)
}

/// Reads until the connection or the test ends.
fn listen(socket: &mut Socket, heard: &Heard, stop: &AtomicBool) {
    let started = Instant::now();
    while !stop.load(Relaxed) {
        match socket.read() {
            Ok(Message::Text(text)) => take(&serde_json::from_str(&text).unwrap(), heard),
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed) => return,
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return,
            Err(error) => panic!("after {:?}: {error}", started.elapsed()),
        }
    }
}

/// Keeps the closed candles of an event or a snapshot.
fn take(op: &Value, heard: &Heard) {
    let candles = match op["op"].as_str() {
        Some("event") => std::slice::from_ref(&op["data"]),
        Some("snapshot") => op["data"].as_array().unwrap().as_slice(),
        _ => return,
    };
    let closed = candles.iter().filter(|candle| candle["is_closed"] == true).cloned();
    heard.candles.lock().unwrap().extend(closed);
    heard.more.notify_all();
}

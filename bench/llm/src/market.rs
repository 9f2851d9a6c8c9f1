//! A market beside the gateway: a venue whose trades carry the microsecond at which they were due, and subscribers who
//! measure how late they get them. It is a process of its own, put before all others: in use both are other machines.

use std::{
    io::{BufRead, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use bench::rank::{Turn, take_turn};
use loadtest::{Load, Scenario, clock::now_us, server::Place};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket, accept};

use crate::kandle::{STREAM_KEY, SYMBOLS};

/// Trades a second, all symbols together, and who gets all of them.
const RATE: u64 = 400;
const SUBSCRIBERS: usize = 100;
/// A timer wakes up to so much late: the rest is waited for awake, on time for every trade.
const AWAKE_US: u64 = 150;

/// Says where the venue listens, then measures each time that it is told a server and how many seconds.
///
/// # Errors
/// It cannot listen, or is told something else.
pub(crate) fn run() -> anyhow::Result<()> {
    if !take_turn(Turn::AtOnce) {
        eprintln!("the market may not go before the server: how late it wakes is counted as the engine's");
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(&json!({"venue": listener.local_addr()?.to_string()}))?;
    thread::Builder::new().name("venue".to_owned()).spawn(move || serve(&listener))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let (server, seconds) = words.next().zip(words.next()).context("ADDRESS SECONDS")?;
        say(&measure(server.parse()?, seconds.parse()?)?)?;
    }
    Ok(())
}

fn say(what: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}")?;
    Ok(out.flush()?)
}

/// The latency of all trades within `seconds`.
fn measure(address: SocketAddr, seconds: u64) -> anyhow::Result<Value> {
    let place = Place::Running { address, key: STREAM_KEY.to_owned(), pid: None, allow_remote: false };
    let names: Vec<_> = SYMBOLS.iter().map(ToString::to_string).collect();
    let channels = SYMBOLS.iter().map(|name| format!("trades.{name}")).collect();
    let load = Load {
        place,
        connections: SUBSCRIBERS,
        channels: SYMBOLS.len(),
        symbols: SYMBOLS.len() as u32,
        names,
        rate: 0,
        seconds,
        open_within: Duration::from_secs(20),
    };
    let report = loadtest::run(&Scenario::Follow { channels }, &load, &mut |_, _| {})?;
    if let Some(failure) = report.failure() {
        anyhow::bail!("the stream: {failure}");
    }
    let phase = report.phases.first().context("nothing was measured")?;
    let wanted = RATE * SUBSCRIBERS as u64 * seconds;
    let latency = phase.latency_us;
    // What is late may come after the end; that nothing is missing in between, the report has checked.
    ensure!(latency.count > wanted / 10, "{} trades of {wanted} came", latency.count);
    Ok(json!({"p50": latency.p50, "p99": latency.p99, "p999": latency.p999, "max": latency.max,
        "server_cores": phase.server_cores, "client_cores": phase.client_cores}))
}

/// Plays to one connection after another: a server that lost one comes again.
fn serve(listener: &TcpListener) {
    while let Ok((socket, _)) = listener.accept() {
        thread::spawn(move || {
            let _ = socket.set_nodelay(true);
            if let Ok(mut socket) = accept(socket) {
                // It plays until the server hangs up.
                let _ = play(&mut socket);
            }
        });
    }
}

/// Hyperliquid's stream of trades: its ids need not follow each other, so they can tell a time.
fn play(socket: &mut WebSocket<TcpStream>) -> Result<(), tungstenite::Error> {
    let every = 1_000_000 / RATE;
    let mut wanted = SYMBOLS.len();
    while wanted > 0 {
        if reply(socket)? {
            wanted -= 1;
        }
    }
    let mut due = now_us() + every;
    for turn in 0_u64.. {
        let left = due.saturating_sub(now_us());
        thread::sleep(Duration::from_micros(left.saturating_sub(AWAKE_US)));
        while now_us() < due {
            std::hint::spin_loop();
        }
        let symbol = SYMBOLS.iter().cycle().nth((turn % SYMBOLS.len() as u64) as usize).unwrap_or(&"A");
        socket.send(Message::text(trade(symbol, due, turn)))?;
        due += every;
        if turn % RATE == 0 {
            listen(socket)?;
        }
    }
    Ok(())
}

/// Answers what the server has said meanwhile, without waiting.
fn listen(socket: &mut WebSocket<TcpStream>) -> Result<(), tungstenite::Error> {
    socket.get_ref().set_nonblocking(true)?;
    let heard = loop {
        match reply(socket) {
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    socket.get_ref().set_nonblocking(false)?;
    heard
}

/// Answers one message; says whether it was a subscription.
fn reply(socket: &mut WebSocket<TcpStream>) -> Result<bool, tungstenite::Error> {
    let Message::Text(text) = socket.read()? else { return Ok(false) };
    let message: Value = serde_json::from_str(&text).unwrap_or_default();
    let is_subscription = message["method"] == "subscribe";
    let (channel, data) = if is_subscription { ("subscriptionResponse", message) } else { ("pong", Value::Null) };
    socket.send(Message::text(json!({"channel": channel, "data": data}).to_string()))?;
    Ok(is_subscription)
}

fn trade(symbol: &str, due_us: u64, turn: u64) -> String {
    let (price, size, side) = (68_000 + turn % 100, 1 + turn % 7, if turn.is_multiple_of(2) { "A" } else { "B" });
    format!(
        r#"{{"channel":"trades","data":[{{"coin":"{symbol}","side":"{side}","px":"{price}.5","sz":"0.{size}","time":{},"hash":"0x0","tid":{due_us}}}]}}"#,
        due_us / 1000
    )
}

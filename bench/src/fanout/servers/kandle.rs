//! The real node, with its real WebSocket server. Each line on the publishing port becomes one trade of its shard.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use bytes::BytesMut;
use engine::{
    market::{Directory, IdRule, Instrument, Origin, Price, Quantity, Side, Symbol, Timestamp, Trade, Venue},
    message::Input,
    number::Scale,
};
use node::{Clock, ConfiguredKeys, Io, Metrics, Node, NodeConfig, Parts, ShardSender};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    dialect::{API_KEY, label},
    shape::CHANNELS_MAX,
};

const CONNECTIONS: u32 = 60_000;

/// Serves until the process is ended.
pub(crate) async fn serve(address: SocketAddr, publish: SocketAddr) -> anyhow::Result<()> {
    let mut directory = Directory::new();
    for channel in 0..CHANNELS_MAX {
        let instrument = Instrument {
            venue: Venue::Sim,
            name: format!("S{channel}").into(),
            price_scale: Scale::new(2).context("scale")?,
            quantity_scale: Scale::new(6).context("scale")?,
            ids: IdRule::Contiguous,
        };
        directory.register(Some(&label(channel)), instrument)?;
    }
    // Nothing is missing, and if it were, nobody would repair it.
    let (missing, _requests) = mpsc::channel(16);
    let clock = Arc::new(Clock::start());
    let parts = Parts {
        directory: Arc::new(directory),
        authenticator: Arc::new(ConfiguredKeys::new([API_KEY], CONNECTIONS)),
        fallback: axum::Router::new(),
        metrics: Arc::new(Metrics::new()),
        clock: Arc::clone(&clock),
        missing,
        tls: None,
        keepers: Vec::new(),
        before: Vec::new(),
    };
    // One core is measured. An event carries one trade, as with all others: a turn takes one input.
    let config =
        NodeConfig { listen: address, workers: 1, shards: 1, io: io(), turn_inputs_max: 1, ..NodeConfig::default() };
    let node = Node::start(config, parts)?;
    let listener = TcpListener::bind(publish).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(inlet(socket, node.sender(), Arc::clone(&clock)));
    }
}

/// How to send, as `KANDLE_IO` says.
fn io() -> Io {
    match std::env::var("KANDLE_IO").as_deref() {
        Ok("epoll") => Io::Epoll,
        Ok("uring") => Io::Uring,
        _ => Io::Auto,
    }
}

/// `<symbol> <id>` a line. What comes in one read is handed over together, as the trades of one venue message are.
async fn inlet(mut socket: TcpStream, shards: ShardSender, clock: Arc<Clock>) -> anyhow::Result<()> {
    let mut text = BytesMut::with_capacity(64 * 1024);
    while socket.read_buf(&mut text).await? > 0 {
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = text.split_to(end);
        let lines = std::str::from_utf8(&lines).context("a line is <symbol> <id>")?.lines();
        let trades =
            lines.map(|line| trade(line, clock.now()).map(Input::Trade)).collect::<anyhow::Result<Vec<_>>>()?;
        shards.send_all(trades).await?;
    }
    Ok(())
}

fn trade(line: &str, now: Timestamp) -> anyhow::Result<Trade> {
    let (symbol, id) = line.split_once(' ').context("a line is <symbol> <id>")?;
    let id = id.parse()?;
    Ok(Trade {
        symbol: Symbol(symbol.parse()?),
        first_id: id,
        id,
        trades: 1,
        ts_event: now,
        ts_recv: now,
        price: Price(6_812_300 + i64::try_from(id % 100)?),
        quantity: Quantity(150_001),
        side: Side::Buy,
        origin: Origin::Live,
    })
}

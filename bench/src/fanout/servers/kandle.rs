//! The real node, with its real WebSocket server. Each line on the publishing port becomes one trade of its shard.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use engine::{
    market::{Directory, IdRule, Instrument, Origin, Price, Quantity, Side, Symbol, Trade, Venue},
    message::Input,
    number::Scale,
};
use node::{Clock, ConfiguredKeys, Metrics, Node, NodeConfig, Parts, ShardSender};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
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
    };
    // One core is measured. An event carries one trade, as with all others: a turn takes one input.
    let config = NodeConfig { listen: address, workers: 1, shards: 1, turn_inputs_max: 1, ..NodeConfig::default() };
    let node = Node::start(config, parts)?;
    let listener = TcpListener::bind(publish).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        tokio::spawn(inlet(socket, node.sender(), Arc::clone(&clock)));
    }
}

/// `<symbol> <id>` a line.
async fn inlet(socket: TcpStream, shards: ShardSender, clock: Arc<Clock>) -> anyhow::Result<()> {
    let mut lines = BufReader::with_capacity(64 * 1024, socket).lines();
    while let Some(line) = lines.next_line().await? {
        let (symbol, id) = line.split_once(' ').context("a line is <symbol> <id>")?;
        let (id, now): (u64, _) = (id.parse()?, clock.now());
        let trade = Trade {
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
        };
        shards.send(Input::Trade(trade)).await?;
    }
    Ok(())
}

//! A recording as a live stream: a real node with real shards, its times shifted to the present.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, bail};
use api::tiers::ENTERPRISE;
use engine::market::Trade;

use super::{Reader, TradeSink, tally::Tally};
use crate::{
    chance,
    cli::ReplayArgs,
    config::{Config, KeyConfig},
    pacer::Pacer,
    system::{self, System},
    welcome::Welcome,
};

/// Hands trades to the pacer until the stream ends.
struct Stream {
    pacer: Pacer,
    stopped: bool,
}

impl TradeSink for Stream {
    fn on_trade(&mut self, trade: &Trade, _line: u64, tally: &mut Tally) {
        if self.stopped || self.pacer.send(trade).is_err() {
            self.stopped = true;
            return;
        }
        tally.outcome(trade, engine::fold::Outcome::Applied);
    }
}

/// Serves the files as a stream until a signal ends it; after their end the last candles stay readable.
///
/// # Errors
/// If a file cannot be read or the address cannot be listened on.
pub async fn run(args: Box<ReplayArgs>) -> anyhow::Result<()> {
    let (args, reader) = tokio::task::spawn_blocking(move || {
        let mut args = args;
        let expanded = super::folder::expand(&args.files, args.venue).map(|files| args.files = files);
        let reader = expanded.and_then(|()| Reader::open(&args));
        (args, reader)
    })
    .await
    .context("the reader failed")?;
    let mut reader = reader?;
    let (directory, labels) = reader.directory();
    if labels.is_empty() {
        bail!("no instrument was found in the files; is --venue right?");
    }
    let directory = Arc::clone(directory);
    let aliases: Vec<String> = labels.iter().map(|(_, label)| label.clone()).collect();
    let venue = directory.symbols().next().map(|(_, instrument)| (instrument.venue, true));
    let key = chance::random_key("kai-replay-").context("no key could be made")?;
    let mut config = Config { listen: args.listen, store: None, ..Config::default() };
    config.accounts.records = None;
    config.limits.late_window_ms = args.late_window_ms;
    config.keys = vec![KeyConfig {
        key: key.clone(),
        connections: config.limits.connections_per_key,
        tier: ENTERPRISE.to_owned(),
    }];
    let first = aliases.first().cloned().unwrap_or_default();
    let system = System::start(&config, &directory, aliases, venue.into_iter().collect()).await?;
    Welcome { address: system.address(), key: key.reveal(), symbol: &first, has_account: false, has_model: false }
        .print(false)?;
    let stop = Arc::new(AtomicBool::new(false));
    let pacer = Pacer::new(Arc::clone(&system.clock), system.node.sender(), Arc::clone(&stop), args.speed);
    let reading = tokio::task::spawn_blocking(move || {
        let (mut tally, mut stream) = (Tally::default(), Stream { pacer, stopped: false });
        let read = reader.read(
            &args,
            &mut stream,
            &mut tally,
            |stream, _, _| {
                if stream.stopped { bail!("stopped") } else { Ok(()) }
            },
        );
        match read {
            Err(error) if !stream.stopped => tracing::error!("the recording ended early: {error:#}"),
            _ => tracing::info!("the recording has ended; its candles stay readable until Ctrl-C"),
        }
        tally.write(&mut std::io::stderr().lock())
    });
    let System { node, missing, history, accounts, .. } = system;
    let holes = tokio::spawn(system::give_up_holes(missing, node.sender()));
    let signalled = system::signal().await;
    stop.store(true, Ordering::Relaxed);
    holes.abort();
    reading.await.context("the reader failed")?.context("cannot write to standard error")?;
    system::close(node, history, accounts).await;
    signalled
}

//! `kandle backfill`: candles of the past from the venues into the store.
//!
//! `moment` (times on the command line) → `wanted` (what a series lacks, and the requests that get it) → `mend` (one series,
//! which a running server mends as well) → `summary`. Here venues go side by side, each at its own pace.

use std::{collections::BTreeMap, io::IsTerminal, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use engine::{
    interval::Interval,
    market::{Instrument, Timestamp, Venue},
};
use feeds::{backfill::CandleClient, supervisor::Clock, symbols};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use store::{Keep, Store, StoreError, StoreUrl};
use tokio::task::JoinSet;

use self::{
    mend::Mend,
    summary::{Line, Summary},
};
use crate::{
    chance,
    cli::BackfillArgs,
    config::{Config, StoreConfig, nearest},
    serve,
};

pub mod mend;
pub mod moment;
pub mod summary;
pub mod wanted;

/// What one venue is asked for.
struct Work {
    client: CandleClient,
    series: Vec<(Instrument, Interval)>,
    bar: ProgressBar,
}

/// Fetches what is missing, and says on standard error what came of it.
///
/// # Errors
/// If nothing could be begun, or a venue did not answer, or a candle was refused.
pub async fn run(args: BackfillArgs) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref(), std::env::vars_os().filter_map(serve::text))?;
    let node_clock = node::Clock::start();
    let clock: Clock = Arc::new(move || node_clock.now());
    let (from, to) = (args.from.at(clock()), args.to.at(clock()));
    if from >= to {
        bail!("--from must lie before --to");
    }
    let mut by_venue = BTreeMap::<Venue, Vec<Instrument>>::new();
    for name in &args.symbols {
        let instrument = resolve(&config, name)?;
        let known = by_venue.entry(instrument.venue).or_default();
        if !known.contains(&instrument) {
            known.push(instrument);
        }
    }
    let bars = if std::io::stderr().is_terminal() {
        MultiProgress::new()
    } else {
        MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden())
    };
    let mut work = Vec::new();
    for (venue, instruments) in by_venue {
        let base = config.venues.iter().find(|known| known.venue == venue).map_or("", |known| &known.rest_url);
        let client = CandleClient::new(venue, base, None, Arc::clone(&clock), chance::seed())?;
        args.interval.iter().try_for_each(|interval| client.check(*interval))?;
        let each =
            |instrument: &Instrument| args.interval.iter().map(|interval| (instrument.clone(), *interval)).collect();
        let series = instruments.iter().flat_map::<Vec<_>, _>(each).collect();
        work.push(Work { client, series, bar: bars.add(bar(venue)) });
    }
    let store = open(args.store, config.store).await?;
    let mut tasks = JoinSet::new();
    for work in work {
        let store = store.clone();
        tasks.spawn(async move { fetch(work, &store, from, to).await });
    }
    let mut summary = Summary::default();
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        match ended.context("a venue's task ended badly")? {
            Ok(lines) => summary.lines.extend(lines),
            // The store fails for all venues alike.
            Err(error) => failed = Some(error),
        }
    }
    let _ = bars.clear();
    summary.write(&mut std::io::stderr().lock())?;
    if let Some(error) = failed {
        return Err(error.context("start again to go on where it ended"));
    }
    if !summary.is_whole() {
        bail!("not everything could be had; start again to ask for the rest");
    }
    Ok(())
}

/// Opens the store that was asked for, or the configured one, for a command that runs beside no server.
pub(crate) async fn open(asked: Option<StoreUrl>, configured: Option<StoreConfig>) -> anyhow::Result<Store> {
    let url = asked.or(configured.map(|store| store.url));
    let url = url.context("no store: name one with --store, or under [store] in the configuration")?;
    Store::open(&url, Keep::default()).await.map_err(|error| match error {
        StoreError::InUse { .. } => anyhow::Error::new(error)
            .context("cannot open the store; stop the server that has it open, or keep history on QuestDB"),
        error => anyhow::Error::new(error).context("cannot open the store"),
    })
}

/// The instrument of an alias or a source.
fn resolve(config: &Config, name: &str) -> anyhow::Result<Instrument> {
    if let Some(symbol) = config.symbols.iter().find(|symbol| symbol.alias == name) {
        return Ok(symbols::instrument(symbol.venue, &symbol.name));
    }
    if name.contains(':') {
        let (venue, name) = symbols::parse_source(name)?;
        return Ok(symbols::instrument(venue, name));
    }
    let hint = nearest(name, config.symbols.iter().map(|symbol| symbol.alias.as_str()));
    let hint = hint.map_or_else(String::new, |near| format!("did you mean {near}? "));
    bail!("{name:?} is no alias: {hint}write one that is configured, or venue:NAME such as binance:BTCUSDT")
}

/// One venue: its series one after the other.
async fn fetch(work: Work, store: &Store, from: Timestamp, to: Timestamp) -> anyhow::Result<Vec<Line>> {
    let Work { mut client, series, bar } = work;
    for (instrument, interval) in &series {
        let interval = *interval;
        let mend = Mend { store, client: &mut client, instrument, interval, is_doubtful: false };
        bar.inc_length(mend.survey(from, to).await?);
    }
    bar.reset_eta();
    let mut lines = Vec::new();
    for (instrument, interval) in &series {
        let interval = *interval;
        let source = instrument.source();
        bar.set_message(format!("{source} {}", interval.name()));
        let mut mend = Mend { store, client: &mut client, instrument, interval, is_doubtful: false };
        let mended = mend.run(from, to, &mut |step| bar.inc(step.passed)).await?;
        store.settled().await?;
        let left = mend.missing(from, to).await?;
        lines.push(Line { source, interval, mended, left });
    }
    bar.finish();
    Ok(lines)
}

fn bar(venue: Venue) -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{prefix:>12} {wide_bar} {pos}/{len} {eta_precise} {msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(venue.name());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

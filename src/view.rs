//! What the HTTP sidecar is told: health, symbols and metrics of the running system.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use api::view::{Answer, Feed, FeedState, Health, LATEST_MAX, Listing, Liveness, SymbolStatus, TickerRow, View};
use engine::{
    candle::Candle,
    interval::Interval,
    market::{Directory, Symbol, Timestamp, Trade, Venue},
    ring::RingReader,
    shard::SymbolStatus as Activity,
};
use feeds::supervisor::{FeedStatus, VenueStatus};
use futures_util::{StreamExt, stream};
use node::{Clock, Metrics, Node, Present, Status};
use prometheus_client::{encoding::text, registry::Registry};
use store::{Scales, Source, Store, Writer, WriterStatus};

/// A feed without any trade for so long is silent, and a symbol quiet.
const SILENT_AFTER_MS: i64 = 60_000;

/// Tickers that are asked for at once.
const TICKERS_AT_ONCE: usize = 64;

/// See the module. It is made before the node, which serves it; what the node gives is filled in afterwards.
pub struct LiveView {
    clock: Arc<Clock>,
    started_ms: i64,
    directory: Arc<Directory>,
    aliases: Vec<String>,
    /// Each venue, and whether it is switched on.
    venues: Vec<(Venue, bool)>,
    metrics: Arc<Metrics>,
    registry: Registry,
    node: OnceLock<Attached>,
    feeds: OnceLock<Arc<FeedStatus>>,
    history: OnceLock<(Store, Arc<Writer>)>,
}

/// What the started node gives.
struct Attached {
    status: Status,
    present: Present,
    readers: HashMap<Symbol, RingReader>,
}

impl LiveView {
    /// A view without a node yet.
    pub fn new(
        clock: Arc<Clock>,
        directory: Arc<Directory>,
        aliases: Vec<String>,
        venues: Vec<(Venue, bool)>,
        metrics: Arc<Metrics>,
        registry: Registry,
    ) -> Self {
        let started_ms = clock.now().millis();
        let (node, feeds, history) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { clock, started_ms, directory, aliases, venues, metrics, registry, node, feeds, history }
    }

    /// The node has started.
    pub fn attach_node(&self, node: &Node) {
        let (status, present, readers) = (node.status(), node.present(), node.readers().clone());
        // A second call changes nothing.
        let _ = self.node.set(Attached { status, present, readers });
    }

    /// History is kept.
    pub fn attach_history(&self, store: Store, writer: Arc<Writer>) {
        let _ = self.history.set((store, writer));
    }

    /// The supervisor has started; without one, a recording is replayed.
    pub fn attach_feeds(&self, feeds: Arc<FeedStatus>) {
        let _ = self.feeds.set(feeds);
    }

    fn present(&self) -> HashMap<Symbol, Activity> {
        self.node.get().map(|node| node.status.symbols().into_iter().collect()).unwrap_or_default()
    }

    fn feeds(&self, present: &HashMap<Symbol, Activity>) -> Vec<Feed> {
        let mut newest: BTreeMap<Venue, (usize, i64)> = BTreeMap::new();
        for (symbol, instrument) in self.directory.symbols() {
            let (count, last) = newest.entry(instrument.venue).or_default();
            *count += 1;
            *last = present.get(&symbol).map_or(*last, |known| (*last).max(known.last_event));
        }
        let live: Option<Vec<VenueStatus>> = self.feeds.get().map(|feeds| feeds.read());
        let feed = |(venue, enabled): &(Venue, bool)| {
            let (symbols, last) = newest.get(venue).copied().unwrap_or_default();
            let own = live.as_ref().and_then(|live| live.iter().find(|status| status.venue == *venue));
            let (state, since) = self.state(*enabled, live.is_some(), own, last);
            Feed {
                venue: venue.name().to_owned(),
                state,
                since,
                last_trade_ms: (last > 0).then(|| Timestamp(last).millis()),
                symbols,
                connections: own.map_or(0, |status| status.connected),
                error: own.filter(|_| state != FeedState::Ok).and_then(|status| status.last_error.clone()),
            }
        };
        self.venues.iter().map(feed).collect()
    }

    fn state(&self, enabled: bool, is_live: bool, own: Option<&VenueStatus>, last: i64) -> (FeedState, i64) {
        if !enabled {
            return (FeedState::Disabled, self.started_ms);
        }
        let down = own.and_then(|status| status.down_since);
        if is_live && let Some(down) = down {
            return (FeedState::Down, down.millis());
        }
        let data = own.and_then(|status| status.last_data).map_or(last, |data| data.0.max(last));
        let data_ms = if data > 0 { Timestamp(data).millis() } else { self.started_ms };
        if self.now_ms().saturating_sub(data_ms) > SILENT_AFTER_MS {
            return (FeedState::Silent, data_ms);
        }
        (FeedState::Ok, self.started_ms)
    }
}

impl View for LiveView {
    fn now_ms(&self) -> i64 {
        self.clock.now().millis()
    }

    fn health(&self) -> Health {
        let uptime_ms = self.now_ms().saturating_sub(self.started_ms);
        Health::of(self.feeds(&self.present()), env!("CARGO_PKG_VERSION"), uptime_ms)
    }

    fn symbols(&self) -> Vec<SymbolStatus> {
        let present = self.present();
        let feeds = self.feeds(&present);
        let now = self.now_ms();
        let row = |alias: &String| {
            let (_, symbol) = self.directory.label_of(self.directory.find_label(alias)?)?;
            let instrument = self.directory.instrument(symbol)?;
            let known = present.get(&symbol).copied().unwrap_or_default();
            let last = (known.last_event > 0).then(|| Timestamp(known.last_event).millis());
            let age = last.map(|last| now.saturating_sub(last).max(0));
            let feed = feeds.iter().find(|feed| feed.venue == instrument.venue.name());
            let status = match age {
                _ if feed.is_none_or(|feed| feed.state != FeedState::Ok) && known.trades > 0 => Liveness::Silent,
                None => Liveness::Starting,
                Some(age) if age <= SILENT_AFTER_MS => Liveness::Live,
                Some(_) => Liveness::Quiet,
            };
            Some(SymbolStatus {
                symbol: alias.clone(),
                source: instrument.source(),
                status,
                last_trade_ts: last,
                last_trade_age_ms: age,
                gaps: known.gaps,
                gaps_open: known.gaps_open,
                trades: known.trades,
            })
        };
        self.aliases.iter().filter_map(row).collect()
    }

    fn metrics(&self) -> String {
        let own = self.metrics.encode();
        let mut all = own.trim_end().strip_suffix("# EOF").unwrap_or(&own).to_owned();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut all, &self.registry);
        all
    }

    fn listing(&self, name: &str) -> Option<Listing> {
        let (label, symbol) = self.directory.label_of(self.directory.find_label(name)?)?;
        let instrument = self.directory.instrument(symbol)?;
        let scales = Scales { price: instrument.price_scale, quantity: instrument.quantity_scale };
        Some(Listing { label: label.to_owned(), symbol, source: Source::parse(&instrument.source()).ok()?, scales })
    }

    fn names(&self) -> Vec<String> {
        self.directory.labels().map(|(_, name, _)| name.to_owned()).collect()
    }

    fn history(&self) -> Option<Store> {
        self.history.get().map(|(store, _)| store.clone())
    }

    fn history_status(&self) -> Option<WriterStatus> {
        self.history.get().map(|(_, writer)| writer.status())
    }

    fn latest(&self, symbol: Symbol, interval: Interval, count: usize) -> Answer<'_, Vec<Candle>> {
        Box::pin(async move {
            match self.node.get() {
                Some(node) => node.present.candles(symbol, interval, count.min(LATEST_MAX)).await,
                None => Vec::new(),
            }
        })
    }

    fn newest_trades(&self, symbol: Symbol, count: usize) -> Vec<Trade> {
        let reader = self.node.get().and_then(|node| node.readers.get(&symbol));
        reader.map(|reader| reader.latest(count)).unwrap_or_default()
    }

    fn tickers(&self) -> Answer<'_, Vec<TickerRow>> {
        Box::pin(async move {
            let Some(node) = self.node.get() else { return Vec::new() };
            let row = async |alias: &String| {
                let Listing { label, symbol, source, scales } = self.listing(alias)?;
                let ticker = node.present.ticker(symbol).await?;
                Some(TickerRow { label, source, scales, ticker })
            };
            let rows = stream::iter(self.aliases.iter().map(row)).buffered(TICKERS_AT_ONCE);
            rows.filter_map(std::future::ready).collect().await
        })
    }
}

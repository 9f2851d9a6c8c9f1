//! What a running system tells about itself.

use std::pin::Pin;

use engine::{
    candle::Candle,
    interval::Interval,
    market::{Symbol, Trade},
    ticker::Ticker,
};
use serde::Serialize;
use store::{WriterState, WriterStatus};
use utoipa::ToSchema;

/// What a shard answers: not at once, but soon, since it is asked through its queue.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The most candles that [`View::latest`] is asked for.
pub const LATEST_MAX: usize = 500;

/// The present of the system. Answers come from memory.
pub trait View: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
    /// Whether the feeds flow.
    fn health(&self) -> Health;
    /// Every symbol that is served, under its alias.
    fn symbols(&self) -> Vec<SymbolStatus>;
    /// All metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
    /// The instrument that an alias or a source names, if it is served.
    fn listing(&self, name: &str) -> Option<Listing>;
    /// Every alias and source, for suggestions.
    fn names(&self) -> Vec<String>;
    /// Where history is kept; `None` without a store.
    fn history(&self) -> Option<store::Store>;
    /// How the writer of the history fares; `None` without a store.
    fn history_status(&self) -> Option<WriterStatus>;
    /// The newest candles that the running engine holds, at most `count` and [`LATEST_MAX`]: oldest first, the open one
    /// last. There may be none.
    fn latest(&self, symbol: Symbol, interval: Interval, count: usize) -> Answer<'_, Vec<Candle>>;
    /// The newest trades that the running engine holds, at most `count`, oldest first.
    fn newest_trades(&self, symbol: Symbol, count: usize) -> Vec<Trade>;
    /// The ticker of every symbol that traded.
    fn tickers(&self) -> Answer<'_, Vec<TickerRow>>;
}

/// An instrument that is served, under the name it was asked by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The alias or `venue:NAME`, as asked.
    pub label: String,
    /// Its number in this run.
    pub symbol: Symbol,
    /// Its stable name.
    pub source: store::Source,
    /// What its integers count in.
    pub scales: store::Scales,
}

/// The ticker of one symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TickerRow {
    /// The name that it is listed by.
    pub label: String,
    /// Its instrument.
    pub source: store::Source,
    /// What its integers count in.
    pub scales: store::Scales,
    /// Last price and 24 hours.
    pub ticker: Ticker,
}

/// `ok` or `degraded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Every feed that is switched on flows.
    Ok,
    /// At least one does not.
    Degraded,
}

/// What a feed does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FeedState {
    /// It flows.
    Ok,
    /// Connected, but nothing comes.
    Silent,
    /// Not connected.
    Down,
    /// Switched off.
    Disabled,
}

/// One venue's feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Feed {
    /// Its name.
    pub venue: String,
    /// What it does.
    pub state: FeedState,
    /// Since when, in milliseconds.
    pub since: i64,
    /// Time of its newest trade in milliseconds, if there was one.
    pub last_trade_ms: Option<i64>,
    /// How many instruments it carries.
    pub symbols: usize,
    /// Live connections.
    pub connections: usize,
    /// What went wrong last, in words.
    pub error: Option<String>,
}

/// `/v1/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// Whether all is well.
    pub status: Status,
    /// Since when it is not, in milliseconds.
    pub since: Option<i64>,
    /// The names of the feeds that are silent or down, and `history` if rows do not reach the store.
    pub degraded: Vec<String>,
    /// The program's version.
    pub version: &'static str,
    /// Time since the start.
    pub uptime_ms: i64,
    /// Each feed.
    pub feeds: Vec<Feed>,
    /// Whether what is streamed is kept.
    pub history: History,
}

/// Whether rows reach the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HistoryState {
    /// They do.
    Ok,
    /// They wait in the spill folder.
    Spilling,
    /// The spill folder has no room: rows wait in memory, then they are lost.
    Full,
    /// There is no store.
    Off,
}

/// How the history fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct History {
    /// Whether rows reach the store.
    pub state: HistoryState,
    /// Since when they do not, in milliseconds.
    pub since: Option<i64>,
    /// How many bytes wait in the spill folder.
    pub spilled_bytes: u64,
    /// How many rows were lost.
    pub lost_rows: u64,
    /// What went wrong last, in words.
    pub last_error: Option<String>,
}

impl History {
    fn of(status: Option<WriterStatus>) -> Self {
        let Some(status) = status else {
            return Self { state: HistoryState::Off, since: None, spilled_bytes: 0, lost_rows: 0, last_error: None };
        };
        let (state, since, spilled_bytes) = match status.state {
            WriterState::Ok => (HistoryState::Ok, None, 0),
            WriterState::Spilling { since, bytes } => (HistoryState::Spilling, Some(since.millis()), bytes),
            WriterState::Full { since, bytes } => (HistoryState::Full, Some(since.millis()), bytes),
        };
        Self { state, since, spilled_bytes, lost_rows: status.lost_rows, last_error: status.last_error }
    }
}

impl Health {
    /// The health that follows from the feeds: degraded since the first of them fell silent.
    pub fn of(feeds: Vec<Feed>, version: &'static str, uptime_ms: i64) -> Self {
        let bad = || feeds.iter().filter(|feed| matches!(feed.state, FeedState::Silent | FeedState::Down));
        let since = bad().map(|feed| feed.since).min();
        let degraded: Vec<String> = bad().map(|feed| feed.venue.clone()).collect();
        let status = if degraded.is_empty() { Status::Ok } else { Status::Degraded };
        Self { status, since, degraded, version, uptime_ms, feeds, history: History::of(None) }
    }

    /// The health with that of the history: degraded as well while rows do not reach the store.
    pub fn with_history(mut self, status: Option<WriterStatus>) -> Self {
        self.history = History::of(status);
        if matches!(self.history.state, HistoryState::Spilling | HistoryState::Full) {
            self.status = Status::Degraded;
            self.since = self.since.into_iter().chain(self.history.since).min();
            self.degraded.push("history".to_owned());
        }
        self
    }
}

/// Whether a symbol trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// A trade came within the last minute.
    Live,
    /// Its feed flows, but it did not trade for a minute.
    Quiet,
    /// Its feed does not flow.
    Silent,
    /// No trade since the start.
    Starting,
}

/// One row of `/v1/market/symbols`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct SymbolStatus {
    /// The alias.
    pub symbol: String,
    /// `venue:NAME`.
    pub source: String,
    /// Whether it trades.
    pub status: Liveness,
    /// Venue time of the newest trade in milliseconds.
    pub last_trade_ts: Option<i64>,
    /// How long ago that was.
    pub last_trade_age_ms: Option<i64>,
    /// Holes found since the start.
    pub gaps: u64,
    /// Holes that are open now.
    pub gaps_open: u64,
    /// Trades taken in since the start.
    pub trades: u64,
}

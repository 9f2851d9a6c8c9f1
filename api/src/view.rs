//! What a running system tells about itself.

use serde::Serialize;

/// The present of the system. Answers come from memory, at once.
pub trait View: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
    /// Whether the feeds flow.
    fn health(&self) -> Health;
    /// Every symbol that is served, under its alias.
    fn symbols(&self) -> Vec<SymbolStatus>;
    /// All metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
}

/// `ok` or `degraded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Every feed that is switched on flows.
    Ok,
    /// At least one does not.
    Degraded,
}

/// What a feed does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether all is well.
    pub status: Status,
    /// Since when it is not, in milliseconds.
    pub since: Option<i64>,
    /// The names of the feeds that are silent or down.
    pub degraded: Vec<String>,
    /// The program's version.
    pub version: &'static str,
    /// Time since the start.
    pub uptime_ms: i64,
    /// Each feed.
    pub feeds: Vec<Feed>,
}

impl Health {
    /// The health that follows from the feeds: degraded since the first of them fell silent.
    pub fn of(feeds: Vec<Feed>, version: &'static str, uptime_ms: i64) -> Self {
        let bad = || feeds.iter().filter(|feed| matches!(feed.state, FeedState::Silent | FeedState::Down));
        let since = bad().map(|feed| feed.since).min();
        let degraded: Vec<String> = bad().map(|feed| feed.venue.clone()).collect();
        let status = if degraded.is_empty() { Status::Ok } else { Status::Degraded };
        Self { status, since, degraded, version, uptime_ms, feeds }
    }
}

/// Whether a symbol trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

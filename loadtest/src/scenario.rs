//! The scenarios: each opens sessions in its own manner and says what must hold.

use std::{sync::Arc, time::Duration};

use crate::{CONNECTIONS_MAX, LoadError, report::Report, server::Place, session::Channels, trial::Progress};

mod churn;
mod idle;
mod slow;
mod soak;
mod storm;
mod stretch;

/// What a symbol has, in the order in which channels are taken: the twenty-one of `kandle`.
pub const KINDS: [&str; 21] = [
    "market.*.1s",
    "trades.*",
    "market.*.1m",
    "market.*.5m",
    "market.*.15m",
    "market.*.1h",
    "market.*.4h",
    "market.*.1d",
    "ticker.*",
    "market.*.5s",
    "market.*.15s",
    "market.*.30s",
    "market.*.3m",
    "market.*.30m",
    "market.*.2h",
    "market.*.6h",
    "market.*.8h",
    "market.*.12h",
    "market.*.3d",
    "market.*.1w",
    "market.*.1M",
];

/// Candles or trades in a first snapshot.
const SNAPSHOT: u32 = 20;

/// What all scenarios have.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server.
    pub place: Place,
    /// How many sessions.
    pub connections: usize,
    /// How many channels each.
    pub channels: usize,
    /// How many symbols the market has.
    pub symbols: u32,
    /// Their names, if they are not `S0` and so on.
    pub names: Vec<String>,
    /// Trades a second of the whole market.
    pub rate: u32,
    /// How long is measured.
    pub seconds: u64,
    /// How long the opening of all sessions may take.
    pub open_within: Duration,
}

/// How fast a market is in `fanout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At the rate that was given.
    Fixed,
    /// Ever faster, until no more events arrive.
    Saturate,
    /// Ever faster, until the 99th percentile is above so many microseconds; then the highest rate below it.
    Ramp {
        /// The bound.
        p99_us: u64,
    },
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Scenario {
    /// These channels of any server, as it is.
    Follow {
        /// Their names.
        channels: Vec<String>,
    },
    /// All sessions on the same channels.
    Fanout {
        /// How fast.
        pace: Pace,
    },
    /// Each session on other channels.
    ManyChannels,
    /// Recorded trades on all symbols at once.
    Burst,
    /// Others come and go, while some stay.
    Churn {
        /// How many a second.
        per_second: u32,
    },
    /// A tenth of the sessions reads nothing.
    Slow {
        /// How much slower the 99th percentile of the others may be, in hundredths.
        ratio_percent: u64,
        /// How long the server bears a socket that takes nothing.
        deadline_ms: u64,
    },
    /// All sessions but some are cut at once and come back with `since`.
    ReconnectStorm,
    /// Sessions on a quiet market.
    Idle,
    /// Everything at once, for long.
    Soak {
        /// How much the server's memory may grow after the first third, in KiB a minute.
        growth_kib: i64,
    },
}

/// Runs a scenario to its end.
///
/// # Errors
/// [`LoadError`] if it could not be run. What did not hold is in the report.
pub fn run(scenario: &Scenario, load: &Load, progress: Progress<'_>) -> Result<Report, LoadError> {
    if load.connections == 0 || load.connections > CONNECTIONS_MAX {
        return Err(LoadError::Connections(load.connections));
    }
    let most = load.symbols as usize * KINDS.len();
    if load.channels == 0 || load.channels > most {
        return Err(LoadError::Channels { channels: load.channels, symbols: load.symbols as usize });
    }
    match scenario {
        Scenario::Follow { channels } => stretch::follow(load, channels, progress),
        Scenario::Fanout { pace } => stretch::fanout(load, *pace, progress),
        Scenario::ManyChannels => stretch::many_channels(load, progress),
        Scenario::Burst => stretch::burst(load, progress),
        Scenario::Churn { per_second } => churn::run(load, *per_second, progress),
        Scenario::Slow { ratio_percent, deadline_ms } => slow::run(load, *ratio_percent, *deadline_ms, progress),
        Scenario::ReconnectStorm => storm::run(load, progress),
        Scenario::Idle => idle::run(load, progress),
        Scenario::Soak { growth_kib } => soak::run(load, *growth_kib, progress),
    }
}

impl Load {
    fn name(&self, symbol: usize) -> String {
        self.names.get(symbol).cloned().unwrap_or_else(|| format!("S{symbol}"))
    }

    /// `count` channels from `first` on: the first kind of every symbol, then the next kind.
    fn set(&self, first: usize, count: usize, snapshot: u32) -> Arc<Channels> {
        let symbols = self.symbols.max(1) as usize;
        let channel = |index: usize| {
            let index = index % (symbols * KINDS.len());
            let kind = KINDS.get(index / symbols).copied().unwrap_or_default();
            kind.replace('*', &self.name(index % symbols))
        };
        Channels::new((first..first + count).map(channel), snapshot)
    }

    /// The channels that every session has.
    fn same(&self) -> Arc<Channels> {
        self.set(0, self.channels, SNAPSHOT)
    }

    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

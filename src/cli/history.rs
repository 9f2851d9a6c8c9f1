//! What can be asked of stored candles: import from files, backfill from venues.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use engine::{candle::State, interval::Interval};
use store::StoreUrl;

use super::interval;
use crate::{backfill::moment::Moment, import::columns::CandleColumns};

/// `kandle import`.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    kandle import klines.csv.zst --store redb:history.redb --symbol binance:FILUSDT --interval 1m --time-unit ms \\\n      \
    --columns time=open_time,open=open,high=high,low=low,close=close,volume=volume,trades=count,\\\n      \
    quote_volume=quote_volume,buy_volume=taker_buy_volume\n  \
    kandle import all.csv --store redb:history.redb --symbol 'binance:{symbol}' --interval 1h --time-unit ms \\\n      \
    --columns symbol=symbol,time=open_time_ms,open=open,high=high,low=low,close=close,volume=volume\n  \
    kandle import 1.csv.gz 2.csv.gz --store questdb:http://127.0.0.1:9000 --symbol bitfinex:LTCUSD --interval 1m \\\n      \
    --columns time=1,open=2,close=3,high=4,low=5,volume=6 --time-unit ms --report refused.csv\n\n\
    Files are plain, .gz or .zst, oldest or newest row first. Columns are names of the header row or numbers from 1.\n\
    A row is refused if a field is missing or malformed, a price is not above zero, its high or low is not the\n\
    highest or lowest price, it opens where no candle of the interval does, or it is out of order or a duplicate. The\n\
    other rows go on. What was refused is counted by reason on standard error; --report lists every row.\n\n\
    A candle that is stored already stays as it is, so an import can be started again. Where the file says something\n\
    else, the row is counted as differing; --replace takes it as the next revision. Imported candles are `partial`:\n\
    nothing proves a file whole, and `kandle backfill` replaces them by the venue's own. Say --state repaired if the\n\
    file is the venue's own export. Rows without volume, trades and change are `flat`. What no column tells is null.\n\n\
    The exit code is 0 if at least one row was taken or was there before, else 1.")]
pub struct ImportArgs {
    /// Files of candles, one a row.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where candles are kept: redb:PATH or questdb:http://HOST:PORT. Without it, where the configuration says.
    #[arg(long, value_name = "URL", value_parser = StoreUrl::parse)]
    pub store: Option<StoreUrl>,
    /// A TOML file that says where candles are kept; kandle.sample.toml explains it.
    #[arg(long, value_name = "FILE", env = "KANDLE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Whose candles they are, as venue:NAME; {symbol} stands for the text of the symbol column.
    #[arg(long, value_name = "SOURCE")]
    pub symbol: String,
    /// How long the candles are, such as 1h.
    #[arg(long, value_name = "INTERVAL", value_parser = interval)]
    pub interval: Interval,
    /// time=…,open=…,high=…,low=…,close=…[,volume=…][,trades=…][,quote_volume=…][,buy_volume=…][,symbol=…]
    #[arg(long, value_name = "COLUMNS", value_parser = CandleColumns::parse)]
    pub columns: CandleColumns,
    /// What the time column counts since 1970-01-01 UTC, or how it is written.
    #[arg(long, value_enum)]
    pub time_unit: TimeForm,
    /// Which end of the candle the time column names.
    #[arg(long, value_enum, default_value_t = TimeIs::Start)]
    pub time_is: TimeIs,
    /// Decimals of prices; without it those of the instrument, more if the files need them. Nothing is rounded.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=18))]
    pub price_scale: Option<u8>,
    /// Decimals of volumes, likewise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=18))]
    pub quantity_scale: Option<u8>,
    /// What the candles are taken to prove.
    #[arg(long, value_enum, default_value_t = Trust::Partial)]
    pub state: Trust,
    /// Replace stored candles that differ, as their next revision.
    #[arg(long)]
    pub replace: bool,
    /// Write every row that was refused to this file: file, line, reason, row.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// How a file writes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimeForm {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
    /// 2024-01-01T00:00:00Z, also with a blank for the T, +00:00 for the Z, and a fraction.
    Rfc3339,
    /// 2024-01-01.
    Date,
}

/// Which end of a candle a time names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimeIs {
    /// Its first moment.
    Start,
    /// The first moment behind it.
    End,
}

/// What imported candles are taken to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Trust {
    /// Nothing: a backfill replaces them.
    Partial,
    /// They are the venue's own.
    Repaired,
}

impl Trust {
    /// The state of such a candle.
    pub const fn state(self) -> State {
        match self {
            Self::Partial => State::Partial,
            Self::Repaired => State::Repaired,
        }
    }
}

/// `kandle backfill`.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    kandle backfill --symbols BTC,ETH --from 2024-01-01 --store redb:history.redb\n  \
    kandle backfill --symbols kraken:BTC/USD,okx:BTC-USDT --interval 1m --interval 1h --from 2024-01-01T09:30:00Z \\\n      \
    --to 2024-02-01 --store questdb:http://127.0.0.1:9000\n\n\
    Only candles that are missing, or stored as `partial`, are asked for; each page is stored before the next one is\n\
    asked for. So a backfill that was killed goes on where it was when it is started again. Venues go side by side, each\n\
    at the pace that it allows, and a venue that asks for patience gets it.\n\n\
    Candles are stored as `repaired`, those without trades as `flat`; what the venue does not tell is null. Where a venue\n\
    leaves intervals without trades out, they become `flat` only between two candles that it gave. A candle finer than the\n\
    instrument's scales, or that breaks the laws of candles, is refused by name and never rounded.\n\n\
    Kraken keeps the newest 720 candles of each interval, Hyperliquid 5000: what is older counts as `too old`. `missing`\n\
    is what is not in the store afterwards: a venue has no candles of an outage, or of the time before a listing.\n\n\
    The exit code is 0 if every venue answered and nothing was refused, else 1.")]
pub struct BackfillArgs {
    /// Aliases (BTC) or instruments (binance:BTCUSDT), with commas between them.
    #[arg(long, required = true, value_name = "SYMBOLS", value_delimiter = ',')]
    pub symbols: Vec<String>,
    /// How long the candles are; may be given several times.
    #[arg(long, value_name = "INTERVAL", value_parser = interval, default_value = "1m")]
    pub interval: Vec<Interval>,
    /// The first moment: a date, a time such as 2024-01-01T09:30:00Z, or milliseconds since 1970.
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    pub from: Moment,
    /// The first moment behind it.
    #[arg(long, value_name = "TIME", value_parser = Moment::parse, default_value = "now")]
    pub to: Moment,
    /// Where candles are kept: redb:PATH or questdb:http://HOST:PORT. Without it, where the configuration says.
    #[arg(long, value_name = "URL", value_parser = StoreUrl::parse)]
    pub store: Option<StoreUrl>,
    /// A TOML file with aliases and the venues' addresses; kandle.sample.toml explains it.
    #[arg(long, value_name = "FILE", env = "KANDLE_CONFIG")]
    pub config: Option<PathBuf>,
}

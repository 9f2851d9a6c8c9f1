//! What can be asked on the command line, with help that teaches by example.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use engine::{interval::Interval, market::Venue};

pub use self::accounts::{
    AccountsArgs, AccountsAt, AccountsCommand, KeysArgs, KeysCommand, LedgerArgs, LedgerCommand, ScopeName,
};
pub use self::history::{BackfillArgs, ImportArgs, TimeForm, TimeIs, Trust};
pub use self::load::{LoadArgs, LoadtestArgs, Market, Profile, ScenarioCommand, SimulateArgs};
use crate::replay::csv::Columns;

mod accounts;
mod history;
mod load;

/// The command line.
#[derive(Parser)]
#[command(
    name = "kandle",
    version,
    about = "Streams trades of exchanges as OHLCV candles over WebSocket",
    after_help = "First steps:\n  kandle demo                      real recorded trades, replayed now: nothing to set up\n  \
                  kandle tail market.BTC.1m        watch a channel in the terminal\n  \
                  kandle serve --config my.toml    live public feeds; kandle.sample.toml explains every setting\n\n\
                  Logs go to standard error; RUST_LOG=debug shows more, RUST_LOG=kandle=debug,info only ours."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Connect to the venues and serve candles, trades and tickers.
    Serve(ServeArgs),
    /// Replay bundled recorded trades in a loop: something to connect to within a second.
    Demo(DemoArgs),
    /// Turn recorded trades into candles, or serve them as a live stream.
    Replay(Box<ReplayArgs>),
    /// Fetch candles of the past from the venues into the store.
    Backfill(BackfillArgs),
    /// Load candles from files into the store.
    Import(Box<ImportArgs>),
    /// Make users, and see and change what they have.
    Accounts(Box<AccountsArgs>),
    /// Make, list and revoke API keys.
    Keys(Box<KeysArgs>),
    /// Check the books, or print what moved a user's money.
    Ledger(Box<LedgerArgs>),
    /// Watch channels in the terminal.
    Tail(TailArgs),
    /// Serve a synthetic market whose ids say when each trade was due: something to load.
    Simulate(SimulateArgs),
    /// Open many sessions, check every event and measure its latency.
    Loadtest(Box<LoadtestArgs>),
}

/// `kandle serve`.
#[derive(Args)]
#[command(after_help = "Examples:\n  kandle serve\n  kandle serve --config kandle.toml\n  \
                        KANDLE_LIMITS__OUTBOX_BYTES=4194304 kandle serve --listen 127.0.0.1:9000\n  \
                        kandle serve --config kandle.toml --listen 0.0.0.0:443 --tls-cert cert.pem --tls-key key.pem\n  \
                        kandle serve --config kandle.toml --record recorded/ --record-bytes-max 10000000000\n\n\
                        Without a file the defaults hold: six venues, over 100 symbols, loopback, and no key that may\n\
                        connect; add one under [[keys]]. Settings, in rising order of weight: defaults, file,\n\
                        KANDLE_… variables, options. SIGTERM or Ctrl-C closes clients with 1012 and ends within 10 s.")]
pub struct ServeArgs {
    /// A TOML file; kandle.sample.toml explains every setting.
    #[arg(long, value_name = "FILE", env = "KANDLE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where clients connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Serve TLS only, with this certificate and its chain (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate (PEM, without a password).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Record everything that venues send into this folder, one file a venue and hour; `kandle replay DIR` reads it.
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// The most bytes of all recorded files; the oldest go first [default: 50 GB].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1 << 20..=1_000_000_000_000_000))]
    pub record_bytes_max: Option<u64>,
}

/// `kandle demo`.
#[derive(Args)]
#[command(after_help = "Examples:\n  kandle demo\n  kandle demo --listen 127.0.0.1:0 --json | head -1")]
pub struct DemoArgs {
    /// Where clients connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Print {"url":…,"ws_url":…,"api_key":…} as the first line of standard output, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// `kandle replay`.
#[derive(Args, Clone)]
#[command(after_help = "Examples:\n  \
    kandle replay capture.jsonl.gz --venue binance --interval 1m --interval 5m --out candles.jsonl\n  \
    kandle replay trades.csv.zst --format csv --symbol XBTUSD --columns time=timestamp,price=price,quantity=size \\\n      \
    --time-unit ms --out -\n  \
    kandle replay quotes.csv --format csv --symbol EURUSD --columns time=1,price=2 --time-unit ms --out - --fill none\n  \
    kandle replay capture.jsonl.gz --venue binance --speed 10       (served as a live stream)\n  \
    kandle replay recorded/ --interval 1s --out -                   (what `serve --record recorded/` wrote)\n\n\
    A recording of `serve` names its venue and gives the candles that were streamed, with their last revision; where its\n\
    folder holds several venues, --venue chooses. Inputs are plain, .gz or .zst. Raw frames are `<ns> <json>` a line, `URL <-> epoch` captures, or bare JSON lines.\n\
    CSV columns are names of the header row or numbers from 1; a negative quantity means that the taker sold. What was\n\
    read and refused, and why, is printed to standard error.")]
pub struct ReplayArgs {
    /// Recorded input, in the order of time, or the folder of a recording.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How long candles are, such as 1m; may be given several times.
    #[arg(long, value_name = "INTERVAL", value_parser = interval, default_value = "1m")]
    pub interval: Vec<Interval>,
    /// Where candles go, one JSON object a line; `-` is standard output. Without it, the input is served as a stream.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What the input is.
    #[arg(long, value_enum, default_value_t = Format::Frames)]
    pub format: Format,
    /// Whose raw frames they are: binance, coinbase, kraken, bybit, okx or hyperliquid. A recording of `serve` tells it.
    #[arg(long, value_name = "NAME", value_parser = venue)]
    pub venue: Option<Venue>,
    /// The name of the symbol in a CSV file.
    #[arg(long, value_name = "NAME", required_if_eq("format", "csv"))]
    pub symbol: Option<String>,
    /// time=…,price=…[,quantity=…][,side=…|,buyer_maker=…][,id=…]
    #[arg(long, value_name = "COLUMNS", value_parser = Columns::parse, required_if_eq("format", "csv"))]
    pub columns: Option<Columns>,
    /// What the time column counts since 1970-01-01 UTC; decimals are allowed.
    #[arg(long, value_enum, required_if_eq("format", "csv"))]
    pub time_unit: Option<TimeUnit>,
    /// Decimals of prices in CSV; more in the file are an error, never rounded.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=18))]
    pub price_scale: u8,
    /// Decimals of quantities in CSV.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(0..=18))]
    pub quantity_scale: u8,
    /// Candles without trades: flat at the last close, or none.
    #[arg(long, value_enum, default_value_t = Fill::Flat)]
    pub fill: Fill,
    /// How long after its end a late trade still changes a candle.
    #[arg(long, value_name = "MS", default_value_t = 300_000, value_parser = clap::value_parser!(i64).range(0..=400_000))]
    pub late_window_ms: i64,
    /// How fast the input is served: 1 as recorded, N times, or max.
    #[arg(long, value_name = "N", value_parser = Speed::parse, default_value = "1", conflicts_with = "out")]
    pub speed: Speed,
    /// Where the stream is served.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", conflicts_with = "out")]
    pub listen: SocketAddr,
}

/// `kandle tail`.
#[derive(Args)]
#[command(after_help = "Examples:\n  kandle tail market.BTC.1m ticker.ETH --key kai-…\n  \
                        KANDLE_API_KEY=kai-… kandle tail market.BTC.1s trades.BTC --count 20")]
pub struct TailArgs {
    /// market.SYMBOL.INTERVAL, trades.SYMBOL or ticker.SYMBOL.
    #[arg(required = true, value_name = "CHANNEL")]
    pub channels: Vec<String>,
    /// The stream.
    #[arg(long, value_name = "URL", env = "KANDLE_URL", default_value = "ws://127.0.0.1:8080/v1/ws")]
    pub url: String,
    /// The API key; better in the environment, where no process list shows it.
    #[arg(long, value_name = "KEY", env = "KANDLE_API_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// Kinds of recorded input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Raw messages of a venue.
    Frames,
    /// One trade a row.
    Csv,
}

/// What a time column counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimeUnit {
    /// Seconds.
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// What happens to candles without trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fill {
    /// They are written, at the last close.
    Flat,
    /// They are left out.
    None,
}

/// How fast a recording is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// So many times as fast as it was recorded.
    Times(u32),
    /// As fast as can be.
    Max,
}

impl Speed {
    /// Reads `max` or a whole number from 1 to 100000.
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            _ if text == "max" => Ok(Self::Max),
            Ok(times) if (1..=100_000).contains(&times) => Ok(Self::Times(times)),
            _ => Err("use 1, a whole number up to 100000, or max".to_owned()),
        }
    }
}

fn interval(name: &str) -> Result<Interval, String> {
    let known = || Interval::ALL.map(Interval::name).join(" ");
    Interval::parse(name).ok_or_else(|| format!("use one of {}", known()))
}

fn venue(name: &str) -> Result<Venue, String> {
    let known = || Venue::LIVE.map(Venue::name).join(", ");
    Venue::LIVE.into_iter().find(|venue| venue.name() == name).ok_or_else(|| format!("use one of {}", known()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_reads_its_own_examples() {
        Cli::command().debug_assert();
        for line in [
            "kandle serve --config kandle.toml --listen 127.0.0.1:0",
            "kandle serve --tls-cert cert.pem --tls-key key.pem",
            "kandle serve --record recorded/ --record-bytes-max 10000000000",
            "kandle replay recorded/ --interval 1s --out -",
            "kandle demo --json",
            "kandle replay a.gz b.gz --venue binance --interval 1m --interval 5m --out -",
            "kandle replay a.csv --format csv --symbol X --columns time=1,price=2 --time-unit ms --out - --fill none",
            "kandle replay a.gz --venue binance --speed max",
            "kandle backfill --symbols BTC,kraken:BTC/USD --interval 1m --interval 1h --from 2024-01-01 --store redb:a.redb",
            "kandle import a.csv --store redb:a.redb --symbol x:A --interval 1h --columns time=1,open=2,high=3,low=4,close=5 \
             --time-unit ms --time-is end --state repaired --replace --report b.csv",
            "kandle tail market.BTC.1m --key kai-x --count 3",
            "kandle accounts create ann@example.com --credit 10",
            "kandle accounts credit ann@example.com 25 --cause invoice-2024-117 --json",
            "kandle keys create --user 42 --name ci --scope read --expires 2027-01-01 --cap 5 --allow 192.0.2.0/24",
            "kandle keys revoke 7 --config kandle.toml",
            "kandle ledger verify",
            "kandle ledger statement --user ann@example.com --from 2024-01-01 --to 2024-02-01",
            "kandle simulate --symbols 8 --rate 2000 --profile recorded",
            "kandle loadtest follow market.BTC.1s trades.BTC --connections 10 --address 127.0.0.1:8080 --key kai-x",
            "kandle loadtest fanout --connections 1000 --channels 8 --ramp --p99-ms 10 --plot a.svg --json a.json",
            "kandle loadtest fanout --saturate --symbols 1 --channels 10",
            "kandle loadtest slow --connections 500 --ratio-max 1.2",
            "kandle loadtest reconnect-storm --connections 5000",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "kandle replay a.csv --format csv --out -",
            "kandle serve --record recorded/ --record-bytes-max 1000",
            "kandle replay a.gz --venue mars --out -",
            "kandle replay a.gz --venue okx --interval 7m --out -",
            "kandle replay a.gz --venue okx --speed 0",
            "kandle tail",
            "kandle accounts credit ann@example.com 25",
            "kandle keys revoke all",
            "kandle keys create --user 42 --name ci --scope root",
            "kandle backfill --symbols BTC --from yesterday --store redb:a.redb",
            "kandle backfill --from 2024-01-01 --store redb:a.redb",
            "kandle import a.csv --store redb:a.redb --symbol x:A --interval 1h --columns time=1,open=2 --time-unit ms",
            "kandle import a.csv --store a.redb --symbol x:A --interval 1h --columns time=1,open=2,high=3,low=4,close=5 \
             --time-unit ms",
            "kandle loadtest",
            "kandle loadtest follow",
            "kandle loadtest fanout --saturate --ramp",
            "kandle loadtest idle --connections 0",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}

//! What can be asked of a load test and of the market that it runs on.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

/// Shapes of a synthetic market.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// A trade each 1/rate seconds, symbols in turn.
    Steady,
    /// A seeded market with bursts that its symbols share.
    Bursts,
    /// The busiest minute of the bundled recording, on all symbols at once, in a loop.
    Recorded,
}

/// `kandle simulate`.
#[derive(Args)]
#[command(after_help = "Examples:\n  kandle simulate --symbols 8 --rate 2000\n  \
                        kandle simulate --profile recorded --listen 127.0.0.1:0 --json\n\n\
                        A trade's id is the microsecond at which it was due, so a client can tell how late it is, whatever\n\
                        fell behind. With --control, lines of standard input steer it: `rate N`, `profile NAME`, `stop`;\n\
                        the end of standard input ends it as well.")]
pub struct SimulateArgs {
    /// Where clients connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// How many symbols: S0, S1 and so on.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub symbols: u32,
    /// Trades a second over all symbols; recorded trades keep their own pace.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(..=4_000_000))]
    pub rate: u32,
    /// The shape of the market.
    #[arg(long, value_enum, default_value_t = Profile::Steady)]
    pub profile: Profile,
    /// The seed of `bursts`; without it, another market each time.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Print {"url":…,"ws_url":…,"api_key":…,"pid":…} as the first line of standard output, for scripts.
    #[arg(long)]
    pub json: bool,
    /// Obey lines of standard input.
    #[arg(long)]
    pub control: bool,
    /// Threads that serve sockets; 0 chooses by the processors.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=64).map(size))]
    pub workers: usize,
    /// Threads that fold trades; 0 chooses by the processors.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=64).map(size))]
    pub shards: usize,
    /// Send at whole multiples of this, or at once if it is 0.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=10_000))]
    pub emit_ms: i64,
    /// Channels that one connection may have.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000).map(size))]
    pub channels_per_connection: usize,
    /// What may wait for a slow client.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20,
        value_parser = clap::value_parser!(u64).range(65_536..=268_435_456).map(size))]
    pub outbox_bytes: usize,
    /// The kernel's send buffer of a session.
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 10,
        value_parser = clap::value_parser!(u64).range(4_096..=16_777_216).map(size))]
    pub send_buffer_bytes: usize,
    /// How long a socket may take nothing before it is closed with 4408.
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(1_000..=600_000))]
    pub write_deadline_ms: i64,
}

/// The bounds were checked before.
fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

use clap::builder::TypedValueParser;

/// `kandle loadtest`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  kandle loadtest fanout --connections 1000 --channels 8 --rate 500 --plot latency.svg\n  \
                  kandle loadtest fanout --ramp --p99-ms 10          the highest rate within a bound\n  \
                  kandle loadtest slow\n  kandle loadtest reconnect-storm --connections 5000\n  \
                  kandle loadtest follow trades.BTC --address 127.0.0.1:8080 --key kai-…\n\n\
                  Without --address each scenario starts a market of its own (`kandle simulate`) on a free port of\n\
                  loopback and ends it afterwards. Every frame is checked: no number may be missing but those that the\n\
                  server told of, and candles from snapshot and events must be the server's own at the end. Latency\n\
                  counts from when a trade was due, so no wait is left out. It ends by itself, with code 1 and a\n\
                  sentence if something did not hold."
)]
pub struct LoadtestArgs {
    /// The scenario.
    #[command(subcommand)]
    pub scenario: ScenarioCommand,
}

/// The market of a server of our own.
#[derive(Args, Clone, Debug)]
pub struct Market {
    /// Trades a second over all symbols.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=4_000_000))]
    pub rate: Option<u32>,
    /// How many symbols; a session's channels are first the 1s candles of each, then the trades of each, and so on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub symbols: Option<u32>,
    /// Channels of each session.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000).map(size))]
    pub channels: Option<usize>,
    /// Names of the symbols of a running server, instead of S0, S1 and so on.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub names: Vec<String>,
    /// One more argument of the server of this test, such as --server-argument=--workers=1; may be given several times.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub server_argument: Vec<String>,
}

/// What all scenarios have.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// How many sessions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60_000).map(size))]
    pub connections: Option<usize>,
    /// How long each phase is measured.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
    /// A running server instead of one of its own.
    #[arg(long, value_name = "ADDR")]
    pub address: Option<SocketAddr>,
    /// Its API key, which must allow so many connections; better in the environment, where no process list shows it.
    #[arg(long, value_name = "KEY", env = "KANDLE_API_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Its process, to measure its processor time and memory.
    #[arg(long, value_name = "PID", requires = "address")]
    pub server_pid: Option<u32>,
    /// Allow an address beyond this machine, which you must own.
    #[arg(long)]
    pub allow_remote: bool,
    /// How long all sessions may take to open.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub open_seconds: u64,
    /// Write the whole report there, as JSON; `-` is standard output, instead of the table.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw latency by percentile there, as SVG.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// The scenarios.
#[derive(Subcommand)]
pub enum ScenarioCommand {
    /// All sessions on the same channels, at a fixed rate or in search of the highest one.
    #[command(
        after_help = "Examples:\n  kandle loadtest fanout --connections 200 --symbols 8 --channels 8 --rate 2000\n  \
                            kandle loadtest fanout --connections 200 --symbols 1 --channels 10 --saturate\n  \
                            kandle loadtest fanout --ramp --p99-ms 10 --seconds 5 --plot ramp.svg"
    )]
    Fanout {
        /// Double the rate until no more events arrive.
        #[arg(long, conflicts_with = "ramp")]
        saturate: bool,
        /// Find the highest rate whose p99 stays within --p99-ms: steps of 1.6, then halvings.
        #[arg(long)]
        ramp: bool,
        /// The bound of --ramp.
        #[arg(long, value_name = "MS", default_value_t = 10)]
        p99_ms: u64,
        /// The market.
        #[command(flatten)]
        market: Market,
        /// The rest.
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Each session on other channels.
    #[command(after_help = "Example:\n  kandle loadtest many-channels --connections 1000 --symbols 50 --channels 10")]
    ManyChannels {
        /// The market.
        #[command(flatten)]
        market: Market,
        /// The rest.
        #[command(flatten)]
        load: LoadArgs,
    },
    /// The recorded bursts of a real market, on several symbols at the same moment.
    #[command(after_help = "Example:\n  kandle loadtest burst --connections 500 --symbols 4 --channels 8 --seconds 64")]
    Burst {
        /// The market.
        #[command(flatten)]
        market: Market,
        /// The rest.
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Visitors connect, subscribe and leave, while others stay and are measured.
    #[command(after_help = "Example:\n  kandle loadtest churn --per-second 500 --connections 200")]
    Churn {
        /// Visitors a second.
        #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        per_second: u32,
        /// The market.
        #[command(flatten)]
        market: Market,
        /// The rest.
        #[command(flatten)]
        load: LoadArgs,
    },
    /// A tenth of the sessions reads nothing; the others must not notice.
    #[command(after_help = "Example:\n  kandle loadtest slow --connections 200 --plot slow.svg\n\n\
                            The slow ones stop, read again for a moment and are told what they missed, then stop for longer\n\
                            than the server bears and are closed with 4408. A server of its own has outboxes of 64 KiB and\n\
                            send buffers of 32 KiB, so that they are full soon.")]
    Slow {
        /// How many times the p99 without slow sessions the p99 with them may be.
        #[arg(long, value_name = "X", default_value_t = 1.2)]
        ratio_max: f64,
        /// How long the server bears a socket that takes nothing.
        #[arg(long, value_name = "MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1_000..=60_000))]
        write_deadline_ms: u64,
        /// The market.
        #[command(flatten)]
        market: Market,
        /// The rest.
        #[command(flatten)]
        load: LoadArgs,
    },
    /// All sessions are cut at once and come back with `since`; every one must go on without a hole.
    #[command(after_help = "Example:\n  kandle loadtest reconnect-storm --connections 5000")]
    ReconnectStorm {
        /// The market.
        #[command(flatten)]
        market: Market,
        /// The rest.
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Many sessions on a quiet market: memory per session with 1 and with 50 channels.
    #[command(after_help = "Example:\n  kandle loadtest idle --connections 10000")]
    Idle {
        /// The market.
        #[command(flatten)]
        market: Market,
        /// The rest.
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Steady load, visitors and lazy sessions for long: memory, descriptors and every frame.
    #[command(after_help = "Examples:\n  kandle loadtest soak --seconds 1200\n  kandle loadtest soak --seconds 60")]
    Soak {
        /// How much the server's memory may grow after the first third of the run, in KiB a minute;
        /// 2 MiB in all are always allowed.
        #[arg(long, value_name = "N", default_value_t = 256)]
        growth_max_kib: i64,
        /// The market.
        #[command(flatten)]
        market: Market,
        /// The rest.
        #[command(flatten)]
        load: LoadArgs,
    },
    /// Follow channels of a running server, as they are.
    #[command(
        after_help = "Example:\n  kandle loadtest follow market.BTC.1s trades.BTC --connections 10 --key kai-…\n\n\
                            Where ids do not say when a trade was due, latency counts from the event's `ts`."
    )]
    Follow {
        /// What each session subscribes to.
        #[arg(required = true, value_name = "CHANNEL")]
        channels: Vec<String>,
        /// The rest.
        #[command(flatten)]
        load: LoadArgs,
    },
}

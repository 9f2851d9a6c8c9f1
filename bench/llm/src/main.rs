//! The gateway to language models beside others: what it adds to a call, how many calls and pieces it passes on, what it weighs.
//!
//! `ask` (what is asked and must be answered) → `upstream` (the provider of all) → `caller` and `load` (the clients) → `process`,
//! `kandle`, `peers` (the gateways) → `plan` (who is measured when), `idle` (memory) → `report`, `check`. The engine beside the
//! gateway: `market` (trades and subscribers) → `engine`. Run it with `bench/llm/run.sh`.

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use bench::rank::go_first;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    load::{Shape, Span},
    plan::{Depth, Places, SHAPES},
    process::CLIENT_CORE,
};

mod ask;
mod caller;
mod check;
mod engine;
mod idle;
mod kandle;
mod load;
mod market;
mod peers;
mod plan;
mod process;
mod report;
mod upstream;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure.
    Run(RunArgs),
    /// The market of the engine's measurement, as a process of its own.
    #[command(hide = true)]
    Market,
}

#[derive(Args)]
struct RunArgs {
    /// How much.
    #[arg(long, value_enum, default_value_t = Much::Quick)]
    depth: Much,
    /// Our program.
    #[arg(long)]
    kandle: PathBuf,
    /// Where peers are installed.
    #[arg(long)]
    peers: PathBuf,
    /// Their sources.
    #[arg(long)]
    sources: PathBuf,
    /// How many rounds, in place of what `depth` says.
    #[arg(long)]
    rounds: Option<usize>,
    /// Only these tables.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Table::Calls, Table::Idle, Table::Engine])]
    tables: Vec<Table>,
    /// Only these shapes, such as "16 callers".
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<String>,
    /// How long each run is measured.
    #[arg(long, default_value_t = 1200)]
    measured_ms: u64,
    /// Leave the peers out.
    #[arg(long)]
    alone: bool,
    /// Write the tables there as well.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Much {
    /// Everything, in two rounds.
    Quick,
    /// Everything, in five rounds.
    Full,
    /// Ours and the provider, for less than a minute; fails under a bar.
    Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Table {
    Calls,
    Idle,
    Engine,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => measure(&args),
        Command::Market => market::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &RunArgs) -> anyhow::Result<()> {
    process::take_core(CLIENT_CORE);
    go_first();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(args))
}

async fn run(args: &RunArgs) -> anyhow::Result<()> {
    let (kandle, peers, sources) = (args.kandle.clone(), args.peers.clone(), args.sources.clone());
    let (data, provider) = (plan::data_folder(&peers), upstream::start()?);
    let places = Places { kandle, peers, sources, data, provider };
    if args.depth == Much::Check {
        return check::run(&places).await;
    }
    let rounds = args.rounds.unwrap_or(if args.depth == Much::Full { 5 } else { 2 });
    let span = Span { warm_up: Duration::from_millis(300), measured: Duration::from_millis(args.measured_ms) };
    let has_peers = !args.alone;
    let mut records = Vec::new();
    if args.tables.contains(&Table::Calls) {
        let is_wanted =
            |shape: &&Shape| args.shapes.is_empty() || args.shapes.iter().any(|name| name.as_str() == shape.name);
        let shapes: Vec<_> = SHAPES.iter().filter(is_wanted).copied().collect();
        records = plan::run(&places, Depth { rounds, span, has_peers }, &shapes).await?;
    }
    let idle = if args.tables.contains(&Table::Idle) { idle::run(&places, has_peers).await? } else { Vec::new() };
    let phases = if args.tables.contains(&Table::Engine) { engine::run(&places, rounds).await? } else { Vec::new() };
    let tables = report::tables(&records, &idle, &phases);
    print!("{tables}");
    if let Some(out) = &args.out {
        fs::write(out, tables)?;
    }
    Ok(())
}

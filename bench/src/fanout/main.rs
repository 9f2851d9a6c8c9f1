//! Fan-out beside the raw limit and peers, in one run: `bench/fanout/run.sh`, or `fanout run` with what is installed.
//!
//! `plan` starts a server (`peer`, or one of `servers`) for each run, `load` is the client: it speaks the server's `dialect`
//! (`wire`, `connection`), keeps the pace of a `shape`, finds ids (`scan`), accounts for them (`tally`) and sums up (`sample`).
//! `bracket` turns rates into ratios, `budget` judges them, `report` prints. The method is explained in `bench/README.md`.

mod bracket;
mod budget;
mod connection;
mod dialect;
mod host;
mod load;
mod peer;
mod plan;
mod report;
mod sample;
mod scan;
mod servers;
mod shape;
mod tally;
mod wire;

use std::{fs, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    load::Span,
    peer::{Peers, Server},
    plan::Bench,
    servers::{broadcast, kandle, raw, tungstenite},
    shape::Shape,
};

#[derive(Parser)]
#[command(about = "Fan-out side by side with the raw limit and peers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure and print the tables.
    Run(Run),
    /// Be one of the servers.
    Serve(Serve),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Depth {
    /// Every table once: minutes.
    Quick,
    /// Five rounds of every table: about an hour with all peers.
    Full,
    /// Raw and kandle alone, below a minute; fails under a generous bar.
    Check,
}

#[derive(Args)]
struct Run {
    #[arg(long, value_enum, default_value = "quick")]
    depth: Depth,
    /// These servers only, beside raw.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// These closed shapes only (W1,W8,W64,B10,B50, B10x5000 …), and nothing else.
    #[arg(long, value_delimiter = ',')]
    shapes: Vec<Shape>,
    /// Memory of so many idle sessions with so many channels only, as 5000x50.
    #[arg(long, value_delimiter = ',', value_parser = idle_size)]
    idle: Vec<(usize, usize)>,
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: Option<u8>,
    /// Where the programs of peers are.
    #[arg(long, default_value = "target/peers")]
    peers: PathBuf,
    /// Where the sources of peers are.
    #[arg(long, default_value = "bench/fanout/peers")]
    sources: PathBuf,
    /// KANDLE_IO of our server: epoll or uring.
    #[arg(long)]
    backend: Option<String>,
    /// Writes the tables to this file as well.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct Serve {
    #[arg(value_enum)]
    server: Kind,
    #[arg(long)]
    port: u16,
    /// Where trades enter.
    #[arg(long, default_value_t = 0)]
    publish_port: u16,
    #[arg(long, value_enum, default_value = "batch")]
    flush: raw::Flush,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Raw,
    Broadcast,
    Tungstenite,
    Kandle,
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(run) => measure(run),
        Command::Serve(serve) => self::serve(&serve).map(|()| ExitCode::SUCCESS),
    }
}

/// The shape `B50x5000` has the sessions and channels of `5000x50`, and bounds them.
fn idle_size(text: &str) -> anyhow::Result<(usize, usize)> {
    let (sessions, channels) = text.split_once('x').unwrap_or((text, "1"));
    let shape: Shape = format!("B{channels}x{sessions}").parse()?;
    Ok((shape.sessions, shape.channels))
}

fn serve(serve: &Serve) -> anyhow::Result<()> {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    if let Kind::Raw = serve.server {
        return raw::serve(address(serve.port), serve.flush);
    }
    // A server has one core.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match serve.server {
        Kind::Broadcast => runtime.block_on(broadcast::serve(address(serve.port))),
        Kind::Tungstenite => runtime.block_on(tungstenite::serve(address(serve.port))),
        Kind::Raw | Kind::Kandle => runtime.block_on(kandle::serve(address(serve.port), address(serve.publish_port))),
    }
}

fn measure(run: Run) -> anyhow::Result<ExitCode> {
    if !host::take_place() {
        eprintln!("no priority over other processes: not the leader of a session, or not allowed");
    }
    let peers = Peers { folder: run.peers, sources: run.sources, backend: run.backend };
    let is_check = run.depth == Depth::Check;
    let only = if is_check { vec![peer::KANDLE.to_owned()] } else { run.only };
    let servers = Server::chosen(&only, &peers)?;
    let (warm_up, measured, attempts) = if is_check { (200, 600, 2) } else { (300, 1000, 3) };
    let span = Span { warm_up: Duration::from_millis(warm_up), measured: Duration::from_millis(measured) };
    let mut bench = Bench::new(peers, servers, span, attempts);
    let shapes = |names: &[&str]| names.iter().map(|name| name.parse()).collect::<anyhow::Result<Vec<Shape>>>();
    let rounds = |usual: u8| usize::from(run.rounds.unwrap_or(usual));
    if !run.shapes.is_empty() || !run.idle.is_empty() {
        bench.compare(&run.shapes, rounds(1))?;
        run.idle.iter().for_each(|(sessions, channels)| bench.idle(*sessions, *channels));
    } else {
        match run.depth {
            Depth::Check => bench.compare(&shapes(&["W1", "W8", "W64", "B10"])?, rounds(3))?,
            Depth::Quick => {
                bench.compare(&shapes(budget::SHAPES)?, rounds(1))?;
                at_rates(&mut bench, rounds(1))?;
                for channels in [1, 50] {
                    bench.idle(5000, channels);
                }
            }
            Depth::Full => {
                bench.compare(&shapes(budget::SHAPES)?, rounds(5))?;
                at_rates(&mut bench, rounds(5))?;
                bench.compare(&shapes(&["W8x100", "W8x5000", "B10x100", "B10x5000"])?, rounds(3))?;
                for channels in [1, 10, 50] {
                    bench.idle(5000, channels);
                }
                bench.idle(10_000, 1);
            }
        }
    }
    let text = report::tables(&bench);
    println!("{text}");
    if let Some(out) = run.out {
        fs::write(out, &text)?;
    }
    let is_met = !is_check || budget::is_checked(&bench);
    Ok(if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// 200 sessions × 10 channels: at 500 k deliveries/s for the processor time, at a quarter and half of what raw can do for
/// the latency.
fn at_rates(bench: &mut Bench, rounds: usize) -> anyhow::Result<()> {
    let rates = budget::rates(bench)?;
    let shapes: Vec<_> = rates.iter().map(|rate| Shape::open(200, 10, *rate)).collect();
    bench.compare(&shapes, rounds)
}

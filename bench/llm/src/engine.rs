//! The engine beside the gateway, in one process: how late trades come while the gateway is idle, and while it is saturated.
//!
//! As a control the same callers ask the provider alone: what is slower then is slower because the machine is shared with
//! them, and not because of the gateway.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use bench::rank::{Turn, take_turn};
use serde_json::Value;

use crate::{
    ask::Ask,
    caller::Endpoint,
    kandle::{Calls, Kandle},
    load::{self, Shape, Span},
    plan::Places,
    process::ALL_CORES,
};

/// How long each phase is measured.
const PHASE_S: u64 = 3;
/// Callers begin before and end after what is measured.
const MARGIN: Duration = Duration::from_millis(1200);

/// What the gateway does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Wholes,
    Streams,
    /// Whole answers, straight from the provider.
    WholesDirect,
    /// Streams, straight from the provider.
    StreamsDirect,
}

/// How late trades were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Late {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// A phase between two idle ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    pub(crate) beside: Beside,
    pub(crate) idle: [Late; 2],
    pub(crate) late: Late,
    /// Calls or pieces a second meanwhile.
    pub(crate) rate: f64,
}

impl Beside {
    pub(crate) const ALL: [Self; 4] = [Self::Wholes, Self::WholesDirect, Self::Streams, Self::StreamsDirect];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Wholes => "16 callers",
            Self::Streams => "16 streams",
            Self::WholesDirect => "16 callers, straight to the provider",
            Self::StreamsDirect => "16 streams, straight to the provider",
        }
    }

    const fn shape(self) -> Shape {
        let ask = match self {
            Self::Wholes | Self::WholesDirect => Ask::Whole,
            Self::Streams | Self::StreamsDirect => Ask::Stream,
        };
        Shape { name: self.name(), ask, callers: 16 }
    }

    const fn is_direct(self) -> bool {
        matches!(self, Self::WholesDirect | Self::StreamsDirect)
    }
}

impl Phase {
    /// How much later than with an idle gateway.
    pub(crate) fn ratio(&self) -> f64 {
        let [before, after] = self.idle;
        self.late.p99_us / ((before.p99_us + after.p99_us) / 2.0).max(f64::MIN_POSITIVE)
    }
}

/// Measures all phases, `rounds` times.
///
/// # Errors
/// A trade that did not come, a call that was not answered, or books that are wrong.
pub(crate) async fn run(places: &Places, rounds: usize) -> anyhow::Result<Vec<Phase>> {
    let mut market = Market::start(&places.data)?;
    let kandle = Kandle::start(&places.kandle, &places.data, places.provider, Some(market.venue))?;
    // In use all but the server is elsewhere: the market goes before it, and its callers and their provider take what it leaves.
    ensure!(take_turn(Turn::WhenIdle), "chrt of util-linux is needed");
    let (mut phases, mut calls) = (Vec::new(), Calls::default());
    let mut before = market.measure(kandle.address).await?;
    for round in 0..rounds {
        for beside in Beside::ALL {
            eprintln!("engine, round {} of {rounds}: {}", round + 1, beside.name());
            let endpoint = if beside.is_direct() { places.direct() } else { kandle.endpoint() };
            let (sample, late) = tokio::join!(saturate(&endpoint, beside.shape()), market.measure(kandle.address));
            let (sample, late) = (sample?, late?);
            if !beside.is_direct() {
                calls.add(beside.shape().ask, sample.calls);
            }
            let after = market.measure(kandle.address).await?;
            let rate = if beside.shape().ask == Ask::Whole { sample.calls_per_s } else { sample.pieces_per_s };
            phases.push(Phase { beside, idle: [before, after], late, rate });
            before = after;
        }
    }
    kandle.check_books(calls).context("kandle's books")?;
    Ok(phases)
}

async fn saturate(endpoint: &Endpoint, shape: Shape) -> anyhow::Result<load::Sample> {
    let span = Span { warm_up: Duration::from_millis(300), measured: Duration::from_secs(PHASE_S) + 2 * MARGIN };
    load::run(endpoint, shape, span, None).await
}

/// The process of the market.
struct Market {
    child: Child,
    asks: ChildStdin,
    answers: Option<BufReader<ChildStdout>>,
    venue: SocketAddr,
}

impl Market {
    fn start(data: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "taskset", "-c", ALL_CORES]).arg(std::env::current_exe()?).arg("market");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let asks = child.stdin.take().context("no standard input")?;
        let mut answers = BufReader::new(child.stdout.take().context("no standard output")?);
        let first = read(&mut answers)?;
        let venue = first["venue"].as_str().context("no venue")?.parse()?;
        Ok(Self { child, asks, answers: Some(answers), venue })
    }

    /// How late the trades of the next seconds are.
    async fn measure(&mut self, server: SocketAddr) -> anyhow::Result<Late> {
        tokio::time::sleep(MARGIN).await;
        writeln!(self.asks, "{server} {PHASE_S}")?;
        // The answer is waited for elsewhere: callers go on.
        let mut answers = self.answers.take().context("the market is gone")?;
        let (said, answered) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            let answer = read(&mut answers);
            drop(said.send((answer, answers)));
        });
        let (answer, answers) = answered.await?;
        self.answers = Some(answers);
        let answer = answer?;
        let number = |name: &str| answer[name].as_f64().with_context(|| format!("no {name}"));
        Ok(Late { p50_us: number("p50")?, p99_us: number("p99")? })
    }
}

impl Drop for Market {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(answers: &mut BufReader<ChildStdout>) -> anyhow::Result<Value> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    serde_json::from_str(&line).context("the market has ended: see what it said above")
}

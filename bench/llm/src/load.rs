//! Many callers at once, each with one call under way: what they measure together.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context;
use loadtest::process::usage;
use tokio::{
    task::LocalSet,
    time::{sleep, timeout},
};

use crate::{
    ask::Ask,
    caller::{Caller, Endpoint},
};

/// How many say what at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) ask: Ask,
    pub(crate) callers: usize,
}

/// How long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What a run came to. It is one only if every call was answered as it should be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// All calls, those of the warm-up and of the end as well: what has to be paid.
    pub(crate) calls: u64,
    pub(crate) calls_per_s: f64,
    pub(crate) pieces_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Processor time of the gateway by call, and the cores that it kept busy.
    pub(crate) cpu_us: f64,
    pub(crate) cores: f64,
}

#[derive(Default)]
struct Board {
    calls: Cell<u64>,
    pieces: Cell<usize>,
    is_over: Cell<bool>,
    /// Of calls that were begun while it is measured.
    took: RefCell<Vec<Duration>>,
    is_measured: Cell<bool>,
}

/// Runs `shape` against `endpoint`; `process` is the gateway's.
///
/// # Errors
/// The first call that went wrong.
pub(crate) async fn run(endpoint: &Endpoint, shape: Shape, span: Span, process: Option<u32>) -> anyhow::Result<Sample> {
    LocalSet::new().run_until(measure(endpoint, shape, span, process)).await
}

async fn measure(endpoint: &Endpoint, shape: Shape, span: Span, process: Option<u32>) -> anyhow::Result<Sample> {
    let (board, endpoint) = (Rc::new(Board::default()), Rc::new(endpoint.clone()));
    let callers: Vec<_> = (0..shape.callers)
        .map(|_| tokio::task::spawn_local(go(Caller::new(&endpoint, shape.ask), Rc::clone(&board))))
        .collect();
    sleep(span.warm_up).await;
    board.is_measured.set(true);
    let (calls, pieces, cpu, begun) = (board.calls.get(), board.pieces.get(), cpu(process), Instant::now());
    sleep(span.measured).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (calls, pieces) = (board.calls.get() - calls, board.pieces.get() - pieces);
    let cpu_ns = self::cpu(process).saturating_sub(cpu);
    board.is_measured.set(false);
    board.is_over.set(true);
    for caller in callers {
        timeout(Duration::from_secs(120), caller).await.context("a caller does not end")???;
    }
    let mut took = board.took.take();
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).map_or(0.0, |took| took.as_secs_f64() * 1e6);
    Ok(Sample {
        calls: board.calls.get(),
        calls_per_s: calls as f64 / seconds,
        pieces_per_s: pieces as f64 / seconds,
        p50_us: at(50),
        p99_us: at(99),
        cpu_us: cpu_ns as f64 / 1e3 / calls.max(1) as f64,
        cores: cpu_ns as f64 / 1e9 / seconds,
    })
}

async fn go(mut caller: Caller, board: Rc<Board>) -> anyhow::Result<()> {
    while !board.is_over.get() {
        let is_measured = board.is_measured.get();
        let took = caller.call(|pieces| board.pieces.set(board.pieces.get() + pieces)).await?;
        board.calls.set(board.calls.get() + 1);
        if is_measured {
            board.took.borrow_mut().push(took);
        }
    }
    Ok(())
}

fn cpu(process: Option<u32>) -> u64 {
    process.and_then(usage).map_or(0, |usage| usage.cpu_ns)
}

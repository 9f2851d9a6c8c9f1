//! A running node: shards, workers and the listener, started and stopped together.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use engine::{
    market::{Directory, Symbol},
    message::{Input, Missing, WorkerId},
    ring::RingReader,
    shard::{Shard, ShardConfig, SymbolStatus},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle as TaskHandle,
    time::timeout,
};

use crate::{
    accept::{self, AnswerBody, Fallback},
    auth::{Authenticator, ConnectionCounts},
    clock::Clock,
    config::NodeConfig,
    keep::{Keeper, Present},
    link::{WorkerLink, WorkerMessage},
    metrics::Metrics,
    sender::{ShardSender, queues, shard_of},
    shard_thread::{ShardThread, StatusBoard},
    tls::Tls,
    upgrade::Gate,
    worker::{Context, Worker},
};

/// What a node works with, besides its settings.
pub struct Parts<S> {
    /// All symbols.
    pub directory: Arc<Directory>,
    /// Who may connect.
    pub authenticator: Arc<dyn Authenticator>,
    /// Answers every request that is not for the stream.
    pub fallback: S,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// The clock that feeds stamp their trades with as well.
    pub clock: Arc<Clock>,
    /// Takes the holes that somebody should fill.
    pub missing: mpsc::Sender<Missing>,
    /// The certificate and key, if clients connect by TLS.
    pub tls: Option<Tls>,
    /// What keeps the closed candles of each shard, by the shard's number; empty if nothing is kept.
    pub keepers: Vec<Box<dyn Keeper>>,
    /// What is known from before the start: seeds, and since when the feed of one symbol each is down.
    pub before: Vec<Input>,
}

/// See the module. Stop it with [`Node::shutdown`]; dropping it leaves its threads running.
pub struct Node {
    address: SocketAddr,
    clock: Arc<Clock>,
    sender: ShardSender,
    readers: HashMap<Symbol, RingReader>,
    boards: Vec<StatusBoard>,
    links: Vec<WorkerLink>,
    present: Present,
    workers: Vec<JoinHandle<()>>,
    shards: Vec<JoinHandle<()>>,
    stop_shards: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    tasks: Vec<TaskHandle<()>>,
}

impl Node {
    /// Starts everything; must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened on, or a thread cannot be started.
    pub fn start<B: AnswerBody, S: Fallback<B>>(mut config: NodeConfig, parts: Parts<S>) -> io::Result<Self> {
        let Parts { directory, authenticator, fallback, metrics, clock, missing, tls, keepers, mut before } = parts;
        let listener = accept::listen(config.listen)?;
        let address = listener.local_addr()?;
        if config.epoch == 0 {
            config.epoch = clock.now().millis().unsigned_abs();
        }
        let (sender, inputs) = queues(config.shards, &directory);
        let context = Arc::new(Context {
            config,
            directory: Arc::clone(&directory),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            authenticator,
            is_tls: tls.is_some(),
            shards: sender.clone(),
        });
        let cores = if config.pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
        let core = |number: usize| cores.get(number % cores.len().max(1)).copied();
        let mut node = Self {
            address,
            clock: Arc::clone(&clock),
            present: Present::new(sender.clone()),
            sender,
            readers: HashMap::new(),
            boards: Vec::new(),
            links: Vec::new(),
            workers: Vec::new(),
            shards: Vec::new(),
            stop_shards: Arc::default(),
            stop: watch::Sender::new(false),
            tasks: Vec::new(),
        };
        for number in 0..config.workers.max(1) {
            let id = WorkerId::try_from(number).map_err(io::Error::other)?;
            let (link, thread) = Worker::spawn(id, Arc::clone(&context), core(config.shards + number))?;
            node.links.push(link);
            node.workers.push(thread);
        }
        let mut keepers = keepers.into_iter();
        for (number, inputs) in inputs.into_iter().enumerate() {
            let keeper = keepers.next();
            let symbols = directory.symbols().map(|(symbol, _)| symbol);
            let symbols: Vec<_> = symbols.filter(|symbol| shard_of(*symbol, config.shards) == number).collect();
            let settings = ShardConfig {
                workers: node.links.len(),
                epoch: config.epoch,
                late_window_ms: config.limits.late_window_ms,
                close_delay_ms: config.limits.close_delay_ms,
                emit_ms: config.emit_ms,
                keeps: keeper.is_some(),
            };
            let mut shard = Shard::new(Arc::clone(&directory), symbols.iter().copied(), settings);
            node.readers.extend(symbols.iter().filter_map(|symbol| Some((*symbol, shard.reader(*symbol)?))));
            let (own, others): (Vec<_>, Vec<_>) = before.into_iter().partition(|input| concerns(input, &symbols));
            before = others;
            own.into_iter().for_each(|input| shard.on_input(input));
            let board = StatusBoard::default();
            node.boards.push(Arc::clone(&board));
            let thread = ShardThread {
                shard,
                symbols,
                inputs,
                inputs_max: config.turn_inputs_max.max(1),
                emit_ms: config.emit_ms,
                workers: node.links.clone(),
                missing: missing.clone(),
                clock: Arc::clone(&clock),
                metrics: Arc::clone(&metrics),
                board,
                keeper,
                present: node.present.clone(),
                stop: Arc::clone(&node.stop_shards),
            };
            node.shards.push(thread.spawn(number, core(number))?);
        }
        let gate = Arc::new(Gate { context, tls, counts: ConnectionCounts::default(), workers: node.links.clone() });
        node.tasks.push(tokio::spawn(accept::accept(listener, gate, fallback, node.stop.subscribe())));
        node.tasks.push(tokio::spawn(watch_clock(clock, metrics, node.stop.subscribe())));
        Ok(node)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes inputs for the shards.
    pub fn sender(&self) -> ShardSender {
        self.sender.clone()
    }

    /// The ring of each symbol.
    pub fn readers(&self) -> &HashMap<Symbol, RingReader> {
        &self.readers
    }

    /// Asks the shards about the present.
    pub fn present(&self) -> Present {
        self.present.clone()
    }

    /// The present of each symbol, at most about a second old.
    pub fn status(&self) -> Status {
        Status { boards: self.boards.clone() }
    }

    /// Stops accepting, closes every session with 1012 and joins all threads, by `within` and a little more.
    pub async fn shutdown(self, within: Duration) {
        // Nobody receives it if the accept loop has ended already.
        let _ = self.stop.send(true);
        let nanos = i64::try_from(within.as_nanos()).unwrap_or(i64::MAX);
        let until = self.clock.now().plus(nanos).0;
        for link in &self.links {
            let mut message = WorkerMessage::Shutdown { until };
            while let Err(back) = link.try_send(message) {
                message = back;
                if self.clock.now().0 > until {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        for mut task in self.tasks {
            if timeout(within, &mut task).await.is_err() {
                task.abort();
            }
        }
        let (workers, shards, stop) = (self.workers, self.shards, self.stop_shards);
        let joined = tokio::task::spawn_blocking(move || {
            let is_failed = workers.into_iter().map(JoinHandle::join).any(|ended| ended.is_err());
            stop.store(true, Ordering::Relaxed);
            shards.into_iter().map(JoinHandle::join).any(|ended| ended.is_err()) || is_failed
        });
        if joined.await.unwrap_or(true) {
            tracing::error!("a thread of the node had panicked");
        }
    }
}

/// Reads the present of each symbol; clones share it.
#[derive(Clone)]
pub struct Status {
    boards: Vec<StatusBoard>,
}

impl Status {
    /// All symbols, in no order.
    pub fn symbols(&self) -> Vec<(Symbol, SymbolStatus)> {
        let read = |board: &StatusBoard| board.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.boards.iter().flat_map(read).collect()
    }
}

/// Whether something from before the start is about one of these symbols.
fn concerns(input: &Input, symbols: &[Symbol]) -> bool {
    match input {
        Input::Seed(seed) => symbols.contains(&seed.symbol),
        Input::FeedDown { symbols: down, .. } => down.iter().any(|symbol| symbols.contains(symbol)),
        _ => false,
    }
}

async fn watch_clock(clock: Arc<Clock>, metrics: Arc<Metrics>, mut stop: watch::Receiver<bool>) {
    let mut each_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = each_second.tick() => {}
        }
        if clock.has_jumped() {
            metrics.clock_jumps.inc();
        }
    }
}

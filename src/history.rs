//! History of a running system: what closes is kept, trades as well, and a start goes on where the last run ended.
//!
//! `keeper` (on the shard threads: notes what closes before clients see it) → `before` (what the store tells a new run) →
//! `tasks` (trades to the store, journal files that are stored to nowhere) → `mending` (what is missing, from the venues).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use engine::{
    market::{Directory, Symbol, Timestamp},
    message::Input,
};
use node::{Clock, Keeper, Node};
use store::{Journal, Keep, Rotation, Scales, Source, SpillConfig, Store, Writer, WriterConfig, WriterStatus};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use self::{
    keeper::{Faults, Lost, ShardKeeper},
    tasks::Tasks,
};
use crate::config::{Config, StoreConfig};

mod before;
mod keeper;
mod mending;
mod tasks;

/// How long a start waits for a store that does not take what the last run left.
const RECOVER_WITHIN: Duration = Duration::from_secs(20);
/// How long a start waits for a store to tell what it has.
const BEFORE_WITHIN: Duration = Duration::from_secs(30);
/// How long an end waits for the last rows to be stored.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Lost stretches of time that may wait to be fetched.
const LOST_MAX: usize = 4096;

/// An instrument by its stable name, with the scales of this run.
#[derive(Clone)]
struct Kept {
    symbol: Symbol,
    source: Source,
    scales: Scales,
}

/// See the module.
pub struct History {
    store: Store,
    writer: Arc<Writer>,
    instruments: Arc<[Kept]>,
    clock: Arc<Clock>,
    journal: PathBuf,
    rotations: Vec<Rotation>,
    faults: Arc<Faults>,
    lost: mpsc::Sender<Lost>,
    losses: mpsc::Receiver<Lost>,
}

impl History {
    /// Opens the store, and stores what a killed run had noted.
    ///
    /// # Errors
    /// The store or its folder cannot be used, such as when another process has it open.
    pub async fn open(config: &StoreConfig, directory: &Directory, clock: &Arc<Clock>) -> anyhow::Result<Self> {
        let usable = || format!("cannot keep history in {}; [store] url = \"none\" goes without", config.url);
        std::fs::create_dir_all(&config.folder).with_context(usable)?;
        if let store::StoreUrl::Redb(path) = &config.url
            && let Some(folder) = path.parent()
        {
            std::fs::create_dir_all(folder).with_context(usable)?;
        }
        let seconds_age = (config.seconds_days > 0).then(|| Duration::from_hours(24 * config.seconds_days));
        let keep = Keep { seconds_age, ..Keep::default() };
        let store = Store::open(&config.url, keep).await.with_context(usable)?;
        let spill = SpillConfig::new(config.folder.join("spill"));
        let writer = Writer::start(store.clone(), WriterConfig::new(spill, wall)).with_context(usable)?;
        let journal = config.folder.join("journal");
        recover(&journal, &writer).await.with_context(usable)?;
        let (lost, losses) = mpsc::channel(LOST_MAX);
        Ok(Self {
            store,
            writer: Arc::new(writer),
            instruments: instruments(directory),
            clock: Arc::clone(clock),
            journal,
            rotations: Vec::new(),
            faults: Arc::default(),
            lost,
            losses,
        })
    }

    /// The store itself, for reading.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// How the writer fares.
    pub fn writer(&self) -> Arc<Writer> {
        Arc::clone(&self.writer)
    }

    /// What the store tells of the time before this run. A store that does not answer in time tells nothing.
    pub async fn before(&self) -> Vec<Input> {
        let now = self.clock.now();
        match timeout(BEFORE_WITHIN, before::load(&self.store, &self.instruments, now)).await {
            Ok(Ok(inputs)) => inputs,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "history cannot be read: candles begin anew");
                Vec::new()
            }
            Err(_) => {
                tracing::warn!("history does not answer in time: candles begin anew");
                Vec::new()
            }
        }
    }

    /// What keeps the closed candles of each shard.
    ///
    /// # Errors
    /// If a journal cannot be opened.
    pub fn keepers(&mut self, shards: usize) -> anyhow::Result<Vec<Box<dyn Keeper>>> {
        let mut keepers: Vec<Box<dyn Keeper>> = Vec::new();
        for lane in 0..shards.max(1) {
            let (journal, rotation) = Journal::open(&self.journal, lane).context("cannot open the journal")?;
            self.rotations.push(rotation);
            let (writer, faults, lost) = (Arc::clone(&self.writer), Arc::clone(&self.faults), self.lost.clone());
            keepers.push(Box::new(ShardKeeper::new(&self.instruments, journal, writer, faults, lost)));
        }
        Ok(keepers)
    }

    /// Begins to store trades; must be called before the first live trade.
    pub fn start(self, node: &Node) -> Running {
        let (stop, stopped) = watch::channel(false);
        let History { store, writer, clock, instruments, rotations, faults, lost, losses, .. } = self;
        let tasks = Tasks::new(Arc::clone(&writer), &instruments, rotations, faults, node.readers());
        Running {
            store,
            writer,
            clock,
            lost,
            losses: Some(losses),
            stop,
            tasks: vec![tokio::spawn(tasks.run(stopped))],
        }
    }
}

/// A history that takes what the node gives.
pub struct Running {
    store: Store,
    writer: Arc<Writer>,
    clock: Arc<Clock>,
    lost: mpsc::Sender<Lost>,
    losses: Option<mpsc::Receiver<Lost>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Fetches from the venues of `config` what their feeds lose for good, and what lies between the last run and this one.
    pub fn mend(&mut self, config: &Config, directory: &Arc<Directory>, since: &HashMap<Symbol, Timestamp>) {
        let Some(losses) = self.losses.take() else { return };
        let now = self.clock.now();
        for (symbol, since) in since {
            // What finds no place is still a hole in the store, which a backfill finds.
            let _ = self.lost.try_send((*symbol, *since..now));
        }
        let clock = Arc::clone(&self.clock);
        let (store, directory) = (self.store.clone(), Arc::clone(directory));
        let enabled = config.venues.iter().filter(|venue| venue.enabled);
        let venues = enabled.map(|venue| (venue.venue, venue.rest_url.clone())).collect();
        let late_window = config.limits.late_window_ms.saturating_mul(1_000_000);
        let stopped = self.stop.subscribe();
        self.tasks.push(tokio::spawn(async move {
            let clock: feeds::supervisor::Clock = Arc::new(move || clock.now());
            let parts = mending::Parts { store, directory: &directory, venues, clock, late_window };
            mending::run(parts, losses, stopped).await;
        }));
    }

    /// Stores what is left, after the node was shut down.
    pub async fn close(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if task.await.is_err() {
                tracing::error!("a task of the history had panicked");
            }
        }
        if timeout(CLOSE_WITHIN, self.writer.flush()).await.is_err() {
            tracing::warn!(
                "the store does not take the last rows; closed candles are in the journal for the next start"
            );
        }
        if let Some(writer) = Arc::into_inner(self.writer) {
            let WriterStatus { stored_rows, lost_rows, .. } = writer.close().await;
            tracing::info!(stored_rows, lost_rows, "history is closed");
        }
    }
}

fn wall() -> Timestamp {
    Clock::start().now()
}

fn instruments(directory: &Directory) -> Arc<[Kept]> {
    let kept = |(symbol, instrument): (Symbol, &Arc<engine::market::Instrument>)| {
        let scales = Scales { price: instrument.price_scale, quantity: instrument.quantity_scale };
        Some(Kept { symbol, source: Source::parse(&instrument.source()).ok()?, scales })
    };
    directory.symbols().filter_map(kept).collect()
}

/// Stores what a killed run had noted in its journal.
async fn recover(folder: &Path, writer: &Writer) -> anyhow::Result<()> {
    let left = store::recover(folder)?;
    let paths: Vec<PathBuf> = left.iter().map(|(path, _)| path.clone()).collect();
    let stored = async {
        for batch in left.into_iter().flat_map(|(_, batches)| batches) {
            writer.send(batch).await?;
        }
        writer.flush().await;
        anyhow::Ok(())
    };
    let Ok(stored) = timeout(RECOVER_WITHIN, stored).await else {
        tracing::warn!("the store does not take what the last run left; its journal stays for the next start");
        return Ok(());
    };
    stored?;
    for path in paths {
        std::fs::remove_file(&path).with_context(|| format!("cannot delete {}", path.display()))?;
    }
    Ok(())
}

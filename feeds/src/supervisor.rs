//! All live feeds: connections that replace themselves before they are cut, and a mender that fetches what was missed.
//!
//! `config` → `dial` (one handshake) → `life` (is it alive?) → `connection` (one socket) → `group` (one set of symbols
//! over its connections) → `repair` → `mender` with `minutes` (one task a venue that speaks REST) → `status`. A
//! group owns the order of [`Input::FeedDown`] and [`Input::FeedUp`]; connections send trades straight to the [`Sink`].

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use engine::{
    market::{Directory, IdRule, Symbol, Timestamp, Venue},
    message::{Input, Missing},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

pub use self::{
    config::{FeedsConfig, Timings, VenueConfig},
    status::{FeedStatus, VenueStatus},
};
use self::{
    group::Group,
    mender::{Job, Mender},
};
use crate::{
    metrics::{FeedMetrics, VenueMetrics},
    record::{Line, Tape},
    venue::{Names, VenueFeed},
};

mod config;
mod connection;
mod dial;
mod group;
mod life;
mod mender;
mod minutes;
mod repair;
mod status;

/// How many jobs may wait for one venue's REST interface; a hole that finds no place is given up.
const JOBS_MAX: usize = 1024;
/// Groups of one venue open their first connections one after the other.
const STAGGER: Duration = Duration::from_millis(400);

/// Our own time of receipt: the program's clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Takes what the feeds give. Waiting in `send` holds the connection back, never the memory.
pub trait Sink: Clone + Send + Sync + 'static {
    /// Hands one input over.
    fn send(&self, input: Input) -> impl Future<Output = ()> + Send;

    /// Hands over what one message of a venue gave, and empties `inputs`.
    fn send_all(&self, inputs: &mut Vec<Input>) -> impl Future<Output = ()> + Send {
        async move {
            for input in inputs.drain(..) {
                self.send(input).await;
            }
        }
    }
}

impl Sink for mpsc::Sender<Input> {
    /// A receiver that is gone swallows the input: the program is shutting down.
    async fn send(&self, input: Input) {
        let _ = mpsc::Sender::send(self, input).await;
    }
}

/// What all tasks of one venue share.
pub(crate) struct VenueContext {
    pub(crate) venue: Venue,
    pub(crate) feed: &'static dyn VenueFeed,
    pub(crate) config: VenueConfig,
    pub(crate) timings: Timings,
    pub(crate) names: Arc<Names>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
    pub(crate) status: Arc<FeedStatus>,
    pub(crate) metrics: VenueMetrics,
    pub(crate) tape: Option<Tape>,
}

impl VenueContext {
    /// The venue's own name of a symbol.
    pub(crate) fn name(&self, symbol: Symbol) -> Option<&str> {
        self.directory.instrument(symbol).map(|instrument| &*instrument.name)
    }

    /// Puts a line on the tape, if one runs.
    pub(crate) fn record(&self, line: &Line<'_>) {
        if let Some(tape) = &self.tape {
            tape.line((self.clock)(), line);
        }
    }

    /// Puts on the tape that trades cannot be had.
    pub(crate) fn record_gone(&self, symbol: Symbol, first_id: u64, last_id: u64) {
        if let Some(name) = self.name(symbol) {
            self.record(&Line::Gone { name, first_id, last_id });
        }
    }

    /// Puts a line about several instruments on the tape.
    pub(crate) fn record_all(&self, symbols: &[Symbol], line: impl FnOnce(&str) -> Line<'_>) {
        if self.tape.is_some() {
            let names: Vec<&str> = symbols.iter().filter_map(|symbol| self.name(*symbol)).collect();
            self.record(&line(&names.join(" ")));
        }
    }

    pub(crate) fn has_proof(&self) -> bool {
        self.venue.id_rule() == IdRule::Contiguous
    }
}

/// Who fills the holes of a venue.
type Menders = HashMap<Venue, (Arc<VenueContext>, mpsc::Sender<Job>)>;

/// The running feeds.
#[derive(Debug)]
pub struct Supervisor {
    status: Arc<FeedStatus>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Supervisor {
    /// Starts all feeds. Must be called within a tokio runtime.
    pub fn start<S: Sink>(
        config: FeedsConfig,
        directory: &Arc<Directory>,
        sink: &S,
        missing: mpsc::Receiver<Missing>,
        metrics: &FeedMetrics,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let status = Arc::new(FeedStatus::new(config.venues.iter().map(|venue| venue.venue)));
        let mut tasks = JoinSet::new();
        let mut menders: Menders = HashMap::new();
        for (index, venue) in (0_u64..).zip(config.venues) {
            let Some(feed) = crate::venue::feed(venue.venue) else { continue };
            let context = Arc::new(VenueContext {
                venue: venue.venue,
                feed,
                timings: config.timings.clone(),
                names: Arc::new(Names::new(directory, venue.venue)),
                directory: Arc::clone(directory),
                clock: Arc::clone(&config.clock),
                seed: config.seed.wrapping_add(index << 32),
                status: Arc::clone(&status),
                metrics: metrics.venue(venue.venue),
                tape: config.recorder.as_ref().map(|recorder| recorder.tape(venue.venue)),
                config: venue,
            });
            let (jobs, queue) = mpsc::channel(JOBS_MAX);
            menders.insert(context.venue, (Arc::clone(&context), jobs.clone()));
            tasks.spawn(Mender::new(Arc::clone(&context), sink.clone()).run(queue, stopped.clone()));
            start_groups(&context, sink, &jobs, &stopped, &mut tasks);
        }
        tasks.spawn(route(missing, Arc::clone(directory), menders, sink.clone(), stopped));
        Self { status, stop, tasks }
    }

    /// How each venue does.
    pub fn status(&self) -> Vec<VenueStatus> {
        self.status.read()
    }

    /// The same, for a holder that outlives this handle's borrow.
    pub fn status_handle(&self) -> Arc<FeedStatus> {
        Arc::clone(&self.status)
    }

    /// Closes all connections and waits for all tasks.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a feed task ended badly");
            }
        }
    }
}

fn start_groups<S: Sink>(
    context: &Arc<VenueContext>,
    sink: &S,
    jobs: &mpsc::Sender<Job>,
    stopped: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) {
    let limit = context.feed.limits().symbols_per_connection.max(1);
    let known: Vec<Symbol> =
        context.config.symbols.iter().copied().filter(|symbol| context.name(*symbol).is_some()).collect();
    for (index, symbols) in (0_u32..).zip(known.chunks(limit)) {
        let group = Group::new(Arc::clone(context), symbols, sink.clone(), jobs.clone(), index);
        tasks.spawn(group.run(STAGGER * index, stopped.clone()));
    }
}

/// Hands each hole to the mender of its venue.
async fn route<S: Sink>(
    mut missing: mpsc::Receiver<Missing>,
    directory: Arc<Directory>,
    menders: Menders,
    sink: S,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let hole = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            hole = missing.recv() => hole,
        };
        let Some(hole) = hole else { return };
        let mender = directory.instrument(hole.symbol).and_then(|instrument| menders.get(&instrument.venue));
        if mender.is_none_or(|(_, jobs)| jobs.try_send(Job::Hole(hole)).is_err()) {
            let Missing { symbol, first_id, last_id, .. } = hole;
            if let Some((context, _)) = mender {
                context.record_gone(symbol, first_id, last_id);
            }
            tokio::select! {
                () = sink.send(Input::GapLost { symbol, first_id, last_id }) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }
}

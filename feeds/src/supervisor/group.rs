//! A set of symbols and the connections that carry it: one, or two while one replaces the other.

use std::{
    future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use engine::{
    market::{Symbol, Timestamp},
    message::Input,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinError, JoinSet},
    time::Instant,
};

use super::{
    Sink, VenueContext,
    connection::{Connection, Ended, Report, until},
    dial::DialError,
    mender::Job,
};
use crate::{backoff::Backoff, record::Line};

const REPORTS_MAX: usize = 16;

struct Slot {
    id: u64,
    live_since: Option<Instant>,
    stop: watch::Sender<bool>,
    task: AbortHandle,
}

/// See the module.
pub(super) struct Group<S> {
    context: Arc<VenueContext>,
    symbols: Arc<[Symbol]>,
    sink: S,
    jobs: mpsc::Sender<Job>,
    backoff: Backoff,
    /// Receipt of the newest trade or proof, over all its connections.
    last_data: Arc<AtomicI64>,
    /// Oldest first; the last one is the newest attempt.
    slots: Vec<Slot>,
    next_id: u64,
    tasks: JoinSet<(u64, Ended)>,
    reports: mpsc::Sender<(u64, Report)>,
    inbox: mpsc::Receiver<(u64, Report)>,
    /// Since when the symbols are without a feed, as the shard was told.
    down: Option<Timestamp>,
    retry_at: Option<Instant>,
    /// When all but the newest connection are closed.
    retire_at: Option<Instant>,
    /// Done when the minutes of the cut were fetched.
    mending: Option<oneshot::Receiver<()>>,
}

impl<S: Sink> Group<S> {
    pub(super) fn new(
        context: Arc<VenueContext>,
        symbols: &[Symbol],
        sink: S,
        jobs: mpsc::Sender<Job>,
        index: u32,
    ) -> Self {
        let (reports, inbox) = mpsc::channel(REPORTS_MAX);
        let timings = &context.timings;
        let seed = context.seed.wrapping_add(u64::from(index));
        Self {
            backoff: Backoff::new(seed, timings.backoff_min, timings.backoff_max),
            symbols: symbols.into(),
            sink,
            jobs,
            last_data: Arc::default(),
            slots: Vec::new(),
            next_id: 0,
            tasks: JoinSet::new(),
            reports,
            inbox,
            down: context.config.down_since,
            retry_at: None,
            retire_at: None,
            mending: None,
            context,
        }
    }

    /// Keeps the symbols fed until `stop` turns true; then closes and joins its connections.
    pub(super) async fn run(mut self, stagger: Duration, mut stop: watch::Receiver<bool>) {
        let started = (self.context.clock)();
        self.last_data.store(started.0, Relaxed);
        self.context.status.wanted(self.context.venue, started);
        self.retry_at = Some(Instant::now() + stagger);
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.work() => {}
        }
        for slot in &self.slots {
            slot.stop.send_replace(true);
        }
        while self.tasks.join_next().await.is_some() {}
    }

    async fn work(&mut self) {
        loop {
            tokio::select! {
                Some((id, report)) = self.inbox.recv() => match report {
                    Report::Live => self.on_live(id).await,
                    Report::Notice => self.on_notice(id),
                },
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => self.on_ended(ended).await,
                () = until(self.retry_at) => {
                    self.retry_at = None;
                    self.open();
                }
                () = until(self.retire_at) => self.retire(),
                () = mended(&mut self.mending) => self.up().await,
            }
        }
    }

    /// Starts a connection; it becomes the newest.
    fn open(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        let connection = Connection {
            id,
            context: Arc::clone(&self.context),
            symbols: Arc::clone(&self.symbols),
            sink: self.sink.clone(),
            jobs: self.jobs.clone(),
            reports: self.reports.clone(),
            last_data: Arc::clone(&self.last_data),
        };
        let (stop, stopped) = watch::channel(false);
        let task = self.tasks.spawn(connection.run(stopped));
        self.slots.push(Slot { id, live_since: None, stop, task });
    }

    async fn on_live(&mut self, id: u64) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == id) else { return };
        slot.live_since = Some(Instant::now());
        self.context.status.live(self.context.venue);
        self.context.metrics.connections.inc();
        tracing::info!(venue = %self.context.venue, symbols = self.symbols.len(), "feed is live");
        if self.slots.len() > 1 && self.is_newest(id) {
            self.retire_at = Some(Instant::now() + self.context.timings.overlap);
        }
        let Some(since) = self.down else { return };
        if self.context.has_proof() {
            return self.up().await;
        }
        // The ids prove nothing here: the venue's own minutes mend what the cut may have cost.
        let (done, mending) = oneshot::channel();
        let to = (self.context.clock)();
        let job = Job::Minutes { symbols: Arc::clone(&self.symbols), from: since, to, done };
        if self.jobs.try_send(job).is_ok() {
            self.mending = Some(mending);
            return;
        }
        for symbol in self.symbols.iter().copied() {
            self.context.record_gone(symbol, 0, 0);
            self.sink.send(Input::GapLost { symbol, first_id: 0, last_id: 0 }).await;
        }
        self.up().await;
    }

    /// The connection will be cut: opens its replacement first.
    fn on_notice(&mut self, id: u64) {
        let live_since = self.slots.iter().find(|slot| slot.id == id).and_then(|slot| slot.live_since);
        let is_due = live_since.is_some_and(|since| since.elapsed() >= self.context.timings.notice_age);
        if is_due && self.is_newest(id) && self.retry_at.is_none() {
            tracing::info!(venue = %self.context.venue, "the connection will be cut: replacing it");
            self.open();
        }
    }

    async fn on_ended(&mut self, ended: Result<(u64, Ended), JoinError>) {
        let (id, ended) = match ended {
            Ok((id, ended)) => (Some(id), ended),
            Err(error) => {
                tracing::error!(venue = %self.context.venue, %error, "a connection task ended badly");
                (None, Ended::Closed("by a fault of ours".to_owned()))
            }
        };
        let is_it = |slot: &Slot| id.map_or_else(|| slot.task.is_finished(), |id| slot.id == id);
        let Some(at) = self.slots.iter().position(is_it) else { return };
        let was_newest = at + 1 == self.slots.len();
        let slot = self.slots.remove(at);
        let now = (self.context.clock)();
        self.context.status.ended(self.context.venue, slot.live_since.is_some(), now);
        if let Some(since) = slot.live_since {
            self.context.metrics.connections.dec();
            if since.elapsed() >= self.context.timings.healthy {
                self.backoff.reset();
            }
        }
        if !matches!(ended, Ended::Stopped) {
            self.complain(&ended);
            if was_newest {
                let asked = if let Ended::Dial(error) = &ended { error.asked_wait() } else { None };
                self.retire_at = None;
                self.retry_at = Some(Instant::now() + self.backoff.next(asked));
            }
        }
        if self.slots.iter().all(|slot| slot.live_since.is_none()) {
            self.on_down().await;
        }
    }

    /// No live connection is left.
    async fn on_down(&mut self) {
        self.mending = None;
        if self.down.is_some() {
            return;
        }
        let since = Timestamp(self.last_data.load(Relaxed));
        self.down = Some(since);
        let symbols = self.symbols.iter().copied().collect();
        self.context.record_all(&self.symbols, |names| Line::Down { since, names });
        self.sink.send(Input::FeedDown { symbols, since }).await;
    }

    async fn up(&mut self) {
        self.mending = None;
        if self.down.take().is_some() {
            let symbols = self.symbols.iter().copied().collect();
            self.context.record_all(&self.symbols, |names| Line::Up { names });
            self.sink.send(Input::FeedUp { symbols }).await;
        }
    }

    /// Closes all but the newest connection.
    fn retire(&mut self) {
        self.retire_at = None;
        if let Some((_, old)) = self.slots.split_last() {
            for slot in old {
                slot.stop.send_replace(true);
            }
        }
    }

    fn complain(&self, ended: &Ended) {
        let (venue, metrics) = (self.context.venue, &self.context.metrics);
        metrics.reconnects.inc();
        self.context.status.cut(venue);
        self.context.status.error(venue, &ended.to_string());
        if let Ended::Dial(DialError::Unresolved { host }) = ended {
            metrics.unresolved.inc();
            tracing::warn!(%venue, host, "the venue's host has no address; trying again");
        } else {
            tracing::warn!(%venue, error = %ended, "feed cut");
        }
    }

    fn is_newest(&self, id: u64) -> bool {
        self.slots.last().is_some_and(|slot| slot.id == id)
    }
}

async fn mended(mending: &mut Option<oneshot::Receiver<()>>) {
    match mending {
        // A mender that is gone has no more to say.
        Some(done) => {
            let _ = done.await;
        }
        None => future::pending().await,
    }
}

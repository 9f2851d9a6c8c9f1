//! One task a venue that speaks REST: fills holes, mends minutes, and answers whether a silent symbol is quiet.

use std::sync::Arc;

use engine::{
    market::{Symbol, Timestamp, Trade},
    message::{Input, Missing},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep},
};

use super::{
    Sink, VenueContext,
    connection::until,
    minutes::Open,
    repair::{Filling, Step},
};
use crate::{
    backoff::Backoff,
    rest::{Rest, RestError},
    venue::{Known, TradeRange},
};

pub(super) const ATTEMPTS_MAX: u32 = 5;
const PAGES_MAX: u32 = 100;
/// A newer trade than this beyond what we saw says that the subscription is dead.
const PROBE_MARGIN: i64 = 1_000_000_000;

/// A silent symbol and what was last seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) symbol: Symbol,
    pub(super) last_id: u64,
    pub(super) last_event: Timestamp,
}

/// What the venue says of a silent symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It has no newer trade.
    Quiet,
    /// It has newer trades that were not pushed.
    Missed,
    /// It did not say.
    Unknown,
}

/// What a mender is asked for.
#[derive(Debug)]
pub(super) enum Job {
    /// Fill a hole of ids.
    Hole(Missing),
    /// Mend the minutes of a cut from the venue's own; `done` when those that are over are sent.
    Minutes { symbols: Arc<[Symbol]>, from: Timestamp, to: Timestamp, done: oneshot::Sender<()> },
    /// Ask whether a symbol is quiet.
    Probe(Probe, oneshot::Sender<Finding>),
}

/// See the module.
pub(super) struct Mender<S> {
    pub(super) context: Arc<VenueContext>,
    pub(super) rest: Rest,
    pub(super) sink: S,
    pub(super) backoff: Backoff,
    pub(super) open: Vec<Open>,
    pub(super) due: Option<Instant>,
}

impl<S: Sink> Mender<S> {
    pub(super) fn new(context: Arc<VenueContext>, sink: S) -> Self {
        let timings = &context.timings;
        let rest = Rest::new(timings.rest, context.feed.limits().rest_pause);
        let backoff = Backoff::new(context.seed ^ u64::MAX, timings.backoff_min, timings.backoff_max / 4);
        Self { rest, sink, backoff, open: Vec::new(), due: None, context }
    }

    /// Works until `stop` turns true.
    pub(super) async fn run(mut self, jobs: mpsc::Receiver<Job>, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.work(jobs) => {}
        }
    }

    async fn work(&mut self, mut jobs: mpsc::Receiver<Job>) {
        loop {
            tokio::select! {
                job = jobs.recv() => match job {
                    Some(Job::Hole(hole)) => self.fill(hole).await,
                    Some(Job::Minutes { symbols, from, to, done }) => {
                        self.mend_all(&symbols, from, to).await;
                        let _ = done.send(());
                    }
                    Some(Job::Probe(probe, reply)) => {
                        let _ = reply.send(self.probe(probe).await);
                    }
                    None => return,
                },
                () = until(self.due) => self.mend_due().await,
            }
        }
    }

    /// Fills a hole; what trades cannot fill, minutes mend.
    async fn fill(&mut self, hole: Missing) {
        let Some((name, known)) = self.known(hole.symbol) else { return };
        let mut filling = Filling::new(hole);
        let mut pages = 0;
        self.backoff.reset();
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                sleep(self.backoff.next(None)).await;
            }
            match self.fill_on(&mut filling, &name, &known, &mut pages).await {
                Ok(Step::Done) => break,
                // The REST side of a venue may lag behind its stream: ask again.
                Ok(_) => {}
                Err(error) => self.complain(&error),
            }
            if pages >= PAGES_MAX {
                break;
            }
        }
        if filling.is_complete() {
            self.context.metrics.repairs_ok.inc();
            return;
        }
        self.context.metrics.repairs_failed.inc();
        let Missing { symbol, first_id, last_id, from, to } = hole;
        self.mend(symbol, from, to.max(from), ATTEMPTS_MAX).await;
        self.sink.send(Input::GapLost { symbol, first_id, last_id }).await;
    }

    async fn fill_on(
        &mut self,
        filling: &mut Filling,
        name: &str,
        known: &Known,
        pages: &mut u32,
    ) -> Result<Step, RestError> {
        let mut found = Vec::new();
        loop {
            *pages += 1;
            let page = self.trades(name, known, filling.range()).await?;
            let step = filling.on_page(&page, &mut found);
            for mut trade in found.drain(..) {
                trade.ts_recv = (self.context.clock)();
                self.sink.send(Input::Trade(trade)).await;
            }
            if step != Step::More || *pages >= PAGES_MAX {
                return Ok(step);
            }
        }
    }

    /// A page in the order of ids; empty where the venue gives none.
    async fn trades(&mut self, name: &str, known: &Known, range: TradeRange) -> Result<Vec<Trade>, RestError> {
        let feed = self.context.feed;
        let Some(request) = feed.trades_request(&self.context.config.rest_url, name, range) else {
            return Ok(Vec::new());
        };
        let mut body = self.rest.fetch(&request).await?;
        let mut trades = feed.parse_trades(&mut body, name, known)?;
        if self.context.has_proof() {
            trades.sort_by_key(|trade| trade.id);
        }
        Ok(trades)
    }

    async fn probe(&mut self, probe: Probe) -> Finding {
        let Some((name, known)) = self.known(probe.symbol) else { return Finding::Unknown };
        let (first_id, to) = (probe.last_id.saturating_add(1), (self.context.clock)());
        let range = TradeRange { first_id, last_id: first_id.saturating_add(99), from: probe.last_event, to };
        match self.trades(&name, &known, range).await {
            Ok(page) => {
                let newest = page.iter().map(|trade| trade.ts_event).max();
                match newest {
                    Some(newest) if newest > probe.last_event.plus(PROBE_MARGIN) => Finding::Missed,
                    Some(_) => Finding::Quiet,
                    None => Finding::Unknown,
                }
            }
            Err(error) => {
                self.complain(&error);
                Finding::Unknown
            }
        }
    }

    pub(super) fn known(&self, symbol: Symbol) -> Option<(String, Known)> {
        let instrument = self.context.directory.instrument(symbol)?;
        let known = Known { symbol, price_scale: instrument.price_scale, quantity_scale: instrument.quantity_scale };
        Some((instrument.name.to_string(), known))
    }

    pub(super) fn complain(&self, error: &RestError) {
        tracing::warn!(venue = %self.context.venue, %error, "REST request failed");
        self.context.status.error(self.context.venue, &error.to_string());
    }
}

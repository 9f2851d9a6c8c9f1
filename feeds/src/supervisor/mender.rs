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
    record::Line,
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
        self.context.record_gone(symbol, first_id, last_id);
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
        let mut inputs = Vec::new();
        loop {
            *pages += 1;
            let mut body = self.page(name, filling.range()).await?;
            // A parser may spoil what it reads.
            let recorded = self.context.tape.is_some().then(|| body.clone());
            let page = self.parse(&mut body, name, known)?;
            let step = filling.on_page(&page, &mut found);
            if let (Some(page), Some(first), Some(last)) = (recorded, found.first(), found.last()) {
                let (first_id, last_id) = (first.first_id, last.id);
                self.context.record(&Line::Trades { name, first_id, last_id, page: &page });
            }
            // A page is one message: what it mends is corrected once.
            let ts_recv = (self.context.clock)();
            inputs.extend(found.drain(..).map(|trade| Input::Trade(Trade { ts_recv, ..trade })));
            self.sink.send_all(&mut inputs).await;
            if step != Step::More || *pages >= PAGES_MAX {
                return Ok(step);
            }
        }
    }

    /// The body of a page; empty where the venue gives none.
    async fn page(&mut self, name: &str, range: TradeRange) -> Result<Vec<u8>, RestError> {
        let request = self.context.feed.trades_request(&self.context.config.rest_url, name, range);
        let Some(request) = request else { return Ok(Vec::new()) };
        self.rest.fetch(&request).await
    }

    /// Its trades in the order of ids.
    fn parse(&self, body: &mut [u8], name: &str, known: &Known) -> Result<Vec<Trade>, RestError> {
        if body.is_empty() {
            return Ok(Vec::new());
        }
        let mut trades = self.context.feed.parse_trades(body, name, known)?;
        if self.context.has_proof() {
            trades.sort_by_key(|trade| trade.id);
        }
        Ok(trades)
    }

    async fn probe(&mut self, probe: Probe) -> Finding {
        let Some((name, known)) = self.known(probe.symbol) else { return Finding::Unknown };
        let (first_id, to) = (probe.last_id.saturating_add(1), (self.context.clock)());
        let range = TradeRange { first_id, last_id: first_id.saturating_add(99), from: probe.last_event, to };
        let page = self.page(&name, range).await;
        match page.and_then(|mut body| self.parse(&mut body, &name, &known)) {
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

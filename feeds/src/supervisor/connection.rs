//! One socket from its handshake to its end: subscribes at the venue's pace, reads, and sends each trade on.

use std::{
    collections::VecDeque,
    future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use engine::{market::Symbol, message::Input};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{
    Sink, VenueContext,
    dial::{DialError, Socket, dial},
    life::{Health, Life},
    mender::{Finding, Job},
};
use crate::{
    record::Line,
    venue::{Event, Parser},
};

/// What a connection tells its group while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// Subscribed, and data flow.
    Live,
    /// It will be cut: open a replacement.
    Notice,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the connection was cut: {0}")]
    Cut(Box<Error>),
    #[error("the venue closed the connection: {0}")]
    Closed(String),
    #[error("nothing was sent any more")]
    Stale,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Cut(Box::new(error))
    }
}

/// What one connection needs.
pub(super) struct Connection<S> {
    pub(super) id: u64,
    pub(super) context: Arc<VenueContext>,
    pub(super) symbols: Arc<[Symbol]>,
    pub(super) sink: S,
    pub(super) jobs: mpsc::Sender<Job>,
    pub(super) reports: mpsc::Sender<(u64, Report)>,
    pub(super) last_data: Arc<AtomicI64>,
}

/// What changes while it runs.
struct State {
    parser: Parser,
    events: Vec<Event>,
    inputs: Vec<Input>,
    outgoing: VecDeque<String>,
    life: Life,
    /// When it counts as live although no data came.
    settles: Option<Instant>,
    live: bool,
    probe: Option<(Symbol, oneshot::Receiver<Finding>)>,
    /// Its number in a recording.
    recorded: u64,
}

impl<S: Sink> Connection<S> {
    /// Runs until the connection ends or `stop` turns true.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) -> (u64, Ended) {
        let ended = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Ended::Stopped,
            ended = self.session() => ended.err().unwrap_or(Ended::Stopped),
        };
        (self.id, ended)
    }

    async fn session(&self) -> Result<(), Ended> {
        let (context, timings) = (&*self.context, &self.context.timings);
        let names: Vec<&str> = self.symbols.iter().filter_map(|symbol| context.name(*symbol)).collect();
        let url = context.feed.ws_url(&context.config.ws_url, &names);
        let mut socket = dial(&url, timings.connect).await?;
        let recorded = context.tape.as_ref().map_or(0, |tape| tape.opened((context.clock)(), &url));
        let ended = self.converse(&mut socket, names, recorded).await;
        if let Err(ended) = &ended {
            context.record(&Line::Closed { connection: recorded, why: &ended.to_string() });
        }
        ended
    }

    /// Subscribes, and reads until the connection ends. `recorded` is its number in a recording.
    async fn converse(&self, socket: &mut Socket, names: Vec<&str>, recorded: u64) -> Result<(), Ended> {
        let (context, timings) = (&*self.context, &self.context.timings);
        let limits = context.feed.limits();
        let now = Instant::now();
        let mut state = State {
            parser: Parser::new(context.venue, Arc::clone(&context.names), true),
            events: Vec::new(),
            inputs: Vec::new(),
            outgoing: context.feed.subscribe(&names).into(),
            life: Life::new(timings.stale_after, now),
            settles: None,
            live: false,
            probe: None,
            recorded,
        };
        let mut pace = every(limits.message_pause, now);
        let keep_alive = context.feed.keep_alive();
        let mut alive = keep_alive.map(|keep| every(keep.every, now + keep.every));
        let mut look = every(timings.stale_after / 4, now + timings.stale_after / 4);
        let mut lifetime = limits.lifetime.map(|lifetime| now + lifetime);
        loop {
            if state.outgoing.is_empty() && state.settles.is_none() {
                state.settles = Some(Instant::now() + timings.settle);
            }
            tokio::select! {
                message = socket.next() => self.on_message(message, socket, &mut state).await?,
                _ = pace.tick(), if !state.outgoing.is_empty() => {
                    if let Some(text) = state.outgoing.pop_front() {
                        self.say(socket, text).await?;
                    }
                }
                () = tick(&mut alive) => {
                    if let Some(keep) = keep_alive {
                        self.say(socket, keep.text.to_owned()).await?;
                    }
                }
                () = until(state.settles), if !state.live => self.on_live(&mut state).await,
                () = until(lifetime) => {
                    lifetime = None;
                    self.report(Report::Notice).await;
                }
                _ = look.tick() => self.look(&mut state)?,
                (symbol, finding) = answer(&mut state.probe) => match finding {
                    Finding::Missed => return Err(Ended::Stale),
                    Finding::Quiet => state.life.on_quiet(symbol, Instant::now()),
                    Finding::Unknown => {}
                },
            }
        }
    }

    async fn on_message(
        &self,
        message: Option<Result<Message, Error>>,
        socket: &mut Socket,
        state: &mut State,
    ) -> Result<(), Ended> {
        let now = Instant::now();
        match message {
            None => Err(Ended::Closed("without a close frame".to_owned())),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(Message::Close(frame))) => {
                let text = frame.map_or("without a reason".to_owned(), |frame| {
                    format!("{} {}", u16::from(frame.code), frame.reason.chars().take(100).collect::<String>())
                });
                Err(Ended::Closed(text))
            }
            Some(Ok(Message::Text(text))) => {
                state.life.on_frame(now);
                self.on_text(text.as_bytes(), now, state).await;
                Ok(())
            }
            Some(Ok(Message::Binary(_))) => {
                self.context.metrics.frame_errors.inc();
                Ok(())
            }
            Some(Ok(Message::Ping(_))) => {
                state.life.on_frame(now);
                // The library has queued the pong; flushing sends it now rather than with our next words.
                Ok(socket.flush().await?)
            }
            Some(Ok(Message::Pong(_) | Message::Frame(_))) => {
                state.life.on_frame(now);
                Ok(())
            }
        }
    }

    async fn on_text(&self, text: &[u8], now: Instant, state: &mut State) {
        let metrics = &self.context.metrics;
        let ts_recv = (self.context.clock)();
        if let Some(tape) = &self.context.tape {
            tape.frame(ts_recv, state.recorded, text);
        }
        metrics.frames.inc();
        metrics.bytes.inc_by(text.len() as u64);
        let mut events = std::mem::take(&mut state.events);
        let mut inputs = std::mem::take(&mut state.inputs);
        if let Err(error) = state.parser.on_frame(text, ts_recv, &mut events) {
            metrics.frame_errors.inc();
            tracing::debug!(venue = %self.context.venue, %error, "frame dropped");
        }
        let mut has_data = false;
        for event in events.drain(..) {
            match event {
                Event::Trade(trade) => {
                    has_data = true;
                    metrics.trades.inc();
                    state.life.on_trade(&trade, now);
                    inputs.push(Input::Trade(trade));
                }
                Event::Proof { symbol, last_id } => {
                    has_data = true;
                    state.life.on_proof(symbol, last_id, now);
                    inputs.push(Input::Proof { symbol, last_id });
                }
                Event::Refused { reason, field } => {
                    metrics.refused(reason);
                    tracing::debug!(venue = %self.context.venue, %reason, field, "trade refused");
                }
                Event::SubscribeError(message) => {
                    tracing::warn!(venue = %self.context.venue, message, "the venue refused a subscription");
                    self.context.status.error(self.context.venue, &format!("subscription refused: {message}"));
                }
                Event::PlannedShutdown => self.report(Report::Notice).await,
                Event::Subscribed | Event::Pong | Event::Heartbeat | Event::Ignored => {}
            }
        }
        self.sink.send_all(&mut inputs).await;
        (state.events, state.inputs) = (events, inputs);
        if has_data {
            self.last_data.store(ts_recv.0, Relaxed);
            self.context.status.data(self.context.venue, ts_recv);
            if !state.live && state.outgoing.is_empty() {
                self.on_live(state).await;
            }
        }
    }

    async fn on_live(&self, state: &mut State) {
        state.live = true;
        self.report(Report::Live).await;
    }

    async fn report(&self, report: Report) {
        let _ = self.reports.send((self.id, report)).await;
    }

    /// Looks whether the connection is alive and asks the venue about a single silent symbol.
    fn look(&self, state: &mut State) -> Result<(), Ended> {
        match state.life.check(Instant::now()) {
            Health::Alive => Ok(()),
            Health::Stale => Err(Ended::Stale),
            Health::Doubtful(probe) => {
                let (reply, finding) = oneshot::channel();
                if state.probe.is_none() && self.jobs.try_send(Job::Probe(probe, reply)).is_ok() {
                    state.probe = Some((probe.symbol, finding));
                }
                Ok(())
            }
        }
    }

    /// Sends a text; a venue that does not take it in time is gone.
    async fn say(&self, socket: &mut Socket, text: String) -> Result<(), Ended> {
        let sent = tokio::time::timeout(self.context.timings.connect, socket.send(Message::text(text))).await;
        sent.map_err(|_| Ended::Stale)?.map_err(Ended::from)
    }
}

fn every(period: Duration, start: Instant) -> Interval {
    let mut interval = interval_at(start, period.max(Duration::from_millis(1)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => future::pending().await,
    }
}

/// Waits for a moment; without one, forever.
pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => future::pending().await,
    }
}

async fn answer(probe: &mut Option<(Symbol, oneshot::Receiver<Finding>)>) -> (Symbol, Finding) {
    let Some((symbol, finding)) = probe else { return future::pending().await };
    let answer = (*symbol, finding.await.unwrap_or(Finding::Unknown));
    *probe = None;
    answer
}

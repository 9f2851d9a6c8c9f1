//! A supervisor with a fake venue on one side and, on the other, a shard that only knows ids.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use engine::{
    continuity::{Continuity, Seen},
    market::{Directory, Symbol, Timestamp, Trade, Venue},
    message::{Input, Missing, VenueCandle},
};
use feeds::{
    metrics::FeedMetrics,
    supervisor::{Clock, FeedsConfig, Supervisor, Timings, VenueConfig},
    symbols,
};
use tokio::{sync::mpsc, time::Instant};

use crate::fake::Exchange;

/// 2026-11-19T…:57.500Z: the minute ends two and a half seconds after the start of a test.
const START_MS: i64 = 1_795_082_400_000 + 57_500;
/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(8);

/// What the shard was told, beside trades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Down,
    Up,
    Lost(u64, u64),
    Correction(VenueCandle),
}

pub struct Harness {
    pub supervisor: Supervisor,
    pub told: Vec<Told>,
    pub ids: BTreeSet<u64>,
    pub trades: Vec<Trade>,
    pub metrics: FeedMetrics,
    continuity: HashMap<Symbol, Continuity>,
    newest: Timestamp,
    inputs: mpsc::Receiver<Input>,
    missing: mpsc::Sender<Missing>,
    clock: Clock,
}

pub fn timings() -> Timings {
    Timings {
        connect: Duration::from_secs(3),
        stale_after: Duration::from_secs(20),
        settle: Duration::from_millis(300),
        overlap: Duration::from_millis(200),
        notice_age: Duration::ZERO,
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
        healthy: Duration::from_secs(60),
        rest: Duration::from_secs(3),
        minute_settle: Duration::from_millis(100),
    }
}

pub fn clock() -> Clock {
    let started = Instant::now();
    Arc::new(move || Timestamp::from_millis(START_MS).plus(i64::try_from(started.elapsed().as_nanos()).unwrap()))
}

impl Harness {
    pub fn with(exchange: &Exchange, timings: Timings) -> Self {
        let (ws, rest) = (format!("ws://{}", exchange.ws), format!("http://{}", exchange.rest));
        Self::start(exchange.venue, &[exchange.name], ws, rest, timings)
    }

    pub fn start(venue: Venue, names: &[&str], ws_url: String, rest_url: String, timings: Timings) -> Self {
        let mut directory = Directory::new();
        let register = |name: &&str| directory.register(None, symbols::scaled(venue, name, 10, 8)).unwrap();
        let symbols: Vec<Symbol> = names.iter().map(register).collect();
        let (sink, inputs) = mpsc::channel(64);
        let (missing, holes) = mpsc::channel(64);
        let clock = clock();
        let venues = vec![VenueConfig { venue, ws_url, rest_url, symbols, down_since: None }];
        let config = FeedsConfig { venues, timings, clock: Arc::clone(&clock), seed: 7, recorder: None };
        let metrics = FeedMetrics::default();
        let supervisor = Supervisor::start(config, &Arc::new(directory), &sink, holes, &metrics);
        Self {
            supervisor,
            told: Vec::new(),
            ids: BTreeSet::new(),
            trades: Vec::new(),
            metrics,
            continuity: HashMap::new(),
            newest: Timestamp(0),
            inputs,
            missing,
            clock,
        }
    }

    pub fn now_ms(&self) -> i64 {
        (self.clock)().millis()
    }

    /// Takes inputs in until `is_done`.
    pub async fn until(&mut self, what: &str, mut is_done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_done(self) {
            let input = tokio::time::timeout_at(deadline, self.inputs.recv()).await;
            let Ok(Some(input)) = input else {
                panic!(
                    "waited in vain for {what}: told {:?}, {} ids, {:?}",
                    self.told,
                    self.ids.len(),
                    self.supervisor.status()
                );
            };
            self.on_input(input).await;
        }
    }

    /// Takes in what comes within `span`.
    pub async fn listen(&mut self, span: Duration) {
        let deadline = Instant::now() + span;
        while let Ok(Some(input)) = tokio::time::timeout_at(deadline, self.inputs.recv()).await {
            self.on_input(input).await;
        }
    }

    async fn on_input(&mut self, input: Input) {
        match input {
            Input::Trade(trade) => self.on_trade(&trade).await,
            Input::Proof { symbol, last_id } => {
                if let Some((first_id, last_id)) = self.continuity.get_mut(&symbol).and_then(|ids| ids.expect(last_id))
                {
                    self.ask(symbol, first_id, last_id, (self.clock)()).await;
                }
            }
            Input::FeedDown { .. } => self.told.push(Told::Down),
            Input::FeedUp { .. } => self.told.push(Told::Up),
            Input::GapLost { first_id, last_id, .. } => self.told.push(Told::Lost(first_id, last_id)),
            Input::Correction { minute, .. } => self.told.push(Told::Correction(minute)),
            other => unreachable!("a feed does not send {other:?}"),
        }
    }

    async fn on_trade(&mut self, trade: &Trade) {
        self.trades.push(*trade);
        self.ids.insert(trade.id);
        let rule = Venue::LIVE.into_iter().find(|venue| *venue == self.supervisor.status()[0].venue).unwrap().id_rule();
        let seen = self.continuity.entry(trade.symbol).or_insert_with(|| Continuity::new(rule)).observe(trade);
        if let Seen::Gap { first_id, last_id } = seen {
            self.ask(trade.symbol, first_id, last_id, trade.ts_event).await;
        }
        self.newest = self.newest.max(trade.ts_event);
    }

    async fn ask(&mut self, symbol: Symbol, first_id: u64, last_id: u64, to: Timestamp) {
        self.missing.send(Missing { symbol, first_id, last_id, from: self.newest, to }).await.unwrap();
    }

    pub async fn has_all(&mut self, exchange: &Exchange) {
        let want: BTreeSet<u64> = exchange.history().iter().map(|trade| trade.id).collect();
        self.until("all ids", |harness| harness.ids == want).await;
    }

    pub fn count(&self, told: &Told) -> usize {
        self.told.iter().filter(|known| *known == told).count()
    }

    /// Shuts down and checks that nothing hangs.
    pub async fn end(self) {
        tokio::time::timeout(Duration::from_secs(2), self.supervisor.shutdown()).await.expect("shutdown hangs");
    }
}

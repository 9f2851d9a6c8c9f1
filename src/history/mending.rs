//! Fetches what a feed could not repair in time: stretches that were given up, and the time between two runs. One task a venue;
//! each candle has its turn once it is over and the running engine can change it no more.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use engine::{
    interval::Interval,
    market::{Directory, Instrument, Symbol, Timestamp, Venue},
};
use feeds::{
    backfill::{BackfillError, CandleClient},
    supervisor::Clock,
};
use store::Store;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};

use super::keeper::Lost;
use crate::{
    backfill::mend::{Mend, mend},
    chance,
};

/// How often it is looked what is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long after the late window a candle is fetched: what the engine said last must be stored.
const SETTLE: i64 = 15_000_000_000;
/// How long a venue that did not answer is left alone.
const RETRY_AFTER: i64 = 300_000_000_000;
/// Series with something to fetch, for one venue. More are left to `kandle backfill`.
const SERIES_MAX: usize = 50_000;
const LOST_MAX: usize = 1024;

/// What is to be fetched of one series.
#[derive(Clone, Copy, Debug)]
struct Due {
    from: Timestamp,
    to: Timestamp,
    at: Timestamp,
}

/// One venue.
struct Mending {
    client: CandleClient,
    store: Store,
    instruments: HashMap<Symbol, Arc<Instrument>>,
    intervals: Vec<Interval>,
    clock: Clock,
    late_window: i64,
    due: BTreeMap<(Symbol, Interval), Due>,
}

/// What the mending of all venues needs.
pub(super) struct Parts<'a> {
    pub(super) store: Store,
    pub(super) directory: &'a Directory,
    /// Each venue that may be asked, and the base URL of its REST interface.
    pub(super) venues: Vec<(Venue, String)>,
    pub(super) clock: Clock,
    /// In nanoseconds.
    pub(super) late_window: i64,
}

/// Mends what comes out of `losses` until `stop` turns true.
pub(super) async fn run(parts: Parts<'_>, mut losses: mpsc::Receiver<Lost>, mut stop: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    let mut queues = HashMap::new();
    for (venue, base) in &parts.venues {
        let Ok(client) = CandleClient::new(*venue, base, None, Arc::clone(&parts.clock), chance::seed()) else {
            continue;
        };
        let of_venue = parts.directory.symbols().filter(|(_, instrument)| instrument.venue == *venue);
        let mending = Mending {
            intervals: Interval::ALL.into_iter().filter(|interval| client.check(*interval).is_ok()).collect(),
            client,
            store: parts.store.clone(),
            instruments: of_venue.map(|(symbol, instrument)| (symbol, Arc::clone(instrument))).collect(),
            clock: Arc::clone(&parts.clock),
            late_window: parts.late_window,
            due: BTreeMap::new(),
        };
        let (sender, queue) = mpsc::channel(LOST_MAX);
        queues.insert(*venue, sender);
        tasks.spawn(mending.work(queue));
    }
    let venue_of = |symbol| parts.directory.instrument(symbol).map(|instrument| instrument.venue);
    loop {
        let lost = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            lost = losses.recv() => lost,
        };
        let Some((symbol, time)) = lost else { return };
        if let Some(queue) = venue_of(symbol).and_then(|venue| queues.get(&venue)) {
            // A venue that is asked for a thousand things is not asked for more: the hole stays for a backfill.
            let _ = queue.try_send((symbol, time));
        }
    }
}

impl Mending {
    async fn work(mut self, mut losses: mpsc::Receiver<Lost>) {
        loop {
            tokio::select! {
                lost = losses.recv() => match lost {
                    Some((symbol, time)) => self.note(symbol, time.start, time.end),
                    None => return,
                },
                () = sleep(LOOK_EVERY) => self.mend_due().await,
            }
        }
    }

    /// Notes a stretch of time for every interval that the venue has.
    fn note(&mut self, symbol: Symbol, from: Timestamp, to: Timestamp) {
        let to = to.min((self.clock)());
        for &interval in &self.intervals {
            if self.due.len() >= SERIES_MAX {
                tracing::warn!("too much is missing to fetch it now; `kandle backfill` fetches the rest");
                return;
            }
            let (from, to) = (interval.open_time(from), interval.close_time(interval.open_time(to)));
            let due = self.due.entry((symbol, interval)).or_insert(Due { from, to, at: to });
            (due.from, due.to) = (due.from.min(from), due.to.max(to));
            due.at = due.at.max(to.plus(self.late_window.saturating_add(SETTLE)));
        }
    }

    async fn mend_due(&mut self) {
        let now = (self.clock)();
        let due: Vec<_> =
            self.due.iter().filter(|(_, due)| due.at <= now).map(|(series, due)| (*series, *due)).collect();
        for ((symbol, interval), due) in due {
            let Some(instrument) = self.instruments.get(&symbol) else { continue };
            let series = Mend { store: &self.store, client: &mut self.client, instrument, interval, is_doubtful: true };
            match mend(series, due.from, due.to).await {
                Ok(written) => {
                    self.due.remove(&(symbol, interval));
                    if !written.is_empty() {
                        let (source, interval) = (instrument.source(), interval.name());
                        tracing::info!(
                            source,
                            interval,
                            candles = written.len(),
                            "candles were fetched from the venue"
                        );
                    }
                }
                Err(error) if error.downcast_ref::<BackfillError>().is_some_and(BackfillError::is_terminal) => {
                    tracing::warn!("candles cannot be fetched: {error:#}");
                    self.due.remove(&(symbol, interval));
                }
                Err(error) => {
                    tracing::warn!("candles cannot be fetched now: {error:#}");
                    let later = now.plus(RETRY_AFTER);
                    self.due.values_mut().for_each(|due| due.at = due.at.max(later));
                    return;
                }
            }
        }
    }
}

//! The candles of one interval, stored and running, as one sequence in one direction.

use std::collections::VecDeque;

use engine::{candle::Candle, interval::Interval, market::Timestamp};
use store::{PAGE_ROWS_MAX, Series, Store, StoredCandle};

use super::subject::Subject;
use crate::{
    error::ApiError,
    view::{LATEST_MAX, View},
};

/// What is older is not changed by the running engine any more: the late window and a wide margin.
pub(crate) const SETTLED_AFTER_NS: i64 = 86_400 * 1_000_000_000;

/// Where candles are read from.
pub(crate) struct Reader<'a> {
    /// The running engine.
    pub(crate) view: &'a dyn View,
    /// What is stored, if anything is.
    pub(crate) store: Option<&'a Store>,
    /// Whose candles.
    pub(crate) subject: &'a Subject,
    /// The present.
    pub(crate) now: Timestamp,
}

/// In which order candles are read. Places rise in reading order: backwards, they are negated times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From old to new.
    Forward,
    /// From new to old.
    Backward,
}

impl Way {
    /// The place where a candle is met.
    pub(crate) const fn near(self, candle: &Candle) -> i64 {
        match self {
            Self::Forward => candle.open_time.0,
            Self::Backward => -candle.close_time.0,
        }
    }

    /// The place where it is passed.
    pub(crate) const fn far(self, candle: &Candle) -> i64 {
        match self {
            Self::Forward => candle.close_time.0,
            Self::Backward => -candle.open_time.0,
        }
    }
}

/// Open times from the first up to, not including, the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first moment.
    pub(crate) from: Timestamp,
    /// The first moment behind it.
    pub(crate) to: Timestamp,
}

/// See the module. Candles are fetched as they are asked for, a page at a time.
pub(crate) struct Level {
    interval: Interval,
    way: Way,
    span: Span,
    rows: VecDeque<StoredCandle>,
    /// Where the next page begins.
    next: i64,
    /// How many rows the next page has.
    ask: usize,
    ask_max: usize,
    is_done: bool,
    /// What the engine holds; `None` until the first page.
    running: Option<Vec<StoredCandle>>,
}

impl Level {
    /// The candles of `interval` in `span`, at first `ask` at a time, then up to `ask_max`.
    pub(crate) fn new(interval: Interval, way: Way, span: Span, ask: usize, ask_max: usize) -> Self {
        let (ask, ask_max) = (ask.clamp(1, PAGE_ROWS_MAX), ask_max.clamp(1, PAGE_ROWS_MAX));
        Self { interval, way, span, rows: VecDeque::new(), next: i64::MIN, ask, ask_max, is_done: false, running: None }
    }

    /// The first candle that lies wholly behind `place`, which rises from call to call.
    pub(crate) async fn seek(&mut self, reader: &Reader<'_>, place: i64) -> Result<Option<&StoredCandle>, ApiError> {
        loop {
            while self.rows.front().is_some_and(|row| self.way.near(&row.candle) < place) {
                self.rows.pop_front();
            }
            if !self.rows.is_empty() || self.is_done {
                return Ok(self.rows.front());
            }
            self.read(reader, place).await?;
        }
    }

    /// Takes the first candle if it begins at `place`.
    pub(crate) fn take_at(&mut self, place: i64) -> Option<StoredCandle> {
        let is_there = self.rows.front().is_some_and(|row| self.way.near(&row.candle) == place);
        if is_there { self.rows.pop_front() } else { None }
    }

    async fn read(&mut self, reader: &Reader<'_>, place: i64) -> Result<(), ApiError> {
        let place = place.max(self.next);
        let Span { from, to } = self.span;
        let (from, to) = match self.way {
            Way::Forward => (Timestamp(place.max(from.0)), to),
            Way::Backward => (from, Timestamp(place.saturating_neg()).min(to)),
        };
        let series = Series { source: reader.subject.source.clone(), interval: self.interval };
        let stored = match (reader.store, self.way) {
            (None, _) => Vec::new(),
            (Some(store), Way::Forward) => store.candles(&series, from, to, self.ask).await?,
            (Some(store), Way::Backward) => store.newest_candles(&series, to, self.ask).await?,
        };
        // What was seen is the whole range, unless the page was cut.
        let is_cut = stored.len() >= self.ask;
        let first = stored.first().map_or(from, |row| row.candle.open_time);
        let last = stored.last().map_or(to, |row| row.candle.open_time);
        let seen = match self.way {
            Way::Forward if is_cut => Span { from, to: last.plus(1) },
            Way::Backward if is_cut && first > from => Span { from: first, to },
            _ => Span { from, to },
        };
        self.is_done = seen == Span { from, to };
        self.next = match self.way {
            Way::Forward => seen.to.0,
            Way::Backward => -seen.from.0,
        };
        self.ask = (self.ask * 2).min(self.ask_max.max(self.ask));
        let running = match self.running.take() {
            Some(running) => running,
            None => self.ask_engine(reader).await,
        };
        if running.is_empty() && self.way == Way::Forward {
            // The page as it came, without a copy.
            self.rows = stored.into();
            self.running = Some(running);
            return Ok(());
        }
        let stored = stored.into_iter().filter(|row| row.candle.open_time >= seen.from);
        let counted = running.iter().filter(|row| (seen.from..seen.to).contains(&row.candle.open_time));
        merge(stored, counted.copied(), &mut self.rows);
        self.running = Some(running);
        if self.way == Way::Backward {
            self.rows.make_contiguous().reverse();
        }
        Ok(())
    }

    /// What the engine holds of the rows that are wanted, if the span reaches into what it may still change. A shard is asked for no
    /// more than that: what is older is in the store.
    async fn ask_engine(&self, reader: &Reader<'_>) -> Vec<StoredCandle> {
        let newest = self.interval.open_time(self.span.to.plus(-1));
        let is_settled = self.interval.close_time(newest) <= reader.now.plus(-SETTLED_AFTER_NS);
        match reader.subject.served {
            Some((symbol, scales)) if !is_settled => {
                let candles = reader.view.latest(symbol, self.interval, self.wanted(reader.now)).await;
                candles.iter().map(|candle| StoredCandle { scales, candle: plain(candle) }).collect()
            }
            _ => Vec::new(),
        }
    }

    /// How many of the newest candles may be among the rows.
    fn wanted(&self, now: Timestamp) -> usize {
        let rows = match (self.way, self.interval.nanos()) {
            (Way::Forward, Some(nanos)) => {
                usize::try_from(now.0.saturating_sub(self.span.from.0) / nanos).unwrap_or(0) + 2
            }
            (Way::Backward, _) if self.span.to > now => self.ask + 1,
            // Few months, or an end in the past.
            _ => LATEST_MAX,
        };
        rows.min(LATEST_MAX)
    }
}

/// Appends both, each in the order of time, to `out`: of one open time the higher rank, of equal ones the running one,
/// which is newer where both are open.
fn merge(
    stored: impl Iterator<Item = StoredCandle>,
    running: impl Iterator<Item = StoredCandle>,
    out: &mut VecDeque<StoredCandle>,
) {
    let mut running = running.peekable();
    let at = |row: &StoredCandle| row.candle.open_time;
    for row in stored {
        while let Some(before) = running.next_if(|other| at(other) < at(&row)) {
            out.push_back(before);
        }
        let other = running.next_if(|other| at(other) == at(&row));
        out.push_back(other.filter(|other| other.rank() >= row.rank()).unwrap_or(row));
    }
    out.extend(running);
}

/// A running candle as if it had been stored: candles are merged by their times, not by the order of trades that the
/// engine keeps for itself.
fn plain(candle: &Candle) -> Candle {
    let mut plain = Candle::flat(candle.interval, candle.open_time, candle.open);
    (plain.high, plain.low, plain.close) = (candle.high, candle.low, candle.close);
    (plain.volume, plain.quote_volume, plain.buy_volume) = (candle.volume, candle.quote_volume, candle.buy_volume);
    (plain.trades, plain.first_id, plain.last_id) = (candle.trades, candle.first_id, candle.last_id);
    (plain.revision, plain.state, plain.is_closed) = (candle.revision, candle.state, candle.is_closed);
    plain.unknown = candle.unknown;
    plain
}

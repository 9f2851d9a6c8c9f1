//! All candles of one symbol: folds trades into every interval, closes by clock and watermark, corrects by number.
//!
//! A trade only touches the candle of the current second; longer candles take that second in when it is over, or when
//! they are read. So a fold costs the same for one interval as for nineteen.

use crate::{
    candle::{Candle, State},
    continuity::Continuity,
    interval::Interval,
    market::{IdRule, Timestamp, Trade},
    message::VenueCandle,
    series::{Series, proven},
};

const SECOND: i64 = 1_000_000_000;

/// How many closed candles a running system keeps per interval for snapshots.
pub const HISTORY: usize = 500;

/// Rules of time for the candles of a symbol.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long after its end a candle may still be corrected, in nanoseconds.
    pub late_window: i64,
    /// How long after its end a candle closes at the latest, in nanoseconds.
    pub close_delay: i64,
    /// What the trade ids prove, and so which order the trades have.
    pub ids: IdRule,
    /// How many closed candles are kept per interval, besides those that may still be corrected.
    pub history: usize,
}

/// What became of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// It is in every candle that it belongs to.
    Applied,
    /// It came after the late window of at least one candle, which stays as it is: counted as dropped.
    Late,
}

/// The candles of one symbol.
#[derive(Debug)]
pub struct Aggregator {
    pub(crate) rules: Rules,
    /// The candle of the second that trades come in now; not yet in `series`.
    pub(crate) current: Option<Candle>,
    /// Whether the clock has closed the candle of the current second: what comes for it now is a correction.
    is_current_over: bool,
    pub(crate) series: Vec<Series>,
    /// The latest moment known to have passed: of the clock or of a trade.
    now: Timestamp,
    pub(crate) watermark: Timestamp,
    arrivals: u64,
    /// Set when a trade or a proof may close or correct a candle.
    pub(crate) work: bool,
    /// When the first candle that waits for its proof closes without it.
    wake: Timestamp,
    proof_changed: bool,
}

impl Aggregator {
    /// No trade yet. `intervals` are those that are kept.
    pub fn new(rules: Rules, intervals: &[Interval]) -> Self {
        let series = intervals.iter().map(|&interval| Series::new(interval)).collect();
        Self {
            rules,
            current: None,
            is_current_over: false,
            series,
            now: Timestamp(i64::MIN),
            watermark: Timestamp(i64::MIN),
            arrivals: 0,
            work: false,
            wake: Timestamp(i64::MAX),
            proof_changed: false,
        }
    }

    /// Folds a trade in. What it closes or corrects comes out of the next [`Aggregator::end_turn`].
    #[inline]
    pub fn on_trade(&mut self, trade: &Trade) -> Fold {
        self.arrivals += 1;
        let order = match self.rules.ids {
            IdRule::Contiguous => trade.id,
            // Time first; trades of one moment stand in the order of arrival, which `Candle::add` keeps for ties.
            IdRule::Unique | IdRule::Arrival => trade.ts_event.0.unsigned_abs(),
        };
        if let Some(current) = &mut self.current {
            let age = trade.ts_event.0 - current.open_time.0;
            if (0..SECOND).contains(&age) && !self.is_current_over {
                current.add(trade, order);
                self.watermark = self.watermark.max(trade.ts_event);
                return Fold::Applied;
            }
            if age < 0 || self.is_over(trade.ts_event) {
                return self.on_late(trade, order);
            }
        }
        self.next_second(trade, order);
        Fold::Applied
    }

    /// The trades of the hole were fetched or given up: candles may be proven now.
    pub fn on_proof(&mut self) {
        self.work = true;
        self.proof_changed = true;
    }

    /// Whether the minute of `ts` was taken over from the venue.
    fn is_corrected(&self, ts: Timestamp) -> bool {
        let minutes = self.series.iter().find(|series| series.interval == Interval::M1);
        let minute = minutes.and_then(|series| series.candles.get(series.index(ts)?));
        minute.is_some_and(|candle| candle.unknown.trades && ts < candle.close_time)
    }

    /// Whether the shortest candle of `ts` was closed by the clock before.
    fn is_over(&self, ts: Timestamp) -> bool {
        let candle = self.series.first().and_then(|series| series.candles.get(series.index(ts)?));
        candle.is_some_and(|candle| candle.is_closed)
    }

    /// Starts the second of `trade`; the one before goes into every series.
    fn next_second(&mut self, trade: &Trade, order: u64) {
        self.settle();
        let open_time = Interval::S1.open_time(trade.ts_event);
        for series in &mut self.series {
            series.advance(trade.ts_event, trade.price);
        }
        let mut current = Candle::flat(Interval::S1, open_time, trade.price);
        current.add(trade, order);
        self.current = Some(current);
        self.is_current_over = false;
        self.watermark = self.watermark.max(trade.ts_event);
        self.work = true;
    }

    /// Merges the current second into the series; it stays current, but empty.
    fn settle(&mut self) {
        let Some(current) = &mut self.current else { return };
        if current.is_flat() {
            return;
        }
        let done = std::mem::replace(current, Candle::flat(Interval::S1, current.open_time, current.close));
        for series in &mut self.series {
            if let Some(candle) = series.find(done.open_time) {
                candle.merge(&done);
                if candle.is_closed {
                    series.mark(done.open_time);
                }
            }
        }
    }

    fn on_late(&mut self, trade: &Trade, order: u64) -> Fold {
        let sealed_before = self.watermark.max(self.now).plus(-self.rules.late_window);
        let mut fold = Fold::Applied;
        if self.is_corrected(trade.ts_event) {
            return fold; // The venue's own minute holds it already.
        }
        for series in &mut self.series {
            let Some(candle) = series.index(trade.ts_event).and_then(|index| series.candles.get_mut(index)) else {
                match series.starts_after(trade.ts_event, sealed_before) {
                    true => series.prepend(trade, order),
                    false => fold = Fold::Late,
                }
                continue;
            };
            if candle.close_time <= sealed_before {
                fold = Fold::Late;
                continue;
            }
            candle.add(trade, order);
            let (closed, open_time) = (candle.is_closed, candle.open_time);
            if closed {
                series.mark(open_time);
            }
        }
        self.work = true;
        fold
    }

    /// Replaces a closed minute by the venue's own and mends the longer candles that hold it. A minute that the ids prove
    /// stays as it is. One that no candle is kept of, from the time before the start, goes into the longer ones.
    pub fn on_correction(&mut self, minute: &VenueCandle, proof: &Continuity) -> Fold {
        self.settle();
        let sealed_before = self.watermark.max(self.now).plus(-self.rules.late_window);
        let minutes = self.series.iter_mut().find(|series| series.interval == Interval::M1);
        let own = match minutes.and_then(|series| series.find(minute.open_time)) {
            Some(own) if own.close_time <= sealed_before => return Fold::Late,
            Some(own) if !own.unknown.trades && own.trades > 0 && proven(own, proof) != State::Partial => {
                return Fold::Applied;
            }
            Some(own) => *own,
            None => Candle::flat(Interval::M1, minute.open_time, minute.open),
        };
        for series in self.series.iter_mut().filter(|series| series.interval >= Interval::M1) {
            let Some(candle) = series.find(minute.open_time) else { continue };
            if candle.close_time <= sealed_before {
                continue;
            }
            candle.correct(&own, minute);
            let (closed, open_time) = (candle.is_closed, candle.open_time);
            if closed {
                series.mark(open_time);
            }
        }
        self.work = true;
        Fold::Applied
    }

    /// Ends a turn at `now`: opens the candles that time has reached, closes those that are over, and appends each
    /// closed or corrected candle to `out`.
    ///
    /// A candle closes when its end has passed and the ids prove it, or `close_delay` later in any case; `now` never
    /// goes back, so none closes twice.
    pub fn end_turn(&mut self, now: Timestamp, proof: &Continuity, out: &mut Vec<Candle>) {
        self.now = self.now.max(now);
        let time = self.now.max(self.watermark);
        let next_end = self.series.first().and_then(Series::next_end);
        if !self.work && self.wake > time && next_end.is_none_or(|end| end > time) {
            return;
        }
        self.settle();
        self.wake = Timestamp(i64::MAX);
        let sealed_before = time.plus(-self.rules.late_window);
        for series in &mut self.series {
            let Some(close) = series.newest().map(|candle| candle.close) else { continue };
            series.advance(time, close);
            // What closes or is corrected now may take the place of the candle that waits for its proof.
            series.prove_last(proof, out);
            if let Some(due) = series.close(time, self.rules.close_delay, proof, out) {
                self.wake = self.wake.min(due);
            }
            series.correct(proof, self.proof_changed.then_some(sealed_before), out);
            series.forget(sealed_before, self.rules.history);
        }
        self.is_current_over = self.current.as_ref().is_some_and(|current| self.is_over(current.open_time));
        self.proof_changed = false;
        self.work = false;
    }

    /// The candle of an interval that is open now, with the current second in it.
    pub fn open(&self, interval: Interval) -> Option<Candle> {
        let series = self.series.iter().find(|series| series.interval == interval)?;
        let mut candle = *series.newest()?;
        if let Some(current) = &self.current
            && (candle.open_time..candle.close_time).contains(&current.open_time)
        {
            candle.merge(current);
        }
        Some(candle)
    }

    /// The candles of an interval, oldest first, the open one last, at most `count`.
    pub fn latest(&self, interval: Interval, count: usize) -> Vec<Candle> {
        let Some(series) = self.series.iter().find(|series| series.interval == interval) else { return Vec::new() };
        let skip = series.candles.len().saturating_sub(count);
        let mut candles: Vec<_> = series.candles.iter().skip(skip).copied().collect();
        if let (Some(last), Some(open)) = (candles.last_mut(), self.open(interval)) {
            *last = open;
        }
        // The second that trades come in may lie in an ended candle that is not the newest one.
        if let Some(current) = self.current.as_ref().filter(|current| !current.is_flat()) {
            let holds = |candle: &&mut Candle| (candle.open_time..candle.close_time).contains(&current.open_time);
            if let Some(candle) = candles.iter_mut().rev().skip(1).find(holds) {
                candle.merge(current);
            }
        }
        candles
    }

    /// Takes out every candle that can change no more, in order of open time per interval: for offline use.
    pub fn take_sealed(&mut self, out: &mut Vec<Candle>) {
        let sealed_before = self.watermark.max(self.now).plus(-self.rules.late_window);
        for series in &mut self.series {
            while series.candles.len() > series.unclosed
                && let Some(candle) = series.candles.front().copied()
                && candle.close_time <= sealed_before
            {
                series.candles.pop_front();
                out.push(candle);
            }
        }
    }

    /// Closes every candle but the newest of each interval without waiting for a delay: for the end of an offline run.
    pub fn close_ended(&mut self, proof: &Continuity) {
        let mut changes = Vec::new();
        for series in &mut self.series {
            series.close(Timestamp(i64::MAX), 0, proof, &mut changes);
        }
    }

    /// Takes out everything that is left, open candles last: for the end of an offline run.
    pub fn take_rest(&mut self, out: &mut Vec<Candle>) {
        self.settle();
        for series in &mut self.series {
            out.extend(series.candles.drain(..));
            series.unclosed = 0;
        }
    }
}

impl Candle {
    /// Moves this candle from our minute to the venue's: exact for volumes, widening for high and low.
    fn correct(&mut self, own: &Self, minute: &VenueCandle) {
        if self.interval == Interval::M1 {
            let (revision, is_closed) = (self.revision, self.is_closed);
            self.replace(minute);
            (self.revision, self.is_closed) = (revision, is_closed);
            return;
        }
        let before = own.is_flat();
        if own.open_time == self.open_time || self.is_flat() || (!before && own.first_order == self.first_order) {
            self.open = minute.open;
        }
        if own.close_time == self.close_time || self.is_flat() || (!before && own.last_order == self.last_order) {
            self.close = minute.close;
        }
        let flat = self.is_flat();
        self.high = if flat { minute.high } else { self.high.max(minute.high) };
        self.low = if flat { minute.low } else { self.low.min(minute.low) };
        self.volume = (self.volume + minute.volume).saturating_sub(own.volume);
        match minute.quote_volume {
            Some(quote) => self.quote_volume = (self.quote_volume + quote).saturating_sub(own.quote_volume),
            None => self.unknown.quote = true,
        }
        match minute.buy_volume {
            Some(buy) => self.buy_volume = (self.buy_volume + buy).saturating_sub(own.buy_volume),
            None => self.unknown.sides = true,
        }
        self.trades = (self.trades + minute.trades.unwrap_or(0)).saturating_sub(own.trades);
        self.unknown.trades = true;
        self.mended = true;
        self.state = State::Repaired;
    }
}

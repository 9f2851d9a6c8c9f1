//! All candles of one symbol: folds trades into every interval, closes by clock and watermark, corrects by number.
//!
//! A trade only touches the candle of the current second; longer candles take that second in when it is over, or when
//! they are read. So a fold costs the same for one interval as for nineteen.

use std::collections::VecDeque;

use crate::{
    candle::{Candle, State},
    continuity::Continuity,
    interval::Interval,
    market::{IdRule, Price, Timestamp, Trade},
    message::VenueMinute,
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
    rules: Rules,
    /// The candle of the second that trades come in now; not yet in `series`.
    current: Option<Candle>,
    series: Vec<Series>,
    /// The latest moment known to have passed: of the clock or of a trade.
    now: Timestamp,
    watermark: Timestamp,
    arrivals: u64,
    /// Set when a trade or a proof may close or correct a candle.
    work: bool,
    /// When the first candle that waits for its proof closes without it.
    wake: Timestamp,
    proof_changed: bool,
}

/// The candles of one interval, oldest first; the last one is open.
#[derive(Debug)]
struct Series {
    interval: Interval,
    candles: VecDeque<Candle>,
    /// How many candles at the end are not closed yet: 1 or more once there is a trade.
    unclosed: usize,
    /// Open times of closed candles that were corrected in this turn.
    corrected: Vec<Timestamp>,
    /// Open time of the last candle that closed before a later trade proved its end.
    unproven: Option<Timestamp>,
}

impl Aggregator {
    /// No trade yet. `intervals` are those that are kept.
    pub fn new(rules: Rules, intervals: &[Interval]) -> Self {
        let series = intervals.iter().map(|&interval| Series::new(interval)).collect();
        Self {
            rules,
            current: None,
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
            if (0..SECOND).contains(&age) {
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

    /// Replaces a closed minute by the venue's own and mends the longer candles that hold it.
    pub fn on_correction(&mut self, minute: &VenueMinute) -> Fold {
        self.settle();
        let sealed_before = self.watermark.max(self.now).plus(-self.rules.late_window);
        let own = self.series.iter_mut().find(|series| series.interval == Interval::M1);
        let Some(own) = own.and_then(|series| series.find(minute.open_time)).map(|candle| *candle) else {
            return Fold::Late;
        };
        if own.close_time <= sealed_before {
            return Fold::Late;
        }
        for series in self.series.iter_mut().filter(|series| series.interval >= Interval::M1) {
            let Some(candle) = series.find(minute.open_time) else { continue };
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
        for series in &mut self.series {
            let Some(close) = series.candles.back().map(|candle| candle.close) else { continue };
            series.advance(time, close);
            if let Some(due) = series.close(time, self.rules.close_delay, proof, out) {
                self.wake = self.wake.min(due);
            }
            series.correct(proof, self.proof_changed, out);
            series.prove_last(proof, out);
            series.forget(time.plus(-self.rules.late_window), self.rules.history);
        }
        self.proof_changed = false;
        self.work = false;
    }

    /// The candle of an interval that is open now, with the current second in it.
    pub fn open(&self, interval: Interval) -> Option<Candle> {
        let series = self.series.iter().find(|series| series.interval == interval)?;
        let mut candle = *series.candles.back()?;
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
    fn correct(&mut self, own: &Self, minute: &VenueMinute) {
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

/// What the ids prove about a candle.
fn proven(candle: &Candle, proof: &Continuity) -> State {
    if candle.unknown.trades {
        return State::Repaired;
    }
    if candle.trades == 0 {
        return State::Flat;
    }
    let before = candle.first_id.checked_sub(1);
    if before.is_some_and(|before| proof.covers(before, candle.last_id.saturating_add(1))) {
        if candle.mended { State::Repaired } else { State::Complete }
    } else {
        State::Partial
    }
}

impl Series {
    fn new(interval: Interval) -> Self {
        Self { interval, candles: VecDeque::new(), unclosed: 0, corrected: Vec::new(), unproven: None }
    }

    /// When the newest candle ends.
    fn next_end(&self) -> Option<Timestamp> {
        self.candles.back().map(|candle| candle.close_time)
    }

    /// Opens candles until one holds `time`: flat ones at the last close, the first one at `price`.
    fn advance(&mut self, time: Timestamp, price: Price) {
        if self.candles.is_empty() {
            self.candles.push_back(Candle::flat(self.interval, self.interval.open_time(time), price));
            self.unclosed = 1;
        }
        while let Some(last) = self.candles.back()
            && last.close_time <= time
        {
            let next = Candle::flat(self.interval, last.close_time, last.close);
            self.candles.push_back(next);
            self.unclosed += 1;
        }
    }

    fn index(&self, ts: Timestamp) -> Option<usize> {
        let newest = self.candles.len().checked_sub(1)?;
        if self.candles.get(newest)?.open_time <= ts {
            return Some(newest);
        }
        let index = self.candles.partition_point(|candle| candle.open_time <= ts).checked_sub(1)?;
        (ts < self.candles.get(index)?.close_time).then_some(index)
    }

    fn find(&mut self, ts: Timestamp) -> Option<&mut Candle> {
        let index = self.index(ts)?;
        self.candles.get_mut(index)
    }

    /// Whether `ts` lies before the first candle, in one that could still be corrected.
    fn starts_after(&self, ts: Timestamp, sealed_before: Timestamp) -> bool {
        self.candles.front().is_some_and(|first| ts < first.open_time)
            && self.interval.close_time(self.interval.open_time(ts)) > sealed_before
    }

    /// Opens candles before the first one, for a trade that is older than all before it.
    fn prepend(&mut self, trade: &Trade, order: u64) {
        let target = self.interval.open_time(trade.ts_event);
        let mut fresh = Vec::new();
        let mut at = target;
        while self.candles.front().is_some_and(|first| at < first.open_time) {
            let candle = Candle::flat(self.interval, at, trade.price);
            at = candle.close_time;
            fresh.push(candle);
        }
        if let Some(first) = fresh.first_mut() {
            first.add(trade, order);
        }
        // They are over already: they close in this turn, before the candles that follow.
        let closed = self.candles.len() - self.unclosed;
        for mut candle in fresh.into_iter().rev() {
            if closed > 0 {
                candle.is_closed = true;
                candle.state = if candle.is_flat() { State::Flat } else { State::Partial };
                self.corrected.push(candle.open_time);
            } else {
                self.unclosed += 1;
            }
            self.candles.push_front(candle);
        }
    }

    fn mark(&mut self, open_time: Timestamp) {
        if !self.corrected.contains(&open_time) {
            self.corrected.push(open_time);
        }
    }

    /// Closes what is over; returns when the candle that waits for its proof is due, if one does.
    fn close(&mut self, time: Timestamp, delay: i64, proof: &Continuity, out: &mut Vec<Candle>) -> Option<Timestamp> {
        while self.unclosed > 1 {
            let index = self.candles.len() - self.unclosed;
            let previous = index.checked_sub(1).and_then(|before| self.candles.get(before)).map(|before| before.close);
            let Some(candle) = self.candles.get_mut(index) else { break };
            if candle.is_flat()
                && let Some(close) = previous
            {
                (candle.open, candle.high, candle.low, candle.close) = (close, close, close, close);
            }
            let state = proven(candle, proof);
            let certain = matches!(state, State::Complete | State::Repaired);
            let due = candle.close_time.plus(delay);
            if !certain && due > time {
                return Some(due);
            }
            candle.state = state;
            candle.is_closed = true;
            out.push(*candle);
            self.unproven = (state == State::Partial).then_some(candle.open_time).or(self.unproven);
            self.unclosed -= 1;
        }
        None
    }

    /// Gives corrected candles their next number; with `reprove`, every candle whose proof has changed as well.
    fn correct(&mut self, proof: &Continuity, reprove: bool, out: &mut Vec<Candle>) {
        if reprove {
            for candle in self.candles.iter().filter(|candle| candle.is_closed) {
                let state = proven(candle, proof);
                if candle.state == State::Partial && state != State::Partial {
                    self.corrected.push(candle.open_time);
                }
            }
        }
        if self.corrected.is_empty() {
            return;
        }
        self.corrected.sort_unstable();
        self.corrected.dedup();
        let corrected = std::mem::take(&mut self.corrected);
        for open_time in &corrected {
            let Some(candle) = self.find(*open_time) else { continue };
            candle.state = proven(candle, proof);
            candle.revision += 1;
            out.push(*candle);
        }
        self.reflow(&corrected, out);
    }

    /// Flat candles behind a corrected one repeat its close: they are corrected with it.
    fn reflow(&mut self, corrected: &[Timestamp], out: &mut Vec<Candle>) {
        let mut changed: Vec<Candle> = Vec::new();
        for open_time in corrected {
            let Some(mut index) = self.index(*open_time) else { continue };
            let Some(close) = self.candles.get(index).map(|candle| candle.close) else { continue };
            index += 1;
            while let Some(candle) = self.candles.get_mut(index)
                && candle.is_flat()
                && candle.close != close
            {
                (candle.open, candle.high, candle.low, candle.close) = (close, close, close, close);
                if candle.is_closed {
                    candle.revision += 1;
                    changed.push(*candle);
                }
                index += 1;
            }
        }
        out.extend(changed);
    }

    /// The last candle with a trade may have closed before the next trade proved its end: looks once more.
    fn prove_last(&mut self, proof: &Continuity, out: &mut Vec<Candle>) {
        let Some(candle) = self.unproven.and_then(|open_time| self.find(open_time)) else { return };
        let state = proven(candle, proof);
        if state == State::Partial {
            return;
        }
        if candle.state == State::Partial {
            candle.state = state;
            candle.revision += 1;
            out.push(*candle);
        }
        self.unproven = None;
    }

    fn forget(&mut self, sealed_before: Timestamp, history: usize) {
        while self.candles.len() - self.unclosed > history
            && self.candles.front().is_some_and(|candle| candle.close_time <= sealed_before)
        {
            self.candles.pop_front();
        }
        // A sealed candle stays as it is, also when its proof comes at last.
        let sealed = |open_time| self.interval.close_time(open_time) <= sealed_before;
        self.unproven = self.unproven.filter(|open_time| !sealed(*open_time));
    }
}

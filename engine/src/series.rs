//! The candles of one interval of one symbol: opened by time, closed by proof or delay, corrected by number.

use std::collections::VecDeque;

use crate::{
    candle::{Candle, State},
    continuity::Continuity,
    interval::Interval,
    market::{Price, Timestamp, Trade},
};

/// The candles of one interval, oldest first; the last one is open. After a start that came long after the end of the run before
/// there are closed ones alone, until a trade comes.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) interval: Interval,
    pub(crate) candles: VecDeque<Candle>,
    /// How many candles at the end are not closed yet: 1 or more once there is a trade of this run.
    pub(crate) unclosed: usize,
    /// Open times of closed candles that were corrected in this turn.
    pub(crate) corrected: Vec<Timestamp>,
    /// Open time of the last candle that closed before a later trade proved its end.
    pub(crate) unproven: Option<Timestamp>,
}

impl Series {
    pub(crate) fn new(interval: Interval) -> Self {
        Self { interval, candles: VecDeque::new(), unclosed: 0, corrected: Vec::new(), unproven: None }
    }

    /// When the newest candle ends.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        self.newest().map(|candle| candle.close_time)
    }

    /// The candle that is open now.
    pub(crate) fn newest(&self) -> Option<&Candle> {
        self.candles.back().filter(|_| self.unclosed > 0)
    }

    /// Opens candles until one holds `time`: flat ones at the last close, the first one at `price`.
    pub(crate) fn advance(&mut self, time: Timestamp, price: Price) {
        if self.unclosed == 0 {
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

    pub(crate) fn index(&self, ts: Timestamp) -> Option<usize> {
        if self.newest().is_some_and(|newest| newest.open_time <= ts) {
            return self.candles.len().checked_sub(1);
        }
        let index = self.candles.partition_point(|candle| candle.open_time <= ts).checked_sub(1)?;
        (ts < self.candles.get(index)?.close_time).then_some(index)
    }

    pub(crate) fn find(&mut self, ts: Timestamp) -> Option<&mut Candle> {
        let index = self.index(ts)?;
        self.candles.get_mut(index)
    }

    /// Whether `ts` lies before the first candle, in one that could still be corrected.
    pub(crate) fn starts_after(&self, ts: Timestamp, sealed_before: Timestamp) -> bool {
        self.candles.front().is_some_and(|first| ts < first.open_time)
            && self.interval.close_time(self.interval.open_time(ts)) > sealed_before
    }

    /// Opens candles before the first one, for a trade that is older than all before it.
    pub(crate) fn prepend(&mut self, trade: &Trade, order: u64) {
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

    pub(crate) fn mark(&mut self, open_time: Timestamp) {
        if !self.corrected.contains(&open_time) {
            self.corrected.push(open_time);
        }
    }

    /// Closes what is over; returns when the candle that waits for its proof is due, if one does.
    pub(crate) fn close(
        &mut self,
        time: Timestamp,
        delay: i64,
        proof: &Continuity,
        out: &mut Vec<Candle>,
    ) -> Option<Timestamp> {
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
            let waits = state == State::Partial && !candle.is_flat();
            self.unproven = waits.then_some(candle.open_time).or(self.unproven);
            self.unclosed -= 1;
        }
        None
    }

    /// Gives corrected candles their next number; with `reprove_after`, every candle that ended later and whose proof has
    /// changed as well: what was unproven and is proven, and what was called flat before a hole was found in its time. One
    /// that ended before takes no late trade any more: that its id is known says nothing of the candle.
    pub(crate) fn correct(&mut self, proof: &Continuity, reprove_after: Option<Timestamp>, out: &mut Vec<Candle>) {
        if let Some(sealed_before) = reprove_after {
            let may_change = |candle: &&Candle| candle.is_closed && candle.close_time > sealed_before;
            for candle in self.candles.iter().filter(may_change) {
                let state = proven(candle, proof);
                let is_flat = candle.state == State::Flat;
                if candle.state != state && (candle.state == State::Partial || is_flat && state == State::Partial) {
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
            let waits = candle.state == State::Partial && !candle.is_flat();
            self.unproven = self.unproven.max(waits.then_some(*open_time));
        }
        self.reflow(&corrected, out);
    }

    /// Flat candles behind a corrected one repeat its close: they are corrected with it.
    pub(crate) fn reflow(&mut self, corrected: &[Timestamp], out: &mut Vec<Candle>) {
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
    pub(crate) fn prove_last(&mut self, proof: &Continuity, out: &mut Vec<Candle>) {
        let waits = self.unproven.filter(|open_time| !self.corrected.contains(open_time));
        let Some(candle) = waits.and_then(|open_time| self.find(open_time)) else { return };
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

    pub(crate) fn forget(&mut self, sealed_before: Timestamp, history: usize) {
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

/// What the ids prove about a candle.
pub(crate) fn proven(candle: &Candle, proof: &Continuity) -> State {
    if candle.torn {
        return State::Partial;
    }
    if candle.unknown.trades {
        return State::Repaired;
    }
    if candle.trades == 0 {
        // While the feed is cut, no trade says nothing.
        return if proof.doubts(candle.open_time, candle.close_time) { State::Partial } else { State::Flat };
    }
    let before = candle.first_id.checked_sub(1);
    if before.is_some_and(|before| proof.covers(before, candle.last_id.saturating_add(1))) {
        if candle.mended { State::Repaired } else { State::Complete }
    } else {
        State::Partial
    }
}

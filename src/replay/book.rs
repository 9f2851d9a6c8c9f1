//! One fold per symbol, and the order of everything that they give out.

use std::{collections::HashMap, sync::Arc};

use engine::{
    candle::Candle,
    fold::{Fold, Outcome},
    interval::Interval,
    market::{Instrument, Symbol, Timestamp, Trade},
};

use super::{TradeSink, merge::Merge, tally::Tally};

/// The most candles of the shortest interval that may pass between two trades: a wrong time would fill memory with flat
/// ones. 11 days of seconds, almost 2 years of minutes.
const JUMP_CANDLES_MAX: i64 = 1_000_000;
/// Candles close this long after their end, as in a running system by default; offline it only decides when.
const CLOSE_DELAY_MS: i64 = 1000;

/// All symbols of a replay.
pub struct Book {
    intervals: Vec<Interval>,
    late_window_ms: i64,
    jump_max: i64,
    by_symbol: HashMap<Symbol, usize>,
    lanes: Vec<Lane>,
    merge: Merge,
    sealed: Vec<Candle>,
}

struct Lane {
    label: Box<str>,
    instrument: Arc<Instrument>,
    fold: Fold,
    last: Option<Timestamp>,
    touched: bool,
}

impl Book {
    /// Without symbols.
    pub fn new(intervals: &[Interval], late_window_ms: i64) -> Self {
        let mut intervals = intervals.to_vec();
        intervals.sort_unstable();
        intervals.dedup();
        let shortest = intervals.first().map_or(1, |interval| interval.nanos().unwrap_or(28 * 86_400_000_000_000));
        Self {
            merge: Merge::new(intervals.clone()),
            jump_max: shortest.saturating_mul(JUMP_CANDLES_MAX),
            intervals,
            late_window_ms,
            by_symbol: HashMap::new(),
            lanes: Vec::new(),
            sealed: Vec::new(),
        }
    }

    /// Adds a symbol. All must be there before the first trade, so that the order of the output is known.
    pub fn add(&mut self, symbol: Symbol, label: &str, instrument: &Arc<Instrument>) {
        let fold = Fold::new(instrument, &self.intervals, self.late_window_ms, CLOSE_DELAY_MS);
        self.by_symbol.insert(symbol, self.lanes.len());
        self.merge.add(label);
        let instrument = Arc::clone(instrument);
        self.lanes.push(Lane { label: label.into(), instrument, fold, last: None, touched: false });
    }

    /// Ends the input: all candles are ready.
    pub fn finish(&mut self) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            self.sealed.clear();
            if lane.touched {
                lane.fold.finish(&mut self.sealed);
            }
            self.merge.extend(index, &self.sealed);
            self.merge.end(index);
        }
    }

    /// Hands out the candles whose turn has come, in order of open time, then interval, then symbol.
    pub fn pump(&mut self, mut each: impl FnMut(&Candle, &Instrument, &str)) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            self.sealed.clear();
            lane.fold.drain(&mut self.sealed);
            self.merge.extend(index, &self.sealed);
        }
        while let Some((index, candle)) = self.merge.pop() {
            if let Some(lane) = self.lanes.get(index) {
                each(&candle, &lane.instrument, &lane.label);
            }
        }
    }
}

impl TradeSink for Book {
    fn on_trade(&mut self, trade: &Trade, line: u64, tally: &mut Tally) {
        let index = self.by_symbol.get(&trade.symbol).copied();
        let Some((index, lane)) = index.and_then(|index| Some((index, self.lanes.get_mut(index)?))) else {
            return tally.refuse("unknown_symbol", line);
        };
        match lane.last {
            Some(last) if trade.ts_event.0.saturating_sub(last.0) > self.jump_max => {
                return tally.refuse("time_jump", line);
            }
            Some(last) => lane.last = Some(last.max(trade.ts_event)),
            None => lane.last = Some(trade.ts_event),
        }
        let outcome = lane.fold.on_trade(trade);
        if !lane.touched && outcome != Outcome::Anchor {
            self.merge.begin(index, trade.ts_event.plus(-self.late_window_ms.saturating_mul(1_000_000)));
        }
        lane.touched |= outcome != Outcome::Anchor;
        tally.outcome(trade, outcome);
    }
}

//! One symbol offline: recorded trades to candles at full speed, with time taken from the data.

use crate::{
    aggregator::{Aggregator, Fold as Folded, Rules},
    candle::Candle,
    continuity::{Continuity, Seen},
    interval::Interval,
    market::{Instrument, Origin, Timestamp, Trade},
};

/// What became of a recorded trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in its candles.
    Applied,
    /// Its id was there before.
    Duplicate,
    /// It came after the late window of a candle, which stays as it is.
    Late,
    /// A backlog trade before the first live one: it anchors the id chain and opens no candle.
    Anchor,
}

/// Continuity and candles of one symbol, driven by the times of its trades.
#[derive(Debug)]
pub struct Fold {
    continuity: Continuity,
    aggregator: Aggregator,
    second: i64,
    changes: Vec<Candle>,
    started: bool,
}

impl Fold {
    /// Nothing folded yet. `intervals` in rising order; times in milliseconds, as in the configuration.
    pub fn new(instrument: &Instrument, intervals: &[Interval], late_window_ms: i64, close_delay_ms: i64) -> Self {
        let rules = Rules {
            late_window: late_window_ms.saturating_mul(1_000_000),
            close_delay: close_delay_ms.saturating_mul(1_000_000),
            ids: instrument.ids,
            // What can change no more is taken out, so nothing may be forgotten before.
            history: usize::MAX,
        };
        Self {
            continuity: Continuity::new(instrument.ids),
            aggregator: Aggregator::new(rules, intervals),
            second: i64::MIN,
            changes: Vec::new(),
            started: false,
        }
    }

    /// Folds a trade in.
    pub fn on_trade(&mut self, trade: &Trade) -> Outcome {
        let seen = self.continuity.observe(trade);
        if seen == Seen::Duplicate {
            return Outcome::Duplicate;
        }
        if trade.origin == Origin::Backlog && !self.started {
            return Outcome::Anchor;
        }
        self.started = true;
        if seen == Seen::Fill {
            self.aggregator.on_proof();
        }
        let folded = self.aggregator.on_trade(trade);
        let second = trade.ts_event.0.div_euclid(1_000_000_000);
        if second > self.second {
            self.second = second;
            self.end_turn(trade.ts_event);
        }
        match folded {
            Folded::Applied => Outcome::Applied,
            Folded::Late => Outcome::Late,
        }
    }

    fn end_turn(&mut self, now: Timestamp) {
        self.changes.clear();
        self.aggregator.end_turn(now, &self.continuity, &mut self.changes);
    }

    /// Appends the candles that can change no more, in order of time for each interval.
    pub fn drain(&mut self, out: &mut Vec<Candle>) {
        self.aggregator.take_sealed(out);
    }

    /// Ends the input: appends all other candles; the last one of each interval is not closed.
    pub fn finish(&mut self, out: &mut Vec<Candle>) {
        self.aggregator.on_proof();
        self.end_turn(Timestamp(i64::MIN));
        self.aggregator.close_ended(&self.continuity);
        self.aggregator.take_rest(out);
    }
}

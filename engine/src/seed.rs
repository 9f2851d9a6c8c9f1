//! What is known of a symbol from before the start: its candles go on as if the program had not ended.

use crate::{
    aggregator::Aggregator,
    candle::{Candle, State},
    continuity::Continuity,
    interval::Interval,
    market::{IdRule, Symbol, Timestamp, Trade},
    series::Series,
};

/// Closed candles and the newest trades of an earlier run. It must reach a shard before the symbol's first trade.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Which instrument.
    pub symbol: Symbol,
    /// The present.
    pub now: Timestamp,
    /// Closed candles of any intervals, in rising order of time within each.
    pub candles: Vec<Candle>,
    /// The newest trades, in the order in which they came.
    pub trades: Vec<Trade>,
}

impl Aggregator {
    /// Takes closed candles of an earlier run over, and opens the candles that they are part of. Returns up to which moment
    /// they tell everything; `None` if there are none, or trades came already.
    ///
    /// Where the time since then is longer than the late window, the candles of short intervals begin anew: they could not be
    /// corrected any more.
    pub(crate) fn seed(&mut self, seed: &Seed, proof: &mut Continuity) -> Option<Timestamp> {
        let ended = |candle: &&Candle| candle.is_closed && candle.close_time <= seed.now;
        let end = seed.candles.iter().filter(ended).map(|candle| candle.close_time).max()?;
        if self.current.is_some() {
            return None;
        }
        for candle in seed.candles.iter().filter(ended) {
            let Some(series) = self.series.iter_mut().find(|series| series.interval == candle.interval) else {
                continue;
            };
            let is_next = series.candles.back().is_none_or(|last| last.close_time <= candle.open_time);
            if is_next {
                series.candles.push_back(ordered(candle, self.rules.ids));
            }
            if matches!(candle.state, State::Complete | State::Repaired) && !candle.unknown.trades && candle.trades > 0
            {
                proof.cover(candle.first_id.saturating_sub(1), candle.last_id);
            }
        }
        let price =
            self.series.iter().filter_map(|series| series.candles.back()).max_by_key(|last| last.close_time)?.close;
        let opened: Vec<_> = self.series.iter().map(|series| self.open_at(series.interval, end)).collect();
        for (series, open) in self.series.iter_mut().zip(opened) {
            let is_stale = open.close_time.plus(self.rules.late_window) <= seed.now;
            let fresh = Candle::flat(series.interval, series.interval.open_time(seed.now), price);
            series.candles.push_back(if is_stale { fresh } else { open });
            series.unclosed = 1;
        }
        self.watermark = end.plus(-1);
        // What comes for the time before is late, what comes for this second or a later one is not.
        self.current = Some(Candle::flat(Interval::S1, Interval::S1.open_time(end), price));
        self.work = true;
        Some(end)
    }

    /// The open candle of an interval at `end`, made of the longest closed candles that lie in it.
    fn open_at(&self, interval: Interval, end: Timestamp) -> Candle {
        let open_time = interval.open_time(end);
        let mut open: Option<Candle> = None;
        let mut at = open_time;
        let mut torn = false;
        let shorter = || self.series.iter().rev().filter(|series| series.interval < interval);
        while at < end {
            let fits = |series: &Series| {
                let index = series.candles.partition_point(|candle| candle.open_time < at);
                series.candles.get(index).filter(|candle| candle.is_closed && candle.close_time <= end).copied()
            };
            // Nearest first, then longest.
            let Some(part) = shorter().filter_map(fits).min_by_key(|part| part.open_time) else { break };
            torn |= part.open_time > at;
            at = part.close_time;
            let own = open.get_or_insert_with(|| Candle::flat(interval, open_time, part.open));
            if own.is_flat() && part.is_flat() {
                (own.open, own.high, own.low, own.close) = (part.close, part.close, part.close, part.close);
            }
            own.merge(&part);
        }
        let close = || self.series.iter().filter_map(|series| series.candles.back()).max_by_key(|last| last.close_time);
        let mut open = open.unwrap_or_else(|| {
            Candle::flat(interval, open_time, close().map_or_else(Default::default, |last| last.close))
        });
        (open.is_closed, open.revision, open.torn) = (false, 0, open.torn | torn | (at < end));
        open
    }
}

/// A stored candle does not tell which place its trades had: all of them come before what follows.
fn ordered(candle: &Candle, ids: IdRule) -> Candle {
    let (first_order, last_order) = match ids {
        IdRule::Contiguous if !candle.unknown.trades => (candle.first_id, candle.last_id),
        _ => (candle.open_time.0.unsigned_abs(), candle.close_time.0.unsigned_abs().saturating_sub(1)),
    };
    Candle { first_order, last_order, mended: candle.state == State::Repaired, ..*candle }
}

//! What is known of a symbol from before the start: its candles go on as if the program had not ended.

use crate::{
    aggregator::Aggregator,
    candle::{Candle, State},
    continuity::Continuity,
    interval::Interval,
    market::{IdRule, Price, Symbol, Timestamp, Trade},
    series::Series,
};

const SECOND: i64 = 1_000_000_000;

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
    /// Where the time since then is longer than the late window, short intervals keep their closed candles and begin anew with the
    /// next trade: what lies between could not be corrected any more.
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
            if series.candles.back().is_none_or(|last| last.close_time <= candle.open_time) {
                let kept = ordered(candle, self.rules.ids, series.candles.back());
                series.candles.push_back(kept);
                let waits = kept.state == State::Partial && !kept.is_flat();
                series.unproven = waits.then_some(kept.open_time).or(series.unproven);
            }
            // What is in a candle must not be counted again, also where its trades did not reach the store.
            if candle.trades > 0 && !candle.unknown.trades {
                let is_proven = matches!(candle.state, State::Complete | State::Repaired);
                proof.cover(candle.first_id.saturating_sub(u64::from(is_proven)), candle.last_id);
            }
        }
        let first = seed.candles.iter().filter(ended).map(|candle| candle.open_time).min()?;
        let opened: Vec<_> = self.series.iter().map(|series| self.opened(series, first, end, seed.now)).collect();
        for (series, opened) in self.series.iter_mut().zip(opened) {
            series.unclosed = opened.len();
            series.candles.extend(opened);
        }
        let is_recent = end.plus(self.rules.late_window) > seed.now;
        // What comes for a time before this second is late: it is added to the candles that it still can be added to.
        let second = Interval::S1.open_time(if is_recent { end } else { seed.now });
        self.current = Some(Candle::flat(Interval::S1, second, self.last_close()?));
        self.watermark = end.plus(-1);
        self.on_proof();
        Some(end)
    }

    fn last_close(&self) -> Option<Price> {
        let newest = self.series.iter().filter_map(|series| series.candles.back());
        newest.max_by_key(|candle| candle.close_time).map(|candle| candle.close)
    }

    /// The candles of a series that were not closed yet at `end`: the open one, and before it those that were over but waited for
    /// their proof or the clock.
    fn opened(&self, series: &Series, first: Timestamp, end: Timestamp, now: Timestamp) -> Vec<Candle> {
        let interval = series.interval;
        let can_change = |open_time: &Timestamp| interval.close_time(*open_time).plus(self.rules.late_window) > now;
        let next = series.candles.back().map_or_else(|| interval.open_time(first), |last| last.close_time);
        let mut at = Some(next).filter(can_change).unwrap_or_else(|| interval.open_time(end));
        let mut opened = Vec::new();
        while at <= end && can_change(&at) {
            let close = opened.last().map_or_else(|| self.last_close(), |last: &Candle| Some(last.close));
            let Some(close) = close else { break };
            opened.push(self.part_at(interval, at, end, close));
            at = interval.close_time(at);
        }
        opened
    }

    /// What the closed shorter candles up to `end` tell of the candle at `open_time`, the longest of them first.
    fn part_at(&self, interval: Interval, open_time: Timestamp, end: Timestamp, close: Price) -> Candle {
        let end = interval.close_time(open_time).min(end);
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
        let mut open = open.unwrap_or_else(|| Candle::flat(interval, open_time, close));
        // Candles without trades wait for the clock, so the last ones may not have closed.
        torn |= at.plus(self.rules.close_delay.saturating_add(SECOND)) < end;
        (open.is_closed, open.revision, open.torn) = (false, 0, open.torn | torn);
        open
    }
}

/// A stored candle does not tell which place its trades had: they come behind those of the candle before it.
fn ordered(candle: &Candle, ids: IdRule, before: Option<&Candle>) -> Candle {
    let (first_order, last_order) = match ids {
        IdRule::Contiguous if candle.trades > 0 && !candle.unknown.trades => (candle.first_id, candle.last_id),
        IdRule::Contiguous => [before.map_or(0, |before| before.last_order); 2].into(),
        IdRule::Unique | IdRule::Arrival => {
            (candle.open_time.0.unsigned_abs(), candle.close_time.0.unsigned_abs().saturating_sub(1))
        }
    };
    // Which ids a candle with a hole has is not known: nothing can prove it any more.
    let torn = ids == IdRule::Contiguous && has_hole(candle);
    Candle { first_order, last_order, mended: candle.state == State::Repaired, torn, ..*candle }
}

/// Whether trades are missing between the first and the last of a candle.
pub(crate) fn has_hole(candle: &Candle) -> bool {
    let known = candle.trades > 0 && !candle.unknown.trades;
    known && candle.trades <= candle.last_id.saturating_sub(candle.first_id)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        market::{Directory, Instrument, Origin, Price, Quantity, Side, Venue},
        message::{Input, Outputs},
        number::Scale,
        shard::{Shard, ShardConfig},
    };

    /// 2024-08-08 23:57: a minute, an hour, a day and more end soon.
    const START: i64 = 1_723_161_420 * SECOND;

    type Closed = BTreeMap<(Interval, Timestamp), Candle>;

    fn shard() -> Shard {
        let mut directory = Directory::new();
        let scale = Scale::new(2).unwrap();
        let ids = IdRule::Contiguous;
        let instrument =
            Instrument { venue: Venue::Sim, name: "S".into(), price_scale: scale, quantity_scale: scale, ids };
        let symbol = directory.register(None, instrument).unwrap();
        Shard::new(Arc::new(directory), [symbol].into_iter(), ShardConfig { keeps: true, ..ShardConfig::default() })
    }

    fn trade(id: u64, ts: i64, price: i64, origin: Origin) -> Trade {
        Trade {
            symbol: Symbol(0),
            first_id: id,
            id,
            trades: 1,
            ts_event: Timestamp(ts),
            ts_recv: Timestamp(ts),
            price: Price(price),
            quantity: Quantity(1 + price % 7),
            side: if price % 2 == 0 { Side::Buy } else { Side::Sell },
            origin,
        }
    }

    /// Feeds inputs at their times, with a turn after each, and notes what closes: the last word on each candle counts.
    fn run(shard: &mut Shard, inputs: impl IntoIterator<Item = (i64, Input)>, closed: &mut Closed) {
        let mut out = Outputs::default();
        for (now, input) in inputs {
            shard.on_input(input);
            shard.end_turn(Timestamp(now), &mut out);
            for (_, candle) in out.closed.drain(..) {
                let key = (candle.interval, candle.open_time);
                assert!(closed.get(&key).is_none_or(|before| before.revision < candle.revision), "{candle:?}");
                closed.insert(key, candle);
            }
        }
    }

    /// What both runs must agree on: the values, not the way to them.
    fn values(closed: &Closed, until: i64) -> Vec<String> {
        let over = closed.values().filter(|candle| candle.close_time.0 <= until);
        let text = |candle: &Candle| {
            let Candle { open, high, low, close, volume, quote_volume, buy_volume, trades, first_id, last_id, .. } =
                candle;
            let ids = if *trades > 0 { (*first_id, *last_id) } else { (0, 0) };
            let sums = (volume, quote_volume, buy_volume, trades, ids);
            let state = if candle.state == State::Repaired { State::Complete } else { candle.state };
            format!(
                "{} {} {open:?} {high:?} {low:?} {close:?} {sums:?} {state:?}",
                candle.interval.name(),
                candle.open_time.0
            )
        };
        over.map(text).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        /// A run that is killed and goes on from what was kept, with the trades that it missed fetched late, ends with the
        /// candles of a run that was not killed.
        #[test]
        fn prop_a_killed_run_ends_with_the_candles_of_an_undisturbed_one(
            steps in proptest::collection::vec((0..4 * SECOND, 1_i64..1000), 20..150),
            killed_at in 0.0_f64..1.0,
            missed in 0_usize..12,
            kept in 0.0_f64..1.0,
        ) {
            let mut ts = START;
            let mut trades = Vec::new();
            for (id, (step, price)) in (100..).zip(&steps) {
                ts += step;
                trades.push(trade(id, ts, *price, Origin::Live));
            }
            let end = ts + 400 * SECOND;
            let live = |trade: &Trade| (trade.ts_event.0 + 1000, Input::Trade(*trade));
            let mark = (end, Input::Proof { symbol: Symbol(0), last_id: 0 });
            let mut whole = Closed::new();
            run(&mut shard(), trades.iter().map(live).chain([mark.clone()]), &mut whole);

            let cut = ((trades.len() - 1) as f64 * killed_at) as usize + 1;
            let mut closed = Closed::new();
            run(&mut shard(), trades[..cut].iter().map(live), &mut closed);
            // Trades reach the store later than candles do: the last ones may be lost with the process, also those of closed candles.
            let stored = (cut as f64 * kept) as usize;
            let back = (cut + missed).min(trades.len());
            let now = Timestamp(trades.get(back).map_or(ts, |trade| trade.ts_event.0));
            let mut candles: Vec<_> = closed.values().copied().collect();
            // A store does not keep these.
            candles.iter_mut().for_each(|candle| (candle.first_order, candle.last_order, candle.mended) = (0, 0, false));
            let since = candles.iter().map(|candle| candle.close_time).max();
            let seed = Seed { symbol: Symbol(0), now, candles, trades: trades[..stored].to_vec() };
            let mut again = shard();
            let down = Input::FeedDown { symbols: [Symbol(0)].into(), since: since.unwrap_or(now) };
            let repair = trades[stored..back].iter().map(|trade| Trade { origin: Origin::Repair, ..*trade });
            let before = [(now.0, Input::Seed(seed.into())), (now.0, down), (now.0, Input::FeedUp { symbols: [Symbol(0)].into() })];
            let rest = trades[back..].iter().map(live);
            let inputs = before.into_iter().chain(rest.clone().take(1)).chain(repair.map(|trade| (now.0 + 2000, Input::Trade(trade))));
            run(&mut again, inputs.chain(rest.skip(1)).chain([mark]), &mut closed);
            // What was open when the very first trade of all came has no proof in either run.
            let (got, want) = (values(&closed, end), values(&whole, end));
            for (got, want) in got.iter().zip(&want) {
                prop_assert_eq!(got, want);
            }
            prop_assert_eq!(got.len(), want.len());
        }
    }
}

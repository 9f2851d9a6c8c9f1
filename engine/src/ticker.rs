//! The last price of a symbol and its last 24 hours, by the minute.

use std::collections::VecDeque;

use crate::{
    candle::Candle,
    market::{Price, Timestamp, Trade},
};

const MINUTE: i64 = 60_000_000_000;
const DAY_MINUTES: i64 = 1440;

/// The last price and a rolling day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticker {
    /// Time of the newest trade.
    pub ts_event: Timestamp,
    /// Its price.
    pub last: Price,
    /// First price of the window.
    pub open: Price,
    /// Highest price of the window.
    pub high: Price,
    /// Lowest price of the window.
    pub low: Price,
    /// Sum of quantities.
    pub volume: u128,
    /// Sum of price × quantity.
    pub quote_volume: u128,
    /// Where the window starts: 24 hours ago, or the first trade seen if that is later.
    pub since: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    start: i64,
    open: Price,
    high: Price,
    low: Price,
    volume: u128,
    quote_volume: u128,
}

/// The minutes that a [`Ticker`] is made of.
#[derive(Debug, Default)]
pub struct Day {
    minutes: VecDeque<Minute>,
    last: Option<(Timestamp, Price)>,
}

impl Day {
    /// Adds a trade. One that is older than the newest minute counts there, if its minute is still in the window.
    pub fn on_trade(&mut self, trade: &Trade) {
        let start = trade.ts_event.0.div_euclid(MINUTE) * MINUTE;
        if self.last.is_none_or(|(ts, _)| trade.ts_event >= ts) {
            self.last = Some((trade.ts_event, trade.price));
        }
        let newest = self.minutes.back().map_or(i64::MIN, |minute| minute.start);
        if start > newest {
            let price = trade.price;
            self.minutes.push_back(Minute { start, open: price, high: price, low: price, volume: 0, quote_volume: 0 });
            self.forget(start);
        }
        let index = if start >= newest {
            self.minutes.len().checked_sub(1)
        } else {
            self.minutes.binary_search_by_key(&start, |minute| minute.start).ok()
        };
        let Some(minute) = index.and_then(|index| self.minutes.get_mut(index)) else { return };
        minute.high = minute.high.max(trade.price);
        minute.low = minute.low.min(trade.price);
        minute.volume += u128::from(trade.quantity.0.unsigned_abs());
        minute.quote_volume += trade.notional();
    }

    /// Adds a minute of an earlier run, before the first trade of this one.
    pub(crate) fn on_minute(&mut self, candle: &Candle) {
        let start = candle.open_time.0;
        let is_next = self.minutes.back().is_none_or(|last| last.start < start);
        if candle.is_flat() || !is_next {
            return;
        }
        let Candle { open, high, low, close, volume, quote_volume, close_time, .. } = *candle;
        self.minutes.push_back(Minute { start, open, high, low, volume, quote_volume });
        self.last = Some((close_time.plus(-1), close));
        self.forget(start);
    }

    fn forget(&mut self, newest: i64) {
        while self.minutes.front().is_some_and(|minute| minute.start <= newest - DAY_MINUTES * MINUTE) {
            self.minutes.pop_front();
        }
    }

    /// The ticker at `now`; `None` before the first trade.
    pub fn ticker(&mut self, now: Timestamp) -> Option<Ticker> {
        let (ts_event, last) = self.last?;
        self.forget(now.0.div_euclid(MINUTE) * MINUTE);
        let first = self.minutes.front().copied();
        let since = Timestamp(first.map_or(ts_event.0, |minute| minute.start));
        let open = first.map_or(last, |minute| minute.open);
        let mut ticker = Ticker { ts_event, last, open, high: last, low: last, volume: 0, quote_volume: 0, since };
        for minute in &self.minutes {
            ticker.high = ticker.high.max(minute.high);
            ticker.low = ticker.low.min(minute.low);
            ticker.volume += minute.volume;
            ticker.quote_volume += minute.quote_volume;
        }
        Some(ticker)
    }
}

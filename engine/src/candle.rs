//! One candle: the fold of the trades in `[open_time, close_time)`, with the facts that prove it.

use crate::{
    interval::Interval,
    market::{Origin, Price, Side, Timestamp, Trade},
    message::VenueCandle,
};

/// How much a candle proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The venue's ids prove that no trade is missing.
    Complete,
    /// A trade may be missing.
    Partial,
    /// A hole was filled from the venue afterwards.
    Repaired,
    /// No trade: all prices are the previous close.
    Flat,
}

impl State {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Repaired => "repaired",
            Self::Flat => "flat",
        }
    }
}

/// Facts of a candle that its source does not tell; they are `null` on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Taker sides.
    pub sides: bool,
    /// Number and ids of trades: the values are the venue's own candle.
    pub trades: bool,
    /// Quote volume, and with it the mean price.
    pub quote: bool,
}

/// A law of candles that one from outside breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It does not open where a candle of its interval does.
    OffGrid,
    /// A price below zero.
    NegativePrice,
    /// A price of zero.
    ZeroPrice,
    /// The high is below another price.
    High,
    /// The low is above another price.
    Low,
    /// Takers bought more than was traded.
    BuyVolume,
}

impl Flaw {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OffGrid => "off_grid",
            Self::NegativePrice => "negative_price",
            Self::ZeroPrice => "zero_price",
            Self::High => "high_below_a_price",
            Self::Low => "low_above_a_price",
            Self::BuyVolume => "buy_volume_above_volume",
        }
    }
}

/// Open, high, low, close and volume of an interval. Prices are in the price scale, volumes in the quantity scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candle {
    /// How long it is.
    pub interval: Interval,
    /// Its first moment.
    pub open_time: Timestamp,
    /// The first moment behind it.
    pub close_time: Timestamp,
    /// Price of the first trade, or the previous close.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Price of the last trade, or the previous close.
    pub close: Price,
    /// Sum of quantities.
    pub volume: u128,
    /// Sum of price × quantity, in units of both scales.
    pub quote_volume: u128,
    /// The part of the volume that takers bought.
    pub buy_volume: u128,
    /// How many trades.
    pub trades: u64,
    /// The lowest trade id; meaningless without trades.
    pub first_id: u64,
    /// The highest trade id.
    pub last_id: u64,
    /// Place of the first trade in the symbol's order of trades.
    pub(crate) first_order: u64,
    /// Place of the last trade.
    pub(crate) last_order: u64,
    /// 0 when it closes, one more for each correction.
    pub revision: u32,
    /// What it proves.
    pub state: State,
    /// Whether its time is over.
    pub is_closed: bool,
    /// Whether a trade was added by repair.
    pub(crate) mended: bool,
    /// Whether a stretch of it is not known at all, so that nothing can prove it.
    pub(crate) torn: bool,
    /// What is not known.
    pub unknown: Unknown,
}

impl Candle {
    /// A candle without trades at `price`.
    pub fn flat(interval: Interval, open_time: Timestamp, price: Price) -> Self {
        Self {
            interval,
            open_time,
            close_time: interval.close_time(open_time),
            open: price,
            high: price,
            low: price,
            close: price,
            volume: 0,
            quote_volume: 0,
            buy_volume: 0,
            trades: 0,
            first_id: 0,
            last_id: 0,
            first_order: 0,
            last_order: 0,
            revision: 0,
            state: State::Flat,
            is_closed: false,
            mended: false,
            torn: false,
            unknown: Unknown::default(),
        }
    }

    /// A closed candle that a venue or a file made, with what it tells; ids are never known. One whose volume and count
    /// say that nothing was traded, and whose price stood still, is [`State::Flat`]: all of it is known.
    ///
    /// # Errors
    /// [`Flaw`] names the law that it breaks.
    pub fn of_venue(interval: Interval, given: &VenueCandle, state: State) -> Result<Self, Flaw> {
        let prices = [given.open, given.high, given.low, given.close];
        if interval.open_time(given.open_time) != given.open_time {
            return Err(Flaw::OffGrid);
        }
        match prices.iter().min() {
            Some(Price(least)) if *least < 0 => return Err(Flaw::NegativePrice),
            Some(Price(0)) => return Err(Flaw::ZeroPrice),
            _ => {}
        }
        if prices.iter().any(|price| *price > given.high) {
            return Err(Flaw::High);
        }
        if prices.iter().any(|price| *price < given.low) {
            return Err(Flaw::Low);
        }
        if given.buy_volume.is_some_and(|bought| bought > given.volume) {
            return Err(Flaw::BuyVolume);
        }
        let mut candle = Self::flat(interval, given.open_time, given.open);
        candle.is_closed = true;
        let is_still = given.volume == 0 && given.trades.unwrap_or(0) == 0 && given.high == given.low;
        if !is_still {
            candle.replace(given);
            candle.state = state;
        }
        Ok(candle)
    }

    /// Whether nothing was folded in yet.
    pub const fn is_flat(&self) -> bool {
        self.trades == 0 && !self.unknown.trades
    }

    /// Volume-weighted mean price in the price scale, truncated; `None` without volume.
    pub fn vwap(&self) -> Option<u128> {
        if self.unknown.quote { None } else { self.quote_volume.checked_div(self.volume) }
    }

    /// Folds one trade in. `order` is its place among the symbol's trades; ties keep the open and move the close.
    #[inline]
    pub(crate) fn add(&mut self, trade: &Trade, order: u64) {
        if self.trades == 0 && !self.unknown.trades {
            self.begin(trade, order);
        }
        if order < self.first_order {
            self.first_order = order;
            self.open = trade.price;
        }
        if order >= self.last_order {
            self.last_order = order;
            self.close = trade.price;
        }
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        let quantity = u128::from(trade.quantity.0.unsigned_abs());
        self.volume += quantity;
        self.quote_volume += trade.notional();
        match trade.side {
            Side::Buy => self.buy_volume += quantity,
            Side::Sell => {}
            Side::Unknown => self.unknown.sides = true,
        }
        self.trades += u64::from(trade.trades);
        self.first_id = self.first_id.min(trade.first_id);
        self.last_id = self.last_id.max(trade.id);
        self.mended |= trade.origin != Origin::Live;
    }

    #[inline]
    fn begin(&mut self, trade: &Trade, order: u64) {
        self.open = trade.price;
        self.high = trade.price;
        self.low = trade.price;
        self.close = trade.price;
        self.first_id = trade.first_id;
        self.last_id = trade.id;
        self.first_order = order;
        self.last_order = order;
        self.state = State::Partial;
    }

    /// Folds a shorter candle in, which lies within this one. The fold is associative: order of calls does not matter.
    pub fn merge(&mut self, part: &Self) {
        if part.is_flat() {
            return;
        }
        if self.is_flat() {
            let (interval, open_time, close_time) = (self.interval, self.open_time, self.close_time);
            let (revision, is_closed, torn) = (self.revision, self.is_closed, self.torn | part.torn);
            *self = Self { interval, open_time, close_time, revision, is_closed, state: State::Partial, torn, ..*part };
            return;
        }
        if part.first_order < self.first_order {
            self.first_order = part.first_order;
            self.open = part.open;
        }
        if part.last_order >= self.last_order {
            self.last_order = part.last_order;
            self.close = part.close;
        }
        self.high = self.high.max(part.high);
        self.low = self.low.min(part.low);
        self.volume += part.volume;
        self.quote_volume += part.quote_volume;
        self.buy_volume += part.buy_volume;
        self.trades += part.trades;
        self.first_id = self.first_id.min(part.first_id);
        self.last_id = self.last_id.max(part.last_id);
        self.mended |= part.mended;
        self.torn |= part.torn;
        self.unknown.sides |= part.unknown.sides;
        self.unknown.trades |= part.unknown.trades;
        self.unknown.quote |= part.unknown.quote;
    }

    /// Takes over the venue's own candle; trade ids are not known any more.
    pub(crate) fn replace(&mut self, given: &VenueCandle) {
        self.open = given.open;
        self.high = given.high;
        self.low = given.low;
        self.close = given.close;
        self.volume = given.volume;
        self.quote_volume = given.quote_volume.unwrap_or(0);
        self.buy_volume = given.buy_volume.unwrap_or(0);
        self.trades = given.trades.unwrap_or(0);
        (self.mended, self.torn) = (true, false);
        self.unknown = Unknown { sides: given.buy_volume.is_none(), trades: true, quote: given.quote_volume.is_none() };
        self.state = State::Repaired;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    fn given(open_time: i64, [open, high, low, close]: [i64; 4], volume: u128) -> VenueCandle {
        let [open, high, low, close] = [open, high, low, close].map(Price);
        let (open_time, rest) = (Timestamp(open_time), (None, None, None));
        let (quote_volume, buy_volume, trades) = rest;
        VenueCandle { open_time, open, high, low, close, volume, quote_volume, buy_volume, trades }
    }

    fn check(given: &VenueCandle, want: Result<State, Flaw>) {
        assert_eq!(
            Candle::of_venue(Interval::H1, given, State::Repaired).map(|candle| candle.state),
            want,
            "{given:?}"
        );
    }

    #[test]
    fn a_candle_from_outside_is_taken_as_it_is_or_refused_by_name() {
        check(&given(HOUR, [10, 12, 9, 11], 5), Ok(State::Repaired));
        check(&given(HOUR + 1, [10, 12, 9, 11], 5), Err(Flaw::OffGrid));
        check(&given(HOUR, [10, 12, -9, 11], 5), Err(Flaw::NegativePrice));
        check(&given(HOUR, [10, 12, 0, 11], 5), Err(Flaw::ZeroPrice));
        check(&given(HOUR, [10, 11, 9, 12], 5), Err(Flaw::High));
        check(&given(HOUR, [10, 12, 11, 12], 5), Err(Flaw::Low));
        check(&VenueCandle { buy_volume: Some(6), ..given(HOUR, [10, 12, 9, 11], 5) }, Err(Flaw::BuyVolume));
    }

    #[test]
    fn a_candle_in_which_nothing_was_traded_is_flat() {
        check(&given(HOUR, [10, 10, 10, 10], 0), Ok(State::Flat));
        check(&given(HOUR, [10, 10, 10, 10], 1), Ok(State::Repaired));
        // The price moved: something happened that the volume does not tell.
        check(&given(HOUR, [10, 11, 10, 10], 0), Ok(State::Repaired));
        check(&VenueCandle { trades: Some(1), ..given(HOUR, [10, 10, 10, 10], 0) }, Ok(State::Repaired));
    }

    proptest! {
        #[test]
        fn prop_only_lawful_candles_pass_and_keep_every_value(
            prices in [-1_i64..6, -1_i64..6, -1_i64..6, -1_i64..6], volume in 0_u128..3, bought in proptest::option::of(0_u128..4),
        ) {
            let [open, high, low, close] = prices;
            let from = VenueCandle { buy_volume: bought, ..given(HOUR, prices, volume) };
            let lawful = 0 < low && low <= open.min(close) && open.max(close) <= high && bought.unwrap_or(0) <= volume;
            match Candle::of_venue(Interval::H1, &from, State::Partial) {
                Err(_) => prop_assert!(!lawful),
                Ok(candle) => {
                    prop_assert!(lawful && candle.is_closed && candle.revision == 0);
                    prop_assert_eq!([candle.open, candle.high, candle.low, candle.close].map(|price| price.0), prices);
                    prop_assert_eq!((candle.open_time.0, candle.close_time.0, candle.volume), (HOUR, 2 * HOUR, volume));
                    let is_known = candle.state == State::Flat || bought.is_some();
                    prop_assert_eq!(candle.unknown.sides, !is_known);
                }
            }
        }
    }
}

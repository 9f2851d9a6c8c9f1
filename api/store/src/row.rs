//! What is stored: candles and trades with the scales that their integers count in, and feed positions.

use std::{fmt, sync::Arc};

use engine::{
    candle::Candle,
    interval::Interval,
    market::{Origin, Price, Quantity, Side, Symbol, Timestamp, Trade},
    number::{Scale, write_decimal, write_decimal_signed},
};

use crate::error::RowError;

/// The longest source; a directory of instruments has the same bound.
pub const SOURCE_BYTES_MAX: usize = 40;

/// An instrument by its stable name: `binance:BTCUSDT`. Numbers of symbols change between runs, names do not.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(Arc<str>);

impl Source {
    /// Checks the form `venue:NAME`.
    ///
    /// # Errors
    /// [`RowError::Source`] for any other text.
    pub fn parse(text: &str) -> Result<Self, RowError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-/_:@.".contains(c);
        let named = text.split_once(':').is_some_and(|(venue, name)| !venue.is_empty() && !name.is_empty());
        if named && text.len() <= SOURCE_BYTES_MAX && text.chars().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(RowError::Source(text.chars().take(80).collect()))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The candles of one instrument and interval.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// Which instrument.
    pub source: Source,
    /// How long its candles are.
    pub interval: Interval,
}

/// The scales that a row's integers count in. Each row keeps its own: an instrument's scales may change, old rows stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scales {
    /// Decimals of prices.
    pub price: Scale,
    /// Decimals of quantities.
    pub quantity: Scale,
}

/// A candle as it was streamed. The order of its trades, by which the core merges candles, is not kept: merge stored
/// candles from old to new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredCandle {
    /// What its integers count in.
    pub scales: Scales,
    /// The candle.
    pub candle: Candle,
}

impl StoredCandle {
    /// Which of two candles of one open time stays: the higher revision, and of equal ones the closed one.
    pub fn rank(&self) -> (u32, bool) {
        (self.candle.revision, self.candle.is_closed)
    }

    /// Whether another candle says the same of prices and volume, whatever the scales of both.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let texts = |stored: &Self| {
            let Candle { open, high, low, close, volume, .. } = stored.candle;
            let decimals = stored.scales.price.decimals();
            let mut text = Vec::with_capacity(80);
            for price in [open, high, low, close] {
                write_decimal_signed(&mut text, price.0.into(), decimals);
                text.push(b' ');
            }
            write_decimal(&mut text, volume, stored.scales.quantity.decimals());
            text
        };
        texts(self) == texts(other)
    }

    pub(crate) fn check(&self) -> Result<(), RowError> {
        let Candle { interval, open_time, close_time, .. } = self.candle;
        if open_time.0 < 0 {
            return Err(RowError::Negative("the open time"));
        }
        if interval.open_time(open_time) != open_time || interval.close_time(open_time) != close_time {
            let (open_ns, close_ns) = (open_time.0, close_time.0);
            return Err(RowError::Span { interval: interval.name(), open_ns, close_ns });
        }
        let prices = [self.candle.open, self.candle.high, self.candle.low, self.candle.close];
        if prices.iter().any(|price| price.0 < 0) { Err(RowError::Negative("a price")) } else { Ok(()) }
    }
}

/// A trade as it was received, without the number of its symbol, which is another one in the next run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTrade {
    /// What its integers count in.
    pub scales: Scales,
    /// The first venue id that it stands for.
    pub first_id: u64,
    /// The venue's id.
    pub id: u64,
    /// How many fills.
    pub trades: u32,
    /// The venue's time.
    pub ts_event: Timestamp,
    /// Our time of receipt.
    pub ts_recv: Timestamp,
    /// Its price.
    pub price: Price,
    /// Its quantity.
    pub quantity: Quantity,
    /// The taker's side.
    pub side: Side,
    /// How it reached us.
    pub origin: Origin,
}

impl StoredTrade {
    /// The trade without its symbol.
    pub fn new(scales: Scales, trade: &Trade) -> Self {
        let Trade { first_id, id, trades, ts_event, ts_recv, price, quantity, side, origin, symbol: _ } = *trade;
        Self { scales, first_id, id, trades, ts_event, ts_recv, price, quantity, side, origin }
    }

    /// The trade of an instrument that has this number in the present run.
    pub fn trade(&self, symbol: Symbol) -> Trade {
        let Self { first_id, id, trades, ts_event, ts_recv, price, quantity, side, origin, scales: _ } = *self;
        Trade { symbol, first_id, id, trades, ts_event, ts_recv, price, quantity, side, origin }
    }

    /// Its place among the stored trades of its instrument.
    pub fn place(&self) -> TradePlace {
        TradePlace { ts_event: self.ts_event, id: self.id }
    }

    pub(crate) fn check(&self) -> Result<(), RowError> {
        if self.ts_event.0 < 0 || self.ts_recv.0 < 0 {
            return Err(RowError::Negative("a time of the trade"));
        }
        if self.price.0 < 0 || self.quantity.0 < 0 {
            return Err(RowError::Negative("price or quantity of the trade"));
        }
        Ok(())
    }
}

/// Where a trade stands among the stored trades of its instrument: they are ordered by time, then id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TradePlace {
    /// The venue's time.
    pub ts_event: Timestamp,
    /// The venue's id.
    pub id: u64,
}

/// How far the trades of an instrument are proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedPosition {
    /// The last trade id up to which none is missing.
    pub last_id: u64,
    /// The venue's time of that trade.
    pub ts_event: Timestamp,
}

/// A series with the open times of its first and last stored candle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesSpan {
    /// Which series.
    pub series: Series,
    /// Open time of its first candle.
    pub first: Timestamp,
    /// Open time of its last candle.
    pub last: Timestamp,
}

/// The name of a side or an origin in stored rows.
pub(crate) const SIDES: [Side; 3] = [Side::Buy, Side::Sell, Side::Unknown];
pub(crate) const ORIGINS: [(Origin, &str); 3] =
    [(Origin::Live, "live"), (Origin::Backlog, "backlog"), (Origin::Repair, "repair")];

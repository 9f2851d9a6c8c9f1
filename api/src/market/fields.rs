//! The fields of rows, for formats that name them once: the same names and the same unknowns as in JSON.

use engine::candle::Candle;

/// A candle's, in the order of the stream.
pub(crate) const CANDLE: [&str; 19] = [
    "symbol",
    "interval",
    "ts",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "is_closed",
    "close_ts",
    "trades",
    "vwap",
    "quote_volume",
    "buy_volume",
    "revision",
    "state",
    "source",
    "first_id",
    "last_id",
];

/// A trade's.
pub(crate) const TRADE: [&str; 6] = ["id", "ts", "price", "quantity", "side", "trades"];

/// What a candle's source tells, and nothing where it does not.
pub(crate) struct Known {
    pub(crate) trades: Option<u64>,
    pub(crate) vwap: Option<u128>,
    pub(crate) quote_volume: Option<u128>,
    pub(crate) buy_volume: Option<u128>,
    pub(crate) first_id: Option<u64>,
    pub(crate) last_id: Option<u64>,
}

impl Known {
    /// As the stream tells it.
    pub(crate) fn of(candle: &Candle) -> Self {
        let unknown = candle.unknown;
        let has_ids = candle.trades > 0 && !unknown.trades;
        Self {
            trades: (!unknown.trades || candle.trades > 0).then_some(candle.trades),
            vwap: candle.vwap(),
            quote_volume: (!unknown.quote).then_some(candle.quote_volume),
            buy_volume: (!unknown.sides).then_some(candle.buy_volume),
            first_id: has_ids.then_some(candle.first_id),
            last_id: has_ids.then_some(candle.last_id),
        }
    }
}

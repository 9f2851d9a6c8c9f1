//! What is written at once: rows that a store takes together.

use engine::{interval::Interval, market::Timestamp};

use crate::{
    codec::{self, put, take, take_u64},
    error::RowError,
    row::{FeedPosition, Source, StoredCandle, StoredTrade},
};

/// The longest name of a value.
pub const NAME_BYTES_MAX: usize = 200;
/// The longest text of a value.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// Upper bounds of what a row takes in memory, and of its encoded form.
const CANDLE_BYTES: usize = 320;
const TRADE_BYTES: usize = 200;
const VALUE_BYTES: usize = 64;

/// Rows that are written together. A store keeps all of them or, where it fails, takes the same batch again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    candles: Vec<(Source, StoredCandle)>,
    trades: Vec<(Source, StoredTrade)>,
    values: Vec<(Box<str>, Box<str>)>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a candle. It replaces a stored one of its open time unless that one has a higher revision, or the same and
    /// is closed where this one is open.
    ///
    /// # Errors
    /// [`RowError`] if the candle does not lie where its interval says, or a price is below zero.
    pub fn candle(&mut self, source: &Source, candle: StoredCandle) -> Result<(), RowError> {
        candle.check()?;
        self.candles.push((source.clone(), candle));
        self.bytes += CANDLE_BYTES;
        Ok(())
    }

    /// Adds a trade; one of the same time and id is replaced.
    ///
    /// # Errors
    /// [`RowError`] if price, quantity or a time is below zero.
    pub fn trade(&mut self, source: &Source, trade: StoredTrade) -> Result<(), RowError> {
        trade.check()?;
        self.trades.push((source.clone(), trade));
        self.bytes += TRADE_BYTES;
        Ok(())
    }

    /// Sets the feed position of an instrument; the last one written counts.
    pub fn position(&mut self, source: &Source, position: FeedPosition) {
        self.put(position_name(source), position_text(position));
    }

    /// Sets a small named text, such as how far a backfill came; the last one written counts.
    ///
    /// # Errors
    /// [`RowError::Length`] if name or text is empty or too long.
    pub fn value(&mut self, name: &str, text: &str) -> Result<(), RowError> {
        for (field, bytes, max) in [("the name", name.len(), NAME_BYTES_MAX), ("the text", text.len(), TEXT_BYTES_MAX)]
        {
            if bytes == 0 || bytes > max {
                return Err(RowError::Length { field, bytes, max });
            }
        }
        self.put(value_name(name), text.to_owned());
        Ok(())
    }

    fn put(&mut self, name: String, text: String) {
        self.bytes += VALUE_BYTES + name.len() + text.len();
        self.values.push((name.into(), text.into()));
    }

    /// The candles, in the order of their adding.
    pub fn candles(&self) -> &[(Source, StoredCandle)] {
        &self.candles
    }

    /// The trades, in the order of their adding.
    pub fn trades(&self) -> &[(Source, StoredTrade)] {
        &self.trades
    }

    /// Positions and values under the names that they are stored by.
    pub(crate) fn values(&self) -> &[(Box<str>, Box<str>)] {
        &self.values
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.candles.len() + self.trades.len() + self.values.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// About how much memory it takes, and at least how long its encoded form is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds the rows of a later batch behind its own.
    pub fn append(&mut self, later: Self) {
        self.candles.extend(later.candles);
        self.trades.extend(later.trades);
        self.values.extend(later.values);
        self.bytes += later.bytes;
    }

    /// The batch as bytes, for the spill file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes / 2);
        put(&mut out, self.candles.len() as u128);
        for (source, candle) in &self.candles {
            text(&mut out, source.as_str());
            out.push(candle.candle.interval as u8);
            put(&mut out, u128::from(candle.candle.open_time.0 as u64));
            codec::encode_candle(&mut out, candle);
        }
        put(&mut out, self.trades.len() as u128);
        for (source, trade) in &self.trades {
            text(&mut out, source.as_str());
            put(&mut out, u128::from(trade.ts_event.0 as u64));
            put(&mut out, u128::from(trade.id));
            codec::encode_trade(&mut out, trade);
        }
        put(&mut out, self.values.len() as u128);
        for (name, value) in &self.values {
            text(&mut out, name);
            text(&mut out, value);
        }
        out
    }

    /// Reads what [`Self::encode`] wrote; `None` if it is something else.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let mut batch = Self::new();
        for _ in 0..take(bytes)? {
            let source = Source::parse(take_text(bytes)?).ok()?;
            let interval = *Interval::ALL.get(usize::from(*bytes.split_off_first()?))?;
            let open_time = Timestamp(take_u64(bytes)? as i64);
            batch.candle(&source, codec::decode_candle(bytes, interval, open_time)?).ok()?;
        }
        for _ in 0..take(bytes)? {
            let source = Source::parse(take_text(bytes)?).ok()?;
            let (ts_event, id) = (Timestamp(take_u64(bytes)? as i64), take_u64(bytes)?);
            batch.trade(&source, codec::decode_trade(bytes, ts_event, id)?).ok()?;
        }
        for _ in 0..take(bytes)? {
            let name = take_text(bytes)?.to_owned();
            batch.put(name, take_text(bytes)?.to_owned());
        }
        bytes.is_empty().then_some(batch)
    }
}

/// The name that an instrument's feed position is stored by.
pub(crate) fn position_name(source: &Source) -> String {
    format!("feed/{source}")
}

/// The name that a value is stored by.
pub(crate) fn value_name(name: &str) -> String {
    format!("value/{name}")
}

fn position_text(position: FeedPosition) -> String {
    format!("{} {}", position.last_id, position.ts_event.0)
}

/// Reads the stored text of a feed position.
pub(crate) fn parse_position(text: &str) -> Option<FeedPosition> {
    let (last_id, ts_event) = text.split_once(' ')?;
    Some(FeedPosition { last_id: last_id.parse().ok()?, ts_event: Timestamp(ts_event.parse().ok()?) })
}

fn text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u128);
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(take(bytes)?).ok()?;
    std::str::from_utf8(bytes.split_off(..length)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::sample;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn prop_a_batch_comes_back_equal(candles in vec(sample::candles(), 0..5), trades in vec(sample::trades(), 0..5)) {
            let source = Source::parse("binance:BTCUSDT").unwrap();
            let mut batch = Batch::new();
            for candle in candles {
                batch.candle(&source, candle).unwrap();
            }
            for trade in trades {
                batch.trade(&source, trade).unwrap();
            }
            batch.position(&source, FeedPosition { last_id: u64::MAX, ts_event: Timestamp(7) });
            batch.value("backfill/x", "ten").unwrap();
            let bytes = batch.encode();
            prop_assert!(bytes.len() <= batch.bytes());
            prop_assert_eq!(Batch::decode(&bytes), Some(batch));
            for cut in 0..bytes.len() {
                prop_assert_eq!(Batch::decode(&bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn a_row_that_no_store_takes_is_refused_at_once() {
        let mut batch = Batch::new();
        assert!(matches!(batch.value("", "x"), Err(RowError::Length { field: "the name", .. })));
        assert!(matches!(batch.value("x", &"x".repeat(TEXT_BYTES_MAX + 1)), Err(RowError::Length { .. })));
        for text in ["", "binance", "binance:", ":BTC", "binance:B'T", &format!("binance:{}", "X".repeat(40))] {
            assert!(Source::parse(text).is_err(), "{text}");
        }
        assert!(batch.is_empty() && batch.bytes() == 0);
    }
}

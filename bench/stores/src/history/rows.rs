//! The candles that are stored, and the places in them that are asked for.

use std::sync::Arc;

use anyhow::Context;
use engine::{
    candle::{Candle, State},
    interval::Interval,
    market::{Price, Timestamp},
    number::Scale,
};
use store::{Batch, Scales, Source, StoredCandle};

/// Rows of a batch: what a second of a busy deployment closes, or a page of backfill.
pub(crate) const BATCH_ROWS: usize = 1000;
/// Instruments that close candles together.
pub(crate) const SOURCES: usize = 20;
const START_SECONDS: i64 = 1_704_067_200;

/// Candles as they close: all instruments of one minute, then the next minute.
pub(crate) fn batches(count: usize) -> anyhow::Result<Vec<Arc<Batch>>> {
    let mut batches = Vec::new();
    let mut batch = Batch::new();
    for number in 0..count {
        batch.candle(&source(number), candle(number)?)?;
        if batch.rows() == BATCH_ROWS || number + 1 == count {
            batches.push(Arc::new(std::mem::take(&mut batch)));
        }
    }
    Ok(batches)
}

/// What prices and quantities count in.
pub(crate) fn scales() -> anyhow::Result<Scales> {
    Ok(Scales { price: Scale::new(2).context("a scale")?, quantity: Scale::new(5).context("a scale")? })
}

fn candle(number: usize) -> anyhow::Result<StoredCandle> {
    let at = START_SECONDS + (number / SOURCES) as i64 * 60;
    let price = 6_800_000 + (number * 7919 % 10_000) as i64;
    let mut candle = Candle::flat(Interval::M1, Timestamp(at * 1_000_000_000), Price(price));
    (candle.high, candle.low, candle.close) = (Price(price + 900), Price(price - 1200), Price(price + 333));
    (candle.volume, candle.buy_volume) = (12_345_678 + number as u128, 6_000_000 + number as u128 / 2);
    candle.quote_volume = candle.volume * price as u128;
    (candle.trades, candle.first_id) = (1500, 3_000_000_000 + number as u64 * 1500);
    candle.last_id = candle.first_id + 1499;
    (candle.is_closed, candle.state) = (true, State::Complete);
    Ok(StoredCandle { scales: scales()?, candle })
}

/// The instrument number `number`, again from the first behind the last.
#[expect(clippy::expect_used, reason = "the name is ours")]
pub(crate) fn source(number: usize) -> Source {
    Source::parse(&format!("binance:C{}USDT", number % SOURCES)).expect("a source")
}

/// Where page number `place` begins: another one each time, far from the one before.
pub(crate) fn from(page: usize, place: usize, count: usize) -> Timestamp {
    let each = (count / SOURCES - page).max(1);
    Timestamp((START_SECONDS + (place * 7919 % each) as i64 * 60) * 1_000_000_000)
}

fn range(page: usize, place: usize, count: usize) -> (i64, i64) {
    let from = from(page, place, count).millis();
    (from, from + page as i64 * 60_000)
}

/// The page as kandle is asked for it.
pub(crate) fn path(page: usize, place: usize, count: usize) -> String {
    let (from, to) = range(page, place, count);
    format!("/v1/market/ohlcv/{}?interval=1m&start={from}&end={to}&limit={page}", source(place))
}

/// The same page of SQLite.
pub(crate) fn sqlite_path(page: usize, place: usize, count: usize) -> String {
    let (from, to) = range(page, place, count);
    format!("/sqlite/{}/{from}/{to}", place % SOURCES)
}

/// The same page of QuestDB's own HTTP: every column of the table that the store keeps there.
pub(crate) fn exec_path(page: usize, place: usize, count: usize) -> String {
    let (from, to) = range(page, place, count);
    let (from, to) = (from * 1_000_000, to * 1_000_000 - 1);
    let sql = format!(
        "SELECT * FROM bench_candles_m WHERE instrument='{}' AND \"interval\"='1m' \
         AND ts BETWEEN {from}::timestamp_ns AND {to}::timestamp_ns ORDER BY ts",
        source(place)
    );
    let escaped: String = sql.bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("/exec?query={escaped}")
}

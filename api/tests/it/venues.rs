//! Recorded candles of venues: what is loaded comes back in every field and format, what is missing in them is missing, and
//! what is rolled up equals the venue's own longer candles.
//!
//! The recordings lie in a folder beside the project, which a fresh clone has not: these tests are then skipped, or fail
//! with `KANDLE_REQUIRE_SHARED=1`.

use std::{
    collections::BTreeMap,
    io::Read,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use engine::{
    candle::{Candle, State, Unknown},
    interval::Interval,
    market::{Price, Timestamp},
    number::Scale,
};
use serde_json::Value;
use store::{Batch, Scales, Source, StoredCandle};

use crate::{formats::from_arrow, stage::Stage};

/// Rows of a batch, and of a page.
const ROWS: usize = 10_000;

/// A row of a file: when it opens, then open, high, low, close and volume as they are written there.
type Row = (i64, [String; 5]);

/// The rows of a file by their symbol, or by `symbol` where it has none.
fn rows(name: &str, symbol: &str) -> Option<BTreeMap<String, Vec<Row>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if !path.exists() {
        assert!(std::env::var_os("KANDLE_REQUIRE_SHARED").is_none(), "{} is missing", path.display());
        eprintln!("skipped: {name} is not here");
        return None;
    }
    let mut text = String::new();
    zstd::Decoder::new(std::fs::File::open(path).unwrap()).unwrap().read_to_string(&mut text).unwrap();
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let (symbol, rest) = if fields.len() == 7 { (fields[0], &fields[1..]) } else { (symbol, &fields[..]) };
        let [time, values @ ..] = rest else { panic!("{line}") };
        let values: Vec<String> = values.iter().map(|value| plain(value)).collect();
        let row = (time.parse().unwrap(), values.try_into().unwrap());
        match found.get_mut(symbol) {
            Some(rows) => rows.push(row),
            None => drop(found.insert(symbol.to_owned(), vec![row])),
        }
    }
    Some(found)
}

/// A decimal without an exponent and without zeros at its end, as answers have it.
fn plain(text: &str) -> String {
    let text = if text.contains(['e', 'E']) { text.parse::<f64>().unwrap().to_string() } else { text.to_owned() };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn decimals(text: &str) -> u8 {
    text.split_once('.').map_or(0, |(_, decimals)| decimals.len() as u8)
}

/// A decimal in units of `decimals` decimals.
fn units(text: &str, decimals: u8) -> u128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<width$}", width = usize::from(decimals)).parse().unwrap()
}

/// The stored candle of a row: prices and volume are known, the venue did not tell the rest.
fn stored(interval: Interval, (time, values): &Row, price: u8) -> StoredCandle {
    let [.., volume] = values;
    let quantity = decimals(volume);
    let at = |text: &str| Price(units(text, price).try_into().unwrap());
    let mut candle = Candle::flat(interval, Timestamp::from_millis(*time), at(&values[0]));
    (candle.high, candle.low, candle.close) = (at(&values[1]), at(&values[2]), at(&values[3]));
    candle.volume = units(volume, quantity);
    (candle.is_closed, candle.state) = (true, State::Complete);
    candle.unknown = Unknown { sides: true, trades: true, quote: true };
    StoredCandle {
        scales: Scales { price: Scale::new(price).unwrap(), quantity: Scale::new(quantity).unwrap() },
        candle,
    }
}

/// A server long after all recordings.
async fn stage() -> Stage {
    let stage = Stage::embedded().await;
    stage.view.now.store(1_800_000_000_000, Ordering::Relaxed);
    stage
}

async fn load(stage: &Stage, source: &str, interval: Interval, rows: &[Row]) {
    let source = Source::parse(source).unwrap();
    // Prices of a symbol have one scale; the volumes of these files are floats in their source, so each has its own.
    let price = rows.iter().flat_map(|(_, values)| &values[..4]).map(|text| decimals(text)).max().unwrap();
    let store = stage.view.store.as_ref().unwrap();
    for rows in rows.chunks(ROWS) {
        let mut batch = Batch::new();
        for row in rows {
            batch.candle(&source, stored(interval, row, price)).unwrap();
        }
        store.write(&Arc::new(batch)).await.unwrap();
    }
}

/// Every row of a series as CSV gives it, with its state.
async fn all(stage: &Stage, query: &str) -> Vec<(Row, String)> {
    let (mut found, mut next) = (Vec::new(), String::new());
    loop {
        let response = stage.get(&format!("{query}&format=csv&limit={ROWS}{next}")).await;
        let cursor = response.headers().get("x-next-cursor").map(|cursor| cursor.to_str().unwrap().to_owned());
        let text = response.text().await.unwrap();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let values = [3, 4, 5, 6, 7].map(|at| fields[at].to_owned());
            found.push(((fields[2].parse().unwrap(), values), fields[15].to_owned()));
        }
        match cursor {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return found,
        }
    }
}

/// Loads a file of hours and returns how many rows, holes and missing hours there are.
async fn hours(name: &str) -> Option<(usize, usize, i64)> {
    let stage = stage().await;
    let (mut count, mut holes, mut missing) = (0, 0, 0);
    for (number, (symbol, want)) in rows(name, "")?.iter().enumerate() {
        let source = format!("binance:{symbol}");
        load(&stage, &source, Interval::H1, want).await;
        let path = format!("/v1/market/ohlcv/{source}?interval=1h&start=0");
        let found: Vec<Row> = all(&stage, &path).await.into_iter().map(|(row, _)| row).collect();
        assert!(found == *want, "{symbol}");
        for pair in found.windows(2) {
            let hours = (pair[1].0 - pair[0].0) / 3_600_000;
            holes += usize::from(hours > 1);
            missing += hours - 1;
        }
        // Of each twentieth symbol the other formats as well.
        if number % 20 == 0 {
            other_formats(&stage, &path, want).await;
        }
        count += want.len();
    }
    Some((count, holes, missing))
}

async fn other_formats(stage: &Stage, path: &str, want: &[Row]) {
    let want = &want[..want.len().min(ROWS)];
    let json = stage.json(&format!("{path}&limit={ROWS}&numbers=string")).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| {
        (row["ts"].as_i64().unwrap(), ["open", "high", "low", "close", "volume"].map(|name| text(&row[name])))
    };
    assert!(json["candles"].as_array().unwrap().iter().map(row).collect::<Vec<_>>() == want);
    let arrow = stage.get(&format!("{path}&limit={ROWS}&format=arrow")).await;
    let (_, rows) = from_arrow(&arrow.bytes().await.unwrap());
    let row = |cells: &Vec<String>| (cells[2].parse().unwrap(), [3, 4, 5, 6, 7].map(|at| cells[at].clone()));
    assert!(rows.iter().map(row).collect::<Vec<_>>() == want);
}

#[tokio::test]
async fn the_first_half_of_195_symbols_comes_back_and_its_outages_are_holes() {
    let Some(found) = hours("history/binance_spot_1h_98symbols_part1.csv.zst").await else { return };
    assert_eq!(found, (716_932, 567, 1370));
}

#[tokio::test]
async fn the_second_half_of_195_symbols_comes_back_and_its_outages_are_holes() {
    let Some(found) = hours("history/binance_spot_1h_97symbols_part2.csv.zst").await else { return };
    assert_eq!(found, (685_711, 553, 1198));
}

/// Rolls `short` candles up and compares them with the venue's own. Returns how many were the same, and how many of them
/// say that a part is missing.
async fn same_as_venue(stage: &Stage, source: &str, short: (&str, &str), long: (&str, &str)) -> Option<(usize, usize)> {
    let interval = |name: &str| Interval::parse(name).unwrap();
    load(stage, source, interval(short.0), rows(short.1, "x")?.get("x")?).await;
    let want = rows(long.1, "x")?.remove("x")?;
    let (from, to) = (want.first()?.0, want.last()?.0 + 1);
    let path = format!("/v1/market/ohlcv/{source}?interval={}&start={from}&end={to}", long.0);
    let found = all(stage, &path).await;
    assert_eq!(found.len(), want.len(), "{source} {}", long.0);
    let float = |text: &str| text.parse::<f64>().unwrap();
    for (((time, values), _), (want_time, want)) in found.iter().zip(&want) {
        assert_eq!((time, &values[..4]), (want_time, &want[..4]), "{source} {}", long.0);
        let (own, venue) = (float(&values[4]), float(&want[4]));
        assert!((own - venue).abs() <= 1e-9 * venue.abs(), "{source} {} {time}: {own} is not {venue}", long.0);
    }
    Some((found.len(), found.iter().filter(|(_, state)| state == "partial").count()))
}

#[tokio::test]
async fn five_minutes_roll_up_to_the_venues_quarters_and_hours() {
    for symbol in ["BTCUSDT", "SOLUSDT"] {
        let stage = stage().await;
        let source = format!("binance:{symbol}");
        let file = |interval: &str| {
            format!("rollup/binance_{}_{interval}_2024-01-01_2024-09-24.csv.zst", symbol.to_lowercase())
        };
        for (interval, count) in [("15m", 25_649), ("1h", 6412)] {
            let found = same_as_venue(&stage, &source, ("5m", &file("5m")), (interval, &file(interval))).await;
            // The files end within a candle of the longer interval.
            let Some((same, partial)) = found else { return };
            assert_eq!(same, count);
            assert!(partial <= 1, "{partial} of {same}");
        }
    }
}

#[tokio::test]
async fn seconds_roll_up_to_the_venues_minutes_and_those_with_seconds_missing_say_so() {
    let stage = stage().await;
    for (day, count) in [("2016-10-07", 1419), ("2016-10-08", 1400)] {
        let file = |interval: &str| format!("rollup/coinbase_btcusd_{interval}_{day}.csv.zst");
        let found = same_as_venue(&stage, "coinbase:BTC-USD", ("1s", &file("1s")), ("1m", &file("1m"))).await;
        // No minute of that time had a trade in each second.
        let Some(found) = found else { return };
        assert_eq!(found, (count, count));
    }
}

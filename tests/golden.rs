//! Candles made from recorded trades against the venues' own candles, exact in every field that the source has.

use engine::{
    candle::{Candle, State},
    interval::Interval,
    market::{Price, Timestamp, Trade, Venue},
    number::{Scale, parse_decimal},
};
use feeds::venue::feed;
use proptest::prelude::*;

use crate::support::{Single, read, shared, text, trimmed};

fn kraken() -> Option<(Single, Vec<Trade>)> {
    let path = shared("fixtures/feeds/kraken/golden_rest_trades_xbtusdt_2025-11-10.json")?;
    let single = Single::new(Venue::Kraken, "XBTUSDT", 1, 8);
    let known = *single.names.get(b"XBTUSDT").unwrap();
    let mut body = read(&path).into_bytes();
    let trades = feed(Venue::Kraken).unwrap().parse_trades(&mut body, "XBTUSDT", &known).unwrap();
    Some((single, trades))
}

/// time, open, high, low, close, vwap, volume, count of each venue candle.
type Row = (i64, String, String, String, String, String, String, u64);

fn kraken_rows() -> Vec<Row> {
    let path = shared("fixtures/feeds/kraken/golden_rest_ohlc_1m_xbtusdt_2025-11-10.json").unwrap();
    let page: serde_json::Value = serde_json::from_str(&read(&path)).unwrap();
    serde_json::from_value(page["result"]["XBTUSDT"].clone()).unwrap()
}

fn shown(candle: &Candle, price: u8, quantity: u8) -> [String; 7] {
    let prices = [candle.open, candle.high, candle.low, candle.close].map(|price_of| text(price_of.0 as u128, price));
    let [open, high, low, close] = prices;
    let vwap = text(candle.vwap().unwrap_or(0), price);
    [open, high, low, close, vwap, text(candle.volume, quantity), candle.trades.to_string()]
}

/// How many full minutes with and without trades equal the venue's.
fn compare_with_kraken(candles: &[Candle], rows: &[Row]) -> (usize, usize) {
    let (mut full, mut flat) = (0, 0);
    // The first minute is cut off by the start of the page.
    for candle in candles.iter().skip(1).filter(|candle| candle.is_closed) {
        let seconds = candle.open_time.0 / 1_000_000_000;
        let row = rows.iter().find(|row| row.0 == seconds).unwrap();
        let want = [&row.1, &row.2, &row.3, &row.4, &row.5, &row.6].map(|value| trimmed(value));
        let [open, high, low, close, vwap, volume] = want;
        assert_eq!(shown(candle, 1, 8), [open, high, low, close, vwap, volume, row.7.to_string()], "{seconds}");
        if candle.trades > 0 {
            assert!(matches!(candle.state, State::Complete | State::Repaired), "{candle:?}");
            full += 1;
        } else {
            assert_eq!(candle.state, State::Flat);
            flat += 1;
        }
    }
    (full, flat)
}

#[test]
fn kraken_minutes_equal_the_venues_with_flat_ones_between() {
    let Some((single, trades)) = kraken() else { return };
    assert_eq!(trades.len(), 1000);
    let candles = single.candles(&trades, Interval::M1);
    let rows = kraken_rows();
    let (full, flat) = compare_with_kraken(&candles, &rows);
    // The last minute of the page is not over; all others are closed.
    let last = candles.last().unwrap();
    let open = usize::from(!last.is_closed);
    assert_eq!(full + open, 273, "full minutes");
    assert_eq!(flat, 137, "flat minutes");
    println!("kraken: {} of 273 full minutes closed equal, {flat} of 137 flat", full);
}

#[test]
fn binance_futures_minutes_equal_the_venues_from_raw_frames() {
    let Some(path) = shared("data/ws_binance/binance_usdm_btcusdt_20240808.jsonl.gz") else { return };
    let single = Single::new(Venue::Binance, "BTCUSDT", 2, 3);
    let trades = single.trades(&read(&path));
    assert_eq!(trades.len(), 21_313);
    let candles = single.candles(&trades, Interval::M1);
    let rows = read(&shared("data/ws_binance/binance_usdm_btcusdt_klines_1m_2024-08-08.csv").unwrap());
    let mut equal = 0;
    for row in rows.lines().skip(2) {
        let cells: Vec<_> = row.split(',').collect();
        let candle = candles.iter().find(|candle| candle.open_time.millis().to_string() == cells[0]).unwrap();
        let [open, high, low, close, _, volume, trades] = shown(candle, 2, 3);
        let ours = [open, high, low, close, volume, text(candle.quote_volume, 5), trades, text(candle.buy_volume, 3)];
        let theirs = [1, 2, 3, 4, 5, 7, 8, 9].map(|cell| trimmed(cells[cell]));
        assert_eq!(ours, theirs, "{row}");
        equal += 1;
        if equal < 5 {
            assert_eq!(candle.state, State::Complete);
        }
    }
    assert_eq!(equal, 5);
}

#[test]
fn binance_spot_five_minutes_equal_the_venues_across_midnight() {
    let Some(first) = shared("data/ws_binance/binance_spot_btcusdt_20240808.jsonl.gz") else { return };
    let second = shared("data/ws_binance/binance_spot_btcusdt_20240809.jsonl.gz").unwrap();
    let single = Single::new(Venue::Binance, "BTCUSDT", 8, 8);
    let trades = single.trades(&(read(&first) + &read(&second)));
    let candles = single.candles(&trades, Interval::M5);
    let rows = read(&shared("data/ws_binance/binance_spot_btcusdt_klines_5m_2024-08-08_09.csv").unwrap());
    // The file has the venue's candles around the recording too; 23:55 and 00:00 lie wholly inside.
    let inside = |row: &&str| row.starts_with("1723161300000,") || row.starts_with("1723161600000,");
    assert_eq!(rows.lines().filter(inside).count(), 2);
    for row in rows.lines().filter(inside) {
        let cells: Vec<_> = row.split(',').collect();
        let candle = candles.iter().find(|candle| candle.open_time.millis().to_string() == cells[0]).unwrap();
        let [open, high, low, close, _, volume, _] = shown(candle, 8, 8);
        assert_eq!([open, high, low, close, volume], [1, 2, 3, 4, 5].map(|cell| trimmed(cells[cell])), "{row}");
        assert_eq!(candle.state, State::Complete);
    }
}

/// The venue's 5-minute candles of 23:55 and 00:00 around midnight of 2024-08-09: open, high, low, close, volume.
const BUNDLED: [(i64, [&str; 5]); 2] = [
    (1723161300000, ["61828.0", "61860.8", "61583.22", "61685.99", "199.42863"]),
    (1723161600000, ["61686.0", "61744.37", "61556.04", "61607.99", "221.61722"]),
];

#[test]
fn the_recording_that_comes_with_the_program_equals_the_venues_candles() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/binance_btcusdt_trades_2024-08-08.jsonl.zst");
    let single = Single::new(Venue::Binance, "BTCUSDT", 8, 8);
    let trades = single.trades(&read(&path));
    let candles = single.candles(&trades, Interval::M5);
    for (ms, want) in BUNDLED {
        let candle = candles.iter().find(|candle| candle.open_time.millis() == ms).unwrap();
        let [open, high, low, close, _, volume, _] = shown(candle, 8, 8);
        assert_eq!([open, high, low, close, volume], want.map(trimmed));
        assert_eq!(candle.state, State::Complete);
    }
}

/// Rolls the venue's own short candles up and compares them with its long ones: open time, OHLCV in columns 0 to 5.
fn rolled_equal(short: &str, long: &str, interval: Interval) -> usize {
    let scale = Scale::new(8).unwrap();
    let number = |text: &str| parse_decimal(text.as_bytes(), scale).unwrap();
    let mut rolled = std::collections::HashMap::<i64, Candle>::new();
    for row in short.lines().skip(1) {
        let cells: Vec<_> = row.split(',').collect();
        let [open, high, low, close, volume] = [1, 2, 3, 4, 5].map(|cell| number(cells[cell]));
        let open_time = interval.open_time(Timestamp::from_millis(cells[0].parse().unwrap()));
        let mut part = Candle::flat(Interval::S1, open_time, Price(open));
        (part.high, part.low, part.close) = (Price(high), Price(low), Price(close));
        (part.volume, part.trades) = (volume as u128, 1);
        rolled.entry(open_time.millis()).or_insert_with(|| Candle::flat(interval, open_time, Price(0))).merge(&part);
    }
    let mut equal = 0;
    for row in long.lines().skip(1) {
        let cells: Vec<_> = row.split(',').collect();
        let candle = rolled[&cells[0].parse::<i64>().unwrap()];
        let prices = [candle.open, candle.high, candle.low, candle.close].map(|price| price.0);
        assert_eq!(prices, [1, 2, 3, 4].map(|cell| number(cells[cell])), "{row}");
        // The source kept volumes as floats: they agree to nine digits.
        let volume = number(cells[5]) as i128;
        assert!((candle.volume as i128 - volume).abs() <= volume / 1_000_000_000 + 2, "{row}: {}", candle.volume);
        equal += 1;
    }
    equal
}

#[test]
fn the_venues_short_candles_roll_up_to_its_long_ones() {
    let file = |name: &str| shared(&format!("data/rollup/{name}.csv.zst")).map(|path| read(&path));
    for symbol in ["btcusdt", "solusdt"] {
        let name = |interval: &str| format!("binance_{symbol}_{interval}_2024-01-01_2024-09-24");
        let Some(five) = file(&name("5m")) else { return };
        let (quarters, hours) = (file(&name("15m")).unwrap(), file(&name("1h")).unwrap());
        assert_eq!(rolled_equal(&five, &quarters, Interval::M15), 25_649);
        assert_eq!(rolled_equal(&five, &hours, Interval::H1), 6412);
        assert_eq!(rolled_equal(&quarters, &hours, Interval::H1), 6412);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Duplicates anywhere, and a tail shuffled inside the late window, give the candles of the tidy input.
    #[test]
    fn prop_disorder_inside_the_late_window_changes_no_candle(
        seed in any::<u64>(), duplicates in proptest::collection::vec(0_usize..1000, 0..60), tail in 1_usize..40,
    ) {
        let Some((single, tidy)) = kraken() else { return Ok(()) };
        let want = single.candles(&tidy, Interval::M1);
        let end = tidy.last().unwrap().ts_event.0;
        let inside = tidy.iter().filter(|trade| end - trade.ts_event.0 < 240_000_000_000).count();
        let mut trades = tidy;
        let start = trades.len() - tail.min(inside);
        let mut state = seed | 1;
        for index in (start + 1..trades.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            trades.swap(index, start + (state >> 33) as usize % (index - start + 1));
        }
        for index in duplicates {
            trades.insert(index.max(1), trades[index.max(1) - 1]);
        }
        let got = single.candles(&trades, Interval::M1);
        let key = |candle: &Candle| (candle.open_time, candle.is_closed, shown(candle, 1, 8), candle.first_id);
        prop_assert_eq!(got.iter().map(key).collect::<Vec<_>>(), want.iter().map(key).collect::<Vec<_>>());
    }

    /// Longer candles are the fold of shorter ones.
    #[test]
    fn prop_hours_equal_the_sum_of_their_minutes(from in 0_usize..900) {
        let Some((single, trades)) = kraken() else { return Ok(()) };
        let minutes = single.candles(&trades[from..], Interval::M1);
        for hour in single.candles(&trades[from..], Interval::H1) {
            let parts: Vec<_> = minutes
                .iter()
                .filter(|minute| (hour.open_time..hour.close_time).contains(&minute.open_time) && minute.trades > 0)
                .collect();
            prop_assert_eq!(parts.iter().map(|part| part.volume).sum::<u128>(), hour.volume);
            prop_assert_eq!(parts.iter().map(|part| part.quote_volume).sum::<u128>(), hour.quote_volume);
            prop_assert_eq!(parts.iter().map(|part| part.buy_volume).sum::<u128>(), hour.buy_volume);
            prop_assert_eq!(parts.iter().map(|part| part.trades).sum::<u64>(), hour.trades);
            prop_assert_eq!(parts.iter().map(|part| part.high).max(), Some(hour.high));
            prop_assert_eq!(parts.first().unwrap().open, hour.open);
            prop_assert_eq!(parts.last().unwrap().close, hour.close);
        }
    }
}

//! `kandle replay` offline, as a user calls it: recorded trades of several sources against candles of others.

use std::path::Path;

use serde_json::Value;

use crate::{
    process::{command, tempdir},
    support::{read, shared, trimmed},
};

/// Runs `replay` and returns its candles, with numbers as they were written.
fn replay(arguments: &[&str]) -> Vec<Value> {
    let out = tempdir().join("candles.jsonl");
    let output = command(&["replay"]).args(arguments).args(["--out", out.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&out).unwrap();
    // Strings keep every digit where a float would not.
    let candles: Vec<Value> = text.lines().map(|line| serde_json::from_str(&quoted(line)).unwrap()).collect();
    assert!(candles.windows(2).all(|pair| pair[0]["ts"].as_i64() <= pair[1]["ts"].as_i64()), "in order of ts");
    candles
}

/// Puts the decimal fields of a candle line in quotes.
pub(crate) fn quoted(line: &str) -> String {
    let mut out = line.to_owned();
    for field in ["open", "high", "low", "close", "volume", "vwap", "quote_volume", "buy_volume"] {
        let key = format!("\"{field}\":");
        let start = out.find(&key).unwrap() + key.len();
        let end = start + out[start..].find([',', '}']).unwrap();
        out.insert(end, '"');
        out.insert(start, '"');
    }
    out
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Compares `fields` of the candles that have trades with the rows of an oracle; `time` reads a row's open time in ms.
fn compare(
    candles: &[Value],
    rows: &str,
    header: bool,
    time: &dyn Fn(&[&str]) -> i64,
    fields: &[(&str, usize)],
) -> usize {
    let with_trades: std::collections::HashMap<i64, &Value> = candles
        .iter()
        .filter(|candle| candle["trades"] != 0)
        .map(|candle| (candle["ts"].as_i64().unwrap(), candle))
        .collect();
    let mut equal = 0;
    for row in rows.lines().skip(usize::from(header)) {
        let cells: Vec<_> = row.split(',').collect();
        let candle = with_trades.get(&time(&cells)).unwrap_or_else(|| panic!("no candle for {row}"));
        for (field, cell) in fields {
            let ours = candle[*field].as_str().map_or_else(|| candle[*field].to_string(), str::to_owned);
            assert_eq!(ours, trimmed(cells[*cell]), "{field} of {row}");
        }
        equal += 1;
    }
    equal
}

const OHLCV: [(&str, usize); 5] = [("open", 1), ("high", 2), ("low", 3), ("close", 4), ("volume", 5)];

fn open_ms(cells: &[&str]) -> i64 {
    cells[0].parse().unwrap()
}

#[test]
fn a_quiet_pair_equals_an_independent_build_in_two_intervals() {
    let Some(trades) = shared("data/binance_spot_xrpeth/aggtrades_2019-10-11_2019-10-12T12.csv.zst") else { return };
    let columns = "time=time_ms,price=price,quantity=qty,buyer_maker=is_buyer_maker,id=agg_trade_id";
    let candles = replay(&[
        path(&trades),
        "--format",
        "csv",
        "--symbol",
        "XRPETH",
        "--columns",
        columns,
        "--time-unit",
        "ms",
        "--interval",
        "1m",
        "--interval",
        "5m",
    ]);
    for (interval, want) in [("1m", 1478), ("5m", 429)] {
        let oracle =
            shared(&format!("data/binance_spot_xrpeth/candles_{interval}_2019-10-11_2019-10-12T12.csv")).unwrap();
        let of_interval: Vec<_> = candles.iter().filter(|candle| candle["interval"] == interval).cloned().collect();
        assert_eq!(compare(&of_interval, &read(&oracle), true, &open_ms, &OHLCV), want);
        assert_eq!(
            of_interval.iter().filter(|candle| candle["trades"] != 0).count(),
            want,
            "no more than the oracle has"
        );
    }
}

#[test]
fn bitmex_minutes_equal_the_venues_with_every_duplicate_fill_kept() {
    let Some(trades) = shared("data/bitmex_xbtusd/trades_2018-01-01_2018-01-02.csv.zst") else { return };
    let columns = "time=timestamp,price=price,quantity=size";
    let candles = replay(&[
        path(&trades),
        "--format",
        "csv",
        "--symbol",
        "XBTUSD",
        "--columns",
        columns,
        "--time-unit",
        "ms",
        "--interval",
        "1m",
    ]);
    let rows = read(&shared("data/bitmex_xbtusd/candles_1m_2018-01-01_2018-01-02.csv.zst").unwrap());
    let header: Vec<_> = rows.lines().next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|cell| *cell == name).unwrap();
    let fields: Vec<_> = ["high", "low", "close", "volume", "trades"].map(|name| (name, column(name))).to_vec();
    // The venue stamps a minute with its end, and opens it at the close before: only the first is moved here.
    let time = |cells: &[&str]| stamp_ms(cells[column("timestamp")]) - 60_000;
    assert_eq!(compare(&candles, &rows, true, &time, &fields), 2880);
    let closes = candles.windows(2).filter(|pair| pair[0]["close"] == pair[1]["open"]).count();
    println!("bitmex: 2880 of 2880; open equals the close before in {closes}");
}

/// Milliseconds, or an RFC 3339 time of 2018-01-01 to 03, as the file has them.
fn stamp_ms(text: &str) -> i64 {
    text.parse().unwrap_or_else(|_| {
        let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
        let day = number(8..10) - 1;
        1_514_764_800_000 + (((day * 24 + number(11..13)) * 60 + number(14..16)) * 60 + number(17..19)) * 1000
    })
}

#[test]
fn quotes_without_sizes_make_bid_and_ask_candles() {
    for (name, days, seconds, minutes) in
        [("oanda_eurusd", "20140501_20140515", 208_472, 15_366), ("oanda_xauusd", "20140505", 34_136, 1389)]
    {
        let Some(quotes) = shared(&format!("data/fx_2014/{name}_quotes_{days}.csv.zst")) else { return };
        for (side, offset) in [("bid", "bid"), ("ask", "ask")] {
            let columns = format!("time=time_ms_utc,price={side}");
            let candles = replay(&[
                path(&quotes),
                "--format",
                "csv",
                "--symbol",
                "FX",
                "--columns",
                &columns,
                "--time-unit",
                "ms",
                "--interval",
                "1s",
                "--interval",
                "1m",
                "--fill",
                "none",
            ]);
            for (interval, want) in [("1s", seconds), ("1m", minutes)] {
                let oracle = read(&shared(&format!("data/fx_2014/{name}_candles_{interval}_{days}.csv.zst")).unwrap());
                let header: Vec<_> = oracle.lines().next().unwrap().split(',').collect();
                let column = |part: &str| header.iter().position(|cell| *cell == format!("{offset}_{part}")).unwrap();
                let fields: Vec<_> = ["open", "high", "low", "close"].map(|part| (part, column(part))).to_vec();
                let of_interval: Vec<_> =
                    candles.iter().filter(|candle| candle["interval"] == interval).cloned().collect();
                assert_eq!(compare(&of_interval, &oracle, true, &open_ms, &fields), want, "{name} {side} {interval}");
            }
        }
    }
}

#[test]
fn raw_frames_through_the_command_equal_the_venues_minutes() {
    let Some(frames) = shared("data/ws_binance/binance_usdm_btcusdt_20240808.jsonl.gz") else { return };
    let candles = replay(&[path(&frames), "--venue", "binance", "--interval", "1m"]);
    let rows = read(&shared("data/ws_binance/binance_usdm_btcusdt_klines_1m_2024-08-08.csv").unwrap());
    let full: Vec<_> = rows.lines().skip(2).collect();
    let fields = [OHLCV.as_slice(), &[("quote_volume", 7), ("trades", 8), ("buy_volume", 9)]].concat();
    assert_eq!(compare(&candles, &full.join("\n"), false, &open_ms, &fields), 5);
}

#[test]
fn coinbase_seconds_of_a_capture_keep_their_venue_and_sides() {
    let Some(frames) = shared("data/ws_captures/coinbase_ws_28_0.txt.zst") else { return };
    let candles = replay(&[path(&frames), "--venue", "coinbase", "--interval", "1s", "--fill", "none"]);
    let trades: u64 = candles.iter().map(|candle| candle["trades"].as_u64().unwrap()).sum();
    assert_eq!(trades, 97, "107 messages, of which 10 only anchor the chain of ids");
    assert!(candles.iter().all(|candle| candle["source"].as_str().unwrap().starts_with("coinbase:")));
}

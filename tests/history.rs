//! Real history through the real program: imported and read back by pandas and polars, streamed and stored, mended by itself.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    clients::{QUIET, python_with, script},
    follower::Follower,
    outage::{INTERVALS, assert_stored},
    played::{KEY, assert_same},
    process::{Kandle, command, tempdir},
    support::{read, shared},
    venue::{Venue, klines},
};

/// How many symbols of each half are loaded; all on request.
const SYMBOLS: usize = 8;

/// The rows of the first symbols of a file, in a file of their own.
fn first_symbols(path: &Path, count: usize, to: &Path) -> PathBuf {
    let text = read(path);
    let (header, rows) = text.split_once('\n').unwrap();
    let (mut kept, mut symbols, mut last) = (format!("{header}\n"), 0, "");
    for row in rows.lines() {
        let symbol = row.split(',').next().unwrap();
        symbols += usize::from(symbol != last);
        last = symbol;
        if symbols > count {
            break;
        }
        kept.push_str(row);
        kept.push('\n');
    }
    let file = to.join(path.file_stem().unwrap());
    std::fs::write(&file, kept).unwrap();
    file
}

fn import(store: &str, file: &Path, symbol: &str, interval: &str) {
    let columns = "time=open_time_ms,open=open,high=high,low=low,close=close,volume=volume";
    let columns = if symbol.contains('{') { format!("symbol=symbol,{columns}") } else { columns.to_owned() };
    let mut import = command(&["import", "--store", store, "--symbol", symbol, "--interval", interval]);
    let output = import.args(["--time-unit", "ms", "--columns", &columns]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn imported_history_comes_back_to_pandas_and_polars_in_every_format_and_rolled_up() {
    let Some(python) = python_with("polars") else { return };
    let Some(data) = shared("data") else { return };
    let symbols = if std::env::var_os("KANDLE_LONG").is_some() { usize::MAX } else { SYMBOLS };
    let folder = tempdir();
    let store = format!("redb:{}", folder.join("history.redb").display());
    for half in ["history/binance_spot_1h_98symbols_part1.csv.zst", "history/binance_spot_1h_97symbols_part2.csv.zst"] {
        import(&store, &first_symbols(&data.join(half), symbols, &folder), "binance:{symbol}", "1h");
    }
    for (file, symbol, interval) in [
        ("binance_btcusdt_5m_2024-01-01_2024-09-24", "binance:BTCUSDT", "5m"),
        ("binance_solusdt_5m_2024-01-01_2024-09-24", "binance:SOLUSDT", "5m"),
        ("coinbase_btcusd_1s_2016-10-07", "coinbase:BTC-USD", "1s"),
        ("coinbase_btcusd_1s_2016-10-08", "coinbase:BTC-USD", "1s"),
    ] {
        import(&store, &data.join(format!("rollup/{file}.csv.zst")), symbol, interval);
    }
    let kandle = Kandle::serve(&format!("{QUIET}\n[store]\nurl = {store:?}\n"));
    let count = symbols.min(1000).to_string();
    let arguments = [&script("history.py"), &kandle.url, data.to_str().unwrap(), "--first", &count, "--symbols", "3"];
    let (ok, output) = kandle.client(&python, &arguments, 900);
    assert!(ok && output.contains("history is what was loaded"), "{output}");
    print!("{output}");
}

#[test]
fn what_a_replay_streams_is_what_rest_gives() {
    let kandle = Kandle::demo();
    let follower = Follower::start(&kandle, &INTERVALS);
    let count = |candles: &[Value], interval| candles.iter().filter(|candle| candle["interval"] == interval).count();
    // The snapshot has five minutes of history, which is stored as well.
    follower.until("a quarter of a minute", |candles| count(candles, "15s") > 10 && count(candles, "1s") > 210);
    let sent = follower.end();
    println!("{} candles of a replay are stored as they were streamed", assert_stored(&kandle, sent));
}

#[test]
fn what_is_repaired_after_the_late_window_is_fetched_from_the_venue_by_itself() {
    let venue = Venue::open(Duration::from_secs(60));
    let kandle = Kandle::serve(&format!("{}{KEY}[limits]\nlate_window_ms = 1000\n", venue.config()));
    venue.await_streams(1);
    let follower = Follower::start(&kandle, &["1s"]);
    follower.until("the first seconds", |candles| candles.len() >= 2);
    venue.refuse(429, Duration::from_secs(6));
    let refused_from = venue.recording().past().last().unwrap().ms;
    let lost = venue.lose(20);
    follower.until("the seconds behind the lost trades", |candles| {
        candles.iter().any(|candle| candle["first_id"].as_u64() > Some(lost.end))
    });
    let mut seconds = klines("1s", venue.recording().past()).unwrap();
    seconds.pop();
    let spoilt: Vec<_> = seconds
        .iter()
        .filter(|kline| kline.trades > 0 && kline.last_id >= lost.start && kline.first_id < lost.end)
        .collect();
    assert!(!spoilt.is_empty());
    let deadline = Instant::now() + Duration::from_secs(90);
    for kline in spoilt {
        let path =
            format!("/v1/market/ohlcv/BTC?interval=1s&start={0}&end={1}&numbers=string", kline.open_ms, kline.close_ms);
        let mut candle = loop {
            let candle = kandle.json(&path)["candles"][0].clone();
            if candle["trades"] == kline.trades && candle["state"] == "repaired" {
                break candle;
            }
            assert!(Instant::now() < deadline, "{candle} is still not {kline:?}");
            std::thread::sleep(Duration::from_millis(500));
        };
        // What was sealed before the trades could be had is the venue's own candle, which tells no ids.
        assert!(candle["first_id"].is_null() || kline.close_ms > refused_from + 4_000, "{candle}");
        if candle["first_id"].is_null() {
            (candle["first_id"], candle["last_id"]) = (kline.first_id.into(), kline.last_id.into());
        }
        assert_same(&candle, kline);
    }
}

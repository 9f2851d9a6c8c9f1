//! Recorded input, ordinary and hostile, to candles.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use clap::Parser;
use serde_json::Value;

use super::*;
use crate::cli::{Cli, Command};

/// Replays `text` with these arguments and returns the candles and the tally.
fn replay(text: &str, arguments: &str) -> (Vec<Value>, Tally) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("kandle-replay-{}-{}.txt", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path: PathBuf = std::env::temp_dir().join(name);
    fs::write(&path, text).unwrap();
    let line = format!("kandle replay {} {arguments}", path.display());
    let Command::Replay(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
        panic!("not a replay");
    };
    let mut out = Vec::new();
    let tally = fold(&args, &mut out, &ProgressBar::hidden());
    fs::remove_file(&path).unwrap();
    let candles = String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (candles, tally.unwrap())
}

fn csv(text: &str, columns: &str, more: &str) -> (Vec<Value>, Tally) {
    replay(text, &format!("--format csv --symbol X --time-unit ms --columns {columns} {more}"))
}

fn brief(candles: &[Value]) -> Vec<String> {
    let one = |candle: &Value| {
        let closed = if candle["is_closed"] == true { "" } else { " open" };
        let [ts, o, h, l, c, v] = ["ts", "open", "high", "low", "close", "volume"].map(|name| &candle[name]);
        format!("{} {ts} {o} {h} {l} {c} {v}{closed}", candle["interval"].as_str().unwrap())
    };
    candles.iter().map(one).collect()
}

#[test]
fn rows_become_candles_and_the_last_is_open() {
    let text = "t,p,q\n60000,10.5,1\n61000,12,2\n119999,9,1\n180000,11,0.5\n";
    let (candles, tally) = csv(text, "time=t,price=p,quantity=q", "");
    assert_eq!(brief(&candles), ["1m 60000 10.5 12 9 9 4", "1m 120000 9 9 9 9 0", "1m 180000 11 11 11 11 0.5 open"]);
    assert_eq!((tally.applied, tally.candles, tally.other), (4, 3, 1));
    assert_eq!(candles[0]["source"], "file:X");
    let (candles, _) = csv(text, "time=t,price=p,quantity=q", "--fill none");
    assert_eq!(candles.len(), 2);
}

#[test]
fn candles_of_all_intervals_come_in_order_of_time() {
    let rows: Vec<String> =
        (0..400).map(|minute| format!("{},{},1", 300_000 + minute * 60_000, 10 + minute % 7)).collect();
    let (candles, _) = csv(&rows.join("\n"), "time=1,price=2,quantity=3", "--interval 1h --interval 1m --interval 5m");
    let place = |candle: &Value| {
        let interval = candle["interval"].as_str().and_then(engine::interval::Interval::parse).unwrap();
        (candle["ts"].as_i64().unwrap(), interval)
    };
    assert!(candles.windows(2).all(|pair| place(&pair[0]) < place(&pair[1])));
    let count = |name: &str| candles.iter().filter(|candle| candle["interval"] == name).count();
    assert_eq!((count("1m"), count("5m"), count("1h")), (400, 80, 7));
    assert_eq!(candles.iter().filter(|candle| candle["is_closed"] == false).count(), 3);
}

#[test]
fn times_are_exact_below_a_millisecond_and_sides_are_understood() {
    let (candles, _) = csv("1399248000123.456,1.5\n", "time=1,price=2", "");
    assert_eq!(brief(&candles), ["1m 1399248000000 1.5 1.5 1.5 1.5 0 open"]);
    let (candles, tally) = csv("60000,1,-2\n60001,1,3\n", "time=1,price=2,quantity=3", "");
    assert_eq!((&candles[0]["volume"], &candles[0]["buy_volume"]), (&5.into(), &3.into()));
    assert_eq!(tally.notes.len(), 1);
    let (candles, _) = csv("60000,1,2,BUY\n60001,1,3,s\n", "time=1,price=2,quantity=3,side=4", "");
    assert_eq!(candles[0]["buy_volume"], 2);
    let (candles, _) = csv("60000,1,2,true\n60001,1,3,0\n", "time=1,price=2,quantity=3,buyer_maker=4", "");
    assert_eq!(candles[0]["buy_volume"], 3);
}

#[test]
fn hostile_rows_are_counted_by_reason_and_reach_no_candle() {
    let text = "t,p,q,id\n60000,10,1,5\n60001,NaN,1,6\n60002,-1,1,6\n60003,10,0,6\n60004,10,1e99,6\n60005,10\n\
                60006,10.00000000001,1,6\nsoon,10,1,6\n60007,10,1,six\n60008,10,1,5\n\n99999999999999999,10,1,6\n\
                7258118400000,10,1,6\n\"60009\",\"11\",\"1\",\"6\"\n60010,99999999999,1,7\n";
    let (candles, tally) = csv(text, "time=t,price=p,quantity=q,id=id", "");
    assert_eq!(brief(&candles), ["1m 60000 10 11 10 11 2 open"]);
    assert_eq!((tally.applied, tally.duplicates, tally.other), (2, 1, 2));
    let refused = [
        ("absurd_price", 1),
        ("absurd_quantity", 1),
        ("absurd_time", 1),
        ("malformed_id", 1),
        ("malformed_price", 1),
        ("malformed_time", 1),
        ("negative", 1),
        ("short_row", 1),
        ("time_jump", 1),
        ("too_precise_price", 1),
        ("zero", 1),
    ];
    assert_eq!(tally.refused(), refused);
    let mut table = Vec::new();
    tally.write(&mut table).unwrap();
    let table = String::from_utf8(table).unwrap();
    assert!(table.contains("refused: zero") && table.contains(", line 5"), "{table}");
}

#[test]
fn a_line_without_end_is_skipped() {
    let text = format!("60000,10\n{}\n60001,11\n", "9".repeat(input::LINE_BYTES_MAX * 2));
    let (candles, tally) = csv(&text, "time=1,price=2", "");
    assert_eq!(tally.refused(), [("line_too_long", 1)]);
    assert_eq!(candles[0]["close"], 11);
}

#[test]
fn columns_that_cannot_be_are_refused_with_a_remedy() {
    for (text, part) in [
        ("time=1", "time and price are needed"),
        ("time=1,price=2,price=3", "twice"),
        ("time=1,price=0", "from 1"),
        ("time=1,price=2,colour=3", "no role"),
        ("time=1,price=2,side=3,buyer_maker=4", "one of them"),
        ("time,price=2", "has no ="),
    ] {
        let problem = columns::Columns::parse(text).unwrap_err();
        assert!(problem.contains(part), "{problem}");
    }
    let columns = columns::Columns::parse("time=when,price=2").unwrap();
    let problem = columns.resolve(b"time,price").unwrap_err();
    assert!(problem.contains("\"when\"") && problem.contains("time, price"), "{problem}");
}

#[test]
fn raw_frames_pass_through_the_parser_of_their_venue() {
    let trade = |ns: u64, id: u64, price: &str, ms: u64| {
        format!(
            "{ns} {{\"stream\":\"btcusdt@trade\",\"data\":{{\"e\":\"trade\",\"E\":{ms},\"s\":\"BTCUSDT\",\"t\":{id},\
             \"p\":\"{price}\",\"q\":\"0.5\",\"T\":{ms},\"m\":true,\"M\":true}}}}\n"
        )
    };
    let text = [
        trade(60_000_000_000, 1, "10.00", 60_000),
        trade(60_100_000_000, 1, "10.00", 60_000),
        "12 what\n".to_owned(),
        "what is this\n".to_owned(),
        trade(60_100_000_000, 2, "-3", 60_001),
        trade(61_000_000_000, 2, "12.00", 61_000),
    ];
    let (candles, tally) = replay(&text.concat(), "--venue binance");
    assert_eq!(brief(&candles), ["1m 60000 10 12 10 12 1 open"]);
    assert_eq!(candles[0]["symbol"], "BTC");
    assert_eq!(candles[0]["source"], "binance:BTCUSDT");
    assert_eq!((tally.applied, tally.duplicates), (2, 1));
    assert_eq!(tally.refused(), [("malformed_frame", 1), ("malformed_line", 1), ("negative", 1)]);
}

#[test]
fn every_form_of_a_recorded_line_is_told_apart() {
    use frames::{Recorded, recorded};
    let ts = engine::market::Timestamp;
    assert_eq!(recorded(b"17 {}"), Recorded::Frame(ts(17), b"{}"));
    assert_eq!(recorded(b"1.5: {}"), Recorded::Frame(ts(1_500_000_000), b"{}"));
    assert_eq!(recorded(b"1652459224.53006051234: []"), Recorded::Frame(ts(1_652_459_224_530_060_512), b"[]"));
    assert_eq!(recorded(b" {}"), Recorded::Frame(ts(0), b"{}"));
    assert_eq!(recorded(b"wss://x <-> 1.5"), Recorded::Opened);
    assert_eq!(recorded(b"wss://x <- 1.5: {}"), Recorded::Other);
    assert_eq!(recorded(b""), Recorded::Other);
    for line in [&b"x"[..], b"1x {}", b"99999999999999999999 {}", b"17"] {
        assert_eq!(recorded(line), Recorded::Malformed);
    }
}

#[test]
fn a_reader_of_frames_passes_the_other_lines_of_a_recording_by() {
    use super::frames::{Recorded, recorded};
    for line in ["#kandle <- 1 binance 1 300000 1000", "#from <- 1 2", "#trades <- 1 BTCUSDT 1 2 [{}]", "#time <- 1"] {
        assert_eq!(recorded(line.as_bytes()), Recorded::Other, "{line}");
    }
    assert_eq!(recorded(b"#open <-> 1 2 wss://x"), Recorded::Opened);
}

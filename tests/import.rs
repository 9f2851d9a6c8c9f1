//! `kandle import` as a user calls it: real files with their known defects, and what stands in the store afterwards.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use engine::{candle::State, interval::Interval, number::write_decimal};
use store::{Keep, Store, StoreUrl};

use crate::{
    process::{command, tempdir},
    support::{shared, stored, stored_row, text, trimmed},
};

/// One import: what its table on standard error says, by the name of the row.
struct Import {
    is_ok: bool,
    said: String,
    counts: BTreeMap<String, u64>,
}

impl Import {
    fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// What was refused, by reason.
    fn refused(&self) -> Vec<(&str, u64)> {
        self.counts.iter().filter_map(|(name, count)| Some((name.strip_prefix("refused: ")?, *count))).collect()
    }
}

fn import(store: &Path, files: &[&Path], options: &str) -> Import {
    let mut command = command(&["import"]);
    command.args(files).args(options.split_whitespace()).arg("--store").arg(format!("redb:{}", store.display()));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let row = |line: &str| {
        let (name, rest) = line.split_at_checked(32)?;
        Some((name.trim().to_owned(), rest.split_whitespace().next()?.parse().ok()?))
    };
    Import { is_ok: output.status.success(), counts: said.lines().filter_map(row).collect(), said }
}

fn new_store() -> PathBuf {
    tempdir().join("history.redb")
}

const NAMED: &str = "--time-unit ms --columns time=open_time_ms,open=open,high=high,low=low,close=close,volume=volume";

#[test]
fn every_row_of_real_history_is_stored_as_it_stands_in_its_file() {
    for (file, source, interval) in [
        ("rollup/binance_btcusdt_1h_2024-01-01_2024-09-24.csv.zst", "binance:BTCUSDT", "1h"),
        ("rollup/binance_solusdt_15m_2024-01-01_2024-09-24.csv.zst", "binance:SOLUSDT", "15m"),
        ("rollup/coinbase_btcusd_1s_2016-10-07.csv.zst", "coinbase:BTC-USD", "1s"),
        ("rollup/coinbase_btcusd_1m_2016-10-08.csv.zst", "coinbase:BTC-USD", "1m"),
    ] {
        let Some(path) = shared(&format!("data/{file}")) else { return };
        let store = new_store();
        let done = import(&store, &[&path], &format!("--symbol {source} --interval {interval} {NAMED}"));
        assert!(done.is_ok && done.refused().is_empty(), "{}", done.said);
        let candles = stored(&store, source, Interval::parse(interval).unwrap());
        let want = crate::support::read(&path);
        let want: Vec<String> =
            want.lines().skip(1).map(|line| line.split(',').map(trimmed).collect::<Vec<_>>().join(",")).collect();
        assert_eq!(candles.iter().map(stored_row).collect::<Vec<_>>(), want, "{file}");
        assert_eq!(done.count("candles stored"), want.len() as u64);
        assert!(candles.iter().all(|stored| stored.candle.is_closed && stored.candle.unknown.quote));
    }
}

#[test]
fn the_known_defects_of_real_files_are_found_and_nothing_else() {
    let indexed = "--time-unit ms --columns time=1,open=2,close=3,high=4,low=5,volume=6 --interval 1m";
    let klines = "--interval 1m --time-unit ms --symbol binance:FILUSDT --columns \
        time=open_time,open=open,high=high,low=low,close=close,volume=volume,trades=count,quote_volume=quote_volume,\
        buy_volume=taker_buy_volume";
    let bitmex = "--symbol bitmex:XBTUSD --interval 1m --time-unit rfc3339 --time-is end --columns \
        time=timestamp,open=open,high=high,low=low,close=close,volume=volume,trades=trades";
    let stocks = "--symbol stock:{symbol} --interval 1d --time-unit date --columns \
        symbol=symbol,time=date,open=open,high=high,low=low,close=close,volume=volume";
    // BitMEX gives the previous close as the open, also where no trade of the minute was that low or high.
    let carried_over = vec![("high_below_a_price", 1232), ("low_above_a_price", 1245)];
    let prices = |counts: &[(&'static str, u64)]| counts.to_vec();
    for (file, options, rows, missing, refused) in [
        ("binance_usdm_filusdt_1m_2024-10.csv.zst", klines.to_owned(), 44_640, 0, prices(&[])),
        ("bitmex_xbtusd_1m_2020-01_2020-03.csv.zst", bitmex.to_owned(), 131_040, 0, carried_over),
        (
            "bitfinex_ltcusd_1m_2014.csv.gz",
            format!("--symbol bitfinex:LTCUSD {indexed}"),
            110_366,
            357_554,
            prices(&[]),
        ),
        (
            "sp500_1d_303symbols_2013-02_2018-02.csv.zst",
            stocks.to_owned(),
            369_004,
            0,
            prices(&[("high_below_a_price", 1), ("low_above_a_price", 7), ("missing_open", 8)]),
        ),
    ] {
        let Some(path) = shared(&format!("data/history/{file}")) else { return };
        let done = import(&new_store(), &[&path], &options);
        assert!(done.is_ok, "{}", done.said);
        let count: u64 = refused.iter().map(|(_, count)| count).sum();
        assert_eq!(done.refused(), refused, "{}", done.said);
        assert_eq!((done.count("rows read"), done.count("candles stored")), (rows, rows - count), "{}", done.said);
        if missing > 0 {
            assert_eq!(done.count("intervals without a row"), missing, "{}", done.said);
        }
    }
}

#[test]
fn both_halves_of_a_year_of_195_pairs_are_loaded_whole() {
    let halves =
        ["98symbols_part1", "97symbols_part2"].map(|half| format!("data/history/binance_spot_1h_{half}.csv.zst"));
    let [Some(first), Some(second)] = halves.map(|half| shared(&half)) else { return };
    let store = new_store();
    let options = format!("--symbol binance:{{symbol}} --interval 1h {NAMED},symbol=symbol");
    let done = import(&store, &[&first, &second], &options);
    assert!(done.is_ok && done.refused().is_empty(), "{}", done.said);
    assert_eq!((done.count("candles stored"), done.count("instruments")), (716_932 + 685_711, 195));
    assert_eq!(done.count("intervals without a row"), 1370 + 1198, "outages and late listings, as they were measured");
    // Volumes that were floats at their origin need more decimals than the instrument has, and get them.
    let first = stored(&store, "binance:1INCHUSDT", Interval::H1)[0];
    assert_eq!(stored_row(&first), "1608872400000,0.2,3.0885,0.2,2.5826,13125130.7699999996");
}

#[test]
fn what_a_file_tells_of_trades_is_kept_and_the_rest_is_unknown() {
    let folder = tempdir();
    let file = folder.join("klines.csv");
    std::fs::write(
        &file,
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,x,y\n\
         1696118400000,3.352,3.353,3.351,3.353,12974.9,1696118459999,43490.6693,138,3469.7,11631.6652,0\n\
         1696118460000,3.353,3.353,3.353,3.353,0,1696118519999,0,0,0,0,0\n",
    )
    .unwrap();
    let store = folder.join("history.redb");
    let columns = "time=open_time,open=open,high=high,low=low,close=close,volume=volume,trades=count,\
                   quote_volume=quote_volume,buy_volume=taker_buy_volume";
    let options = format!("--symbol binance:FILUSDT --interval 1m --time-unit ms --columns {columns}");
    assert!(import(&store, &[&file], &options).is_ok);
    let candles = stored(&store, "binance:FILUSDT", Interval::M1);
    let [full, flat] = candles.as_slice() else { panic!("{candles:?}") };
    let decimals = full.scales.price.decimals() + full.scales.quantity.decimals();
    assert_eq!(stored_row(full), "1696118400000,3.352,3.353,3.351,3.353,12974.9");
    assert_eq!(text(full.candle.quote_volume, decimals), "43490.6693");
    assert_eq!(text(full.candle.buy_volume, full.scales.quantity.decimals()), "3469.7");
    assert_eq!((full.candle.trades, full.candle.state), (138, State::Partial));
    assert!(full.candle.unknown.trades && !full.candle.unknown.quote && !full.candle.unknown.sides);
    assert_eq!((flat.candle.state, flat.candle.trades), (State::Flat, 0));
    let mut vwap = Vec::new();
    write_decimal(&mut vwap, full.candle.vwap().unwrap(), full.scales.price.decimals());
    assert!(String::from_utf8(vwap).unwrap().starts_with("3.3519"), "43490.6693 / 12974.9 = 3.35191…");
}

#[test]
fn bad_rows_are_refused_by_name_and_line_and_the_others_go_on() {
    let folder = tempdir();
    let (file, report, store) = (folder.join("a.csv"), folder.join("report.csv"), folder.join("history.redb"));
    let rows = [
        "0,10,12,9,11,1",
        "60,11,12,9,11,1",
        "60,11,12,9,11,1",
        "0,11,12,9,11,1",
        "130,11,12,9,11,1",
        "180,11,12,9,13,1",
        "180,11,12,11.5,11.7,1",
        "180,0,12,0,11,1",
        "180,-1,12,-1,11,1",
        "180,11,12,9,,1",
        "180,11,x,9,11,1",
        "180,11,12,9,11,-1",
        "180,11,12,9",
        "180,11,12,9,11.000000000000000000001,1",
        "",
        "180,11,12,9,11,1",
    ];
    std::fs::write(&file, format!("time,open,high,low,close,volume\n{}\n", rows.join("\n"))).unwrap();
    let options = format!(
        "--symbol x:A --interval 1m --time-unit s --report {} \
         --columns time=time,open=open,high=high,low=low,close=close,volume=volume",
        report.display()
    );
    let done = import(&store, &[&file], &options);
    let refused: Vec<String> = done.refused().iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    assert_eq!(
        refused,
        [
            "duplicate 1",
            "high_below_a_price 1",
            "low_above_a_price 1",
            "malformed_high 1",
            "missing_close 1",
            "negative_price 1",
            "negative_volume 1",
            "off_grid 1",
            "out_of_order 1",
            "short_row 1",
            "too_precise_close 1",
            "zero_price 1",
        ],
        "{}",
        done.said
    );
    assert_eq!((done.count("candles stored"), done.count("rows read")), (3, 15));
    assert!(done.said.contains(&format!("{}, line 4", file.display())), "{}", done.said);
    let listed = std::fs::read_to_string(&report).unwrap();
    assert_eq!(listed.lines().count(), 13);
    assert!(listed.contains("4,duplicate,\"60,11,12,9,11,1\""), "{listed}");
}

#[test]
fn an_import_started_again_changes_nothing_and_replaces_only_when_asked() {
    let folder = tempdir();
    let (first, second, store) = (folder.join("a.csv"), folder.join("b.csv"), folder.join("history.redb"));
    std::fs::write(&first, "0,10,12,9,11,1\n60,11,12,9,11,1.50\n").unwrap();
    // The newest row comes first; one candle is the same at another precision, one differs, one is new.
    std::fs::write(&second, "120,11,12,9,11,1\n60,11.000,12,9,11,1.5\n0,10,12,9,11,2\n").unwrap();
    let options = "--symbol x:A --interval 1m --time-unit s --columns time=1,open=2,high=3,low=4,close=5,volume=6";
    let counts = |done: &Import| {
        (done.count("candles stored"), done.count("stored before"), done.count("refused: differs_from_the_store"))
    };
    assert_eq!(counts(&import(&store, &[&first], options)), (2, 0, 0));
    assert_eq!(counts(&import(&store, &[&first], options)), (0, 2, 0));
    assert_eq!(counts(&import(&store, &[&second], options)), (1, 1, 1));
    assert_eq!(stored_row(&stored(&store, "x:A", Interval::M1)[0]), "0,10,12,9,11,1");
    let replaced = import(&store, &[&second], &format!("{options} --replace --state repaired"));
    assert_eq!(counts(&replaced), (1, 2, 0));
    let candles = stored(&store, "x:A", Interval::M1);
    assert_eq!((stored_row(&candles[0]), candles[0].candle.revision), ("0,10,12,9,11,2".to_owned(), 1));
    assert_eq!(candles.iter().map(|stored| stored.candle.revision).collect::<Vec<_>>(), [1, 0, 0]);
}

#[test]
fn a_wrong_command_says_what_to_do_instead() {
    let folder = tempdir();
    let (file, store) = (folder.join("a.csv"), folder.join("history.redb"));
    std::fs::write(&file, "t,o,h,l,c\n0,10,12,9,11\n").unwrap();
    let columns = "--interval 1m --time-unit s --columns time=t,open=o,high=h,low=l,close=c";
    for (options, word) in [
        (format!("--symbol A {columns}"), "venue:NAME"),
        (format!("--symbol x:{{symbol}} {columns}"), "need each other"),
        (format!("--symbol x:A {columns},volume=v"), "no column is named \"v\"; the header has: t, o, h, l, c"),
        (format!("--symbol x:A --interval 7m {columns}"), "use one of"),
    ] {
        let done = import(&store, &[&file], &options);
        assert!(!done.is_ok && done.said.contains(word), "{options}: {}", done.said);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let held = runtime.block_on(Store::open(&StoreUrl::Redb(store.clone()), Keep::default())).unwrap();
    let done = import(&store, &[&file], &format!("--symbol x:A {columns}"));
    assert!(!done.is_ok && done.said.contains("is in use"), "{}", done.said);
    drop(held);
}

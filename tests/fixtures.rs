//! Every recorded frame of the six venues: read or refused by name, equal to what `simd-json` reads, never a panic.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use engine::market::{Directory, IdRule, Refusal, Side, Timestamp, Trade, Venue};
use feeds::{
    symbols::scaled,
    venue::{Event, FeedError, Names, Parser},
};
use proptest::prelude::*;
use simd_json::prelude::*;

use crate::support::{read, shared};

/// The instruments that occur in the fixtures.
const NAMES: [(Venue, &[&str]); 6] = [
    (Venue::Binance, &["BTCUSDT", "BNBBTC", "ETHUSDT", "NKNUSDT", "LRCBTC"]),
    (
        Venue::Coinbase,
        &[
            "BTC-USD", "ETC-GBP", "SKL-USD", "SKL-BTC", "BAND-GBP", "NMR-EUR", "BAND-BTC", "YFI-BTC", "DASH-BTC",
            "NU-GBP", "CRV-EUR", "SKL-GBP", "ADA-EUR", "ETH-USD",
        ],
    ),
    (Venue::Kraken, &["BTC/USDT", "MATIC/USD", "BTC/USD", "ETH/USD", "SOL/USD"]),
    (Venue::Bybit, &["BTCUSDT", "ETHUSDT", "SOLUSDT"]),
    (Venue::Okx, &["BTC-USDT", "BTC-USD-220527", "UNI-USD-SWAP", "CRV-USDT", "BSV-USDT", "ETH-USDT"]),
    (Venue::Hyperliquid, &["BTC", "FXS", "kPEPE", "ETH", "SOL", "HYPE"]),
];

pub(crate) fn directory() -> Arc<Directory> {
    let mut directory = Directory::new();
    for (venue, names) in NAMES {
        for name in names {
            directory.register(None, scaled(venue, name, 10, 8)).unwrap();
        }
    }
    Arc::new(directory)
}

fn folder(venue: Venue) -> &'static str {
    match venue {
        Venue::Coinbase => "coinbase_exchange",
        other => other.name(),
    }
}

/// The frames of a fixture file: a line each, or the whole file.
fn frames(path: &Path) -> Vec<String> {
    let text = read(path);
    if path.extension().is_some_and(|ending| ending == "jsonl") {
        text.lines().map(str::to_owned).collect()
    } else {
        vec![text]
    }
}

fn parse(venue: Venue, frames: &[String]) -> (Vec<Event>, Vec<FeedError>) {
    let mut parser = Parser::new(venue, Arc::new(Names::new(&directory(), venue)), false);
    let (mut events, mut errors) = (Vec::new(), Vec::new());
    for frame in frames {
        errors.extend(parser.on_frame(frame.as_bytes(), Timestamp(1), &mut events).err());
    }
    (events, errors)
}

fn kind(event: &Event) -> String {
    match event {
        Event::Trade(_) => "trades".into(),
        Event::Proof { .. } => "proofs".into(),
        Event::Refused { reason, field } => format!("refused {field}: {reason}"),
        Event::SubscribeError(_) => "errors told".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

#[test]
fn every_fixture_is_read_or_refused_by_name() {
    if shared("fixtures/feeds").is_none() {
        return;
    }
    let mut table = String::new();
    for (venue, _) in NAMES {
        let mut files: Vec<_> = std::fs::read_dir(shared("fixtures/feeds").unwrap().join(folder(venue)))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        for path in files.iter().filter(|path| path.extension().is_some_and(|ending| ending != "txt")) {
            let (events, errors) = parse(venue, &frames(path));
            let mut counts = BTreeMap::new();
            for name in events.iter().map(kind).chain(errors.iter().map(ToString::to_string)) {
                *counts.entry(name).or_insert(0) += 1;
            }
            let counts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            table += &format!("{}/{}: {}\n", venue, path.file_name().unwrap().to_str().unwrap(), counts.join(", "));
        }
    }
    expect_test::expect_file!["fixtures.expect.txt"].assert_eq(&table);
}

#[test]
fn files_of_other_venues_are_refused_or_ignored_by_every_parser() {
    let Some(root) = shared("fixtures/feeds") else { return };
    let others =
        ["alpaca", "coinbase_advanced", "dexscreener", "geckoterminal", "massive", "pumpportal", "solana_pumpfun"];
    let mut count = 0;
    for folder in others {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let frames = frames(&entry.unwrap().path());
            for (venue, _) in NAMES {
                let (events, errors) = parse(venue, &frames);
                assert!(
                    events.iter().all(|event| !matches!(event, Event::Trade(_))),
                    "{venue} took a trade of {folder}"
                );
                assert!(errors.iter().all(|error| error.to_string().starts_with(venue.name())));
            }
            count += frames.len();
        }
    }
    assert!(count > 300, "{count}");
}

/// A slow and plain reading of any venue's trade frame, by a general JSON parser.
fn judge(venue: Venue, frame: &str) -> Vec<(String, u64, u64, String, String, Side)> {
    let mut bytes = frame.as_bytes().to_vec();
    let Ok(value) = simd_json::to_owned_value(&mut bytes) else { return Vec::new() };
    let words = |value: &simd_json::OwnedValue, key: &str| match value.get(key) {
        Some(value) if value.is_str() => value.as_str().unwrap().to_owned(),
        Some(value) => value.encode(),
        None => String::new(),
    };
    let pick = |row: &simd_json::OwnedValue, keys: [&str; 5], count: u64| {
        let [name, id, price, quantity, side] = keys.map(|key| words(row, key));
        let id: u64 = id.parse().unwrap();
        let side = match (venue, side.to_lowercase().as_str()) {
            (Venue::Coinbase, "sell") | (Venue::Binance, "false") | (Venue::Hyperliquid, "b") => Side::Buy,
            (Venue::Coinbase, "buy") | (Venue::Binance, "true") | (Venue::Hyperliquid, "a") => Side::Sell,
            (_, "buy") => Side::Buy,
            _ => Side::Sell,
        };
        (name, id + 1 - count, id, price, quantity, side)
    };
    let rows = |key: &str| value.get(key).and_then(|rows| rows.as_array()).cloned().unwrap_or_default();
    match venue {
        Venue::Binance => {
            let data = value.get("data").unwrap_or(&value);
            match words(data, "e").as_str() {
                "trade" => vec![pick(data, ["s", "t", "p", "q", "m"], 1)],
                "aggTrade" => {
                    let ids = |key| words(data, key).parse::<u64>().unwrap();
                    vec![pick(data, ["s", "l", "p", "q", "m"], ids("l") - ids("f") + 1)]
                }
                _ => Vec::new(),
            }
        }
        Venue::Coinbase if matches!(words(&value, "type").as_str(), "match" | "last_match") => {
            vec![pick(&value, ["product_id", "trade_id", "price", "size", "side"], 1)]
        }
        Venue::Kraken if words(&value, "channel") == "trade" => {
            rows("data").iter().map(|row| pick(row, ["symbol", "trade_id", "price", "qty", "side"], 1)).collect()
        }
        Venue::Bybit if words(&value, "topic").starts_with("publicTrade.") => {
            let spot = |row: &&simd_json::OwnedValue| words(row, "i").parse::<u64>().is_ok();
            rows("data").iter().filter(spot).map(|row| pick(row, ["s", "i", "p", "v", "S"], 1)).collect()
        }
        Venue::Okx => {
            let pushed = value.get("arg").is_some();
            let trade = |row: &&simd_json::OwnedValue| pushed && row.get("tradeId").is_some();
            let count = |row| words(row, "count").parse().unwrap_or(1);
            rows("data")
                .iter()
                .filter(trade)
                .map(|row| pick(row, ["instId", "tradeId", "px", "sz", "side"], count(row)))
                .collect()
        }
        Venue::Hyperliquid if words(&value, "channel") == "trades" => {
            rows("data").iter().map(|row| pick(row, ["coin", "tid", "px", "sz", "side"], 1)).collect()
        }
        _ => Vec::new(),
    }
}

/// Our trades must be those of the judge; Kraken's numbers are compared as numbers, since the judge reads floats.
fn compare(venue: Venue, frames: &[String]) -> usize {
    let directory = directory();
    let mut count = 0;
    for frame in frames {
        let (events, _) = parse(venue, std::slice::from_ref(frame));
        let ours: Vec<Trade> = events
            .into_iter()
            .filter_map(|event| if let Event::Trade(trade) = event { Some(trade) } else { None })
            .collect();
        let known = |name: &str| directory.find(venue, name).is_some();
        let mut theirs: Vec<_> = judge(venue, frame).into_iter().filter(|row| known(&row.0)).collect();
        if venue.id_rule() == IdRule::Contiguous {
            theirs.sort_by_key(|row| row.2);
        }
        assert_eq!(ours.len(), theirs.len(), "{frame}");
        for (trade, (name, first_id, id, price, quantity, side)) in ours.iter().zip(theirs) {
            let instrument = directory.instrument(trade.symbol).unwrap();
            assert_eq!(
                (&*instrument.name, trade.first_id, trade.id, trade.side),
                (&*name, first_id, id, side),
                "{frame}"
            );
            let number = |value: i64, scale: i32| value as f64 / 10_f64.powi(scale);
            for (value, scale, text) in [(trade.price.0, 10, price), (trade.quantity.0, 8, quantity)] {
                let want: f64 = text.parse().unwrap();
                assert!((number(value, scale) - want).abs() <= want.abs() * 1e-12, "{text} is {value}");
            }
            count += 1;
        }
    }
    count
}

#[test]
fn trades_equal_an_independent_reading_of_every_fixture_and_recording() {
    let Some(root) = shared("fixtures/feeds") else { return };
    for (venue, _) in NAMES {
        let mut count = 0;
        for entry in std::fs::read_dir(root.join(folder(venue))).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "jsonl") {
                count += compare(venue, &frames(&path));
            }
        }
        assert!(count > 0, "{venue}");
        println!("{venue}: {count} trades equal");
    }
    for name in ["binance_spot_btcusdt_20240808", "binance_usdm_btcusdt_20240808"] {
        let text = read(&shared(&format!("data/ws_binance/{name}.jsonl.gz")).unwrap());
        let lines = text.lines().filter(|line| line.contains("@trade"));
        let frames: Vec<_> = lines.map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
        assert_eq!(compare(Venue::Binance, &frames), frames.len());
    }
}

#[test]
fn kraken_number_literals_keep_every_digit() {
    let frame = r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":118832.9,
        "qty":0.00123440,"ord_type":"market","trade_id":9007199254740993,"timestamp":"2025-07-23T04:41:46.919844Z"}]}"#;
    let (events, errors) = parse(Venue::Kraken, &[frame.to_owned()]);
    assert!(errors.is_empty());
    let Event::Trade(trade) = &events[0] else { panic!("{events:?}") };
    assert_eq!((trade.price.0, trade.quantity.0, trade.id), (1_188_329_000_000_000, 123_440, 9_007_199_254_740_993));
    assert_eq!(trade.ts_event.0, 1_753_245_706_919_844_000);
}

#[test]
fn a_coinbase_maker_sell_is_a_taker_buy() {
    let Some(path) = shared("fixtures/feeds/coinbase_exchange/last_match_then_match_2026-08-25.jsonl") else { return };
    let (events, _) = parse(Venue::Coinbase, &frames(&path));
    for (event, frame) in events.iter().zip(frames(&path)) {
        let Event::Trade(trade) = event else { panic!("{event:?}") };
        assert_eq!(trade.side == Side::Buy, frame.contains(r#""side":"sell""#));
    }
}

#[test]
fn both_pongs_of_bybit_and_the_text_pong_of_okx_are_known() {
    let bybit = [
        r#"{"success":true,"ret_msg":"pong","conn_id":"x","op":"ping"}"#,
        r#"{"success":true,"ret_msg":"pong","op":"pong"}"#,
    ];
    let (events, _) = parse(Venue::Bybit, &bybit.map(str::to_owned));
    assert_eq!(events, [Event::Pong, Event::Pong]);
    assert_eq!(parse(Venue::Okx, &["pong".to_owned()]).0, [Event::Pong]);
}

#[test]
fn values_that_no_market_knows_are_refused_by_reason() {
    let frame = |price: &str, quantity: &str, name: &str| {
        format!(
            r#"{{"e":"trade","E":1,"s":"{name}","t":1,"p":"{price}","q":"{quantity}","T":1672515782136,"m":true,"M":true}}"#
        )
    };
    let check = |frame: String, want: Refusal| {
        let (events, errors) = parse(Venue::Binance, &[frame]);
        assert!(errors.is_empty());
        assert!(matches!(events[..], [Event::Refused { reason, .. }] if reason == want), "{events:?}");
    };
    check(frame("0", "1", "BTCUSDT"), Refusal::Zero);
    check(frame("-1", "1", "BTCUSDT"), Refusal::Negative);
    check(frame("1", "0.000000001", "BTCUSDT"), Refusal::TooPrecise);
    check(frame("99999999999999999999", "1", "BTCUSDT"), Refusal::Absurd);
    check(frame("900000000", "90000000000", "BTCUSDT"), Refusal::Absurd);
    check(frame("NaN", "1", "BTCUSDT"), Refusal::Malformed);
    check(frame("1", "1", "NOPE"), Refusal::UnknownSymbol);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Cut, changed and repeated bytes never panic, and whatever trade comes out obeys the laws of a trade.
    #[test]
    fn prop_broken_frames_never_panic(pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(),
                                      byte in any::<u8>(), cut in any::<prop::sample::Index>(), whole in any::<bool>()) {
        let Some(root) = shared("fixtures/feeds") else { return Ok(()) };
        let all: Vec<(Venue, String)> = NAMES.iter().flat_map(|(venue, _)| {
            let name = match venue {
                Venue::Binance => "doc_stream_events.jsonl",
                Venue::Coinbase => "matches_2021-04-17.jsonl",
                Venue::Kraken => "v2_trade_updates.jsonl",
                Venue::Bybit => "spot_publictrade_2023-2026.jsonl",
                Venue::Okx => "trades_and_control_2026.jsonl",
                _ => "trades_2024-10-29.jsonl",
            };
            frames(&root.join(folder(*venue)).join(name)).into_iter().map(|frame| (*venue, frame))
        }).collect();
        let (venue, frame) = pick.get(&all);
        let mut bytes = frame.clone().into_bytes();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        if !whole {
            bytes.truncate(cut.index(bytes.len() + 1));
        }
        let mut parser = Parser::new(*venue, Arc::new(Names::new(&directory(), *venue)), true);
        let mut events = Vec::new();
        let _ = parser.on_frame(&bytes, Timestamp(i64::MAX / 2), &mut events);
        for event in events {
            if let Event::Trade(trade) = event {
                prop_assert_eq!(trade.check(false), Ok(()));
            }
        }
    }
}

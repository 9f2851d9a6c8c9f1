//! Recorded frames: through the readers, and over a socket through the supervisor.

use std::{collections::HashMap, path::Path, time::Duration};

use engine::{
    continuity::{Continuity, Seen},
    market::{Directory, IdRule, Venue},
    message::Input,
};
use feeds::{
    replay::{Cycle, RawFrames, Reader, Speed, TimeShift, discover, run},
    symbols,
};
use tokio::sync::{mpsc, watch};

use crate::{
    fake::Exchange,
    harness::{Harness, clock, shared, timings},
};

const FIXTURES: [(Venue, &str); 6] = [
    (Venue::Binance, "trade_combined_bnbbtc_2019.jsonl"),
    (Venue::Coinbase, "matches_2021-04-17.jsonl"),
    (Venue::Kraken, "v2_trade_updates.jsonl"),
    (Venue::Bybit, "spot_publictrade_2023-2026.jsonl"),
    (Venue::Okx, "trades_2022-05-13.jsonl"),
    (Venue::Hyperliquid, "trades_2024-10-29.jsonl"),
];

fn directory(path: &Path, venue: Venue) -> (Vec<String>, Directory) {
    let names = discover(path, venue).unwrap();
    let mut directory = Directory::new();
    for name in &names {
        directory.register(None, symbols::scaled(venue, name, 10, 8)).unwrap();
    }
    (names, directory)
}

#[tokio::test]
async fn recorded_frames_arrive_over_a_socket() {
    for (venue, file) in FIXTURES {
        let folder = if venue == Venue::Coinbase { "coinbase_exchange" } else { venue.name() };
        let Some(path) = shared(&format!("fixtures/feeds/{folder}/{file}")) else { return };
        let (names, directory) = directory(&path, venue);
        let mut reader = Reader::new(venue, &directory);
        let frames: Vec<_> = RawFrames::open(&path).unwrap().map(Result::unwrap).collect();
        let want: usize = frames.iter().map(|frame| reader.trades_of(frame).count()).sum();
        assert!(
            want > 0 && reader.tally().errors.is_empty() && reader.tally().refused.is_empty(),
            "{}",
            reader.tally()
        );
        let exchange = Exchange::open(venue).await;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (ws, rest) = (format!("ws://{}", exchange.ws), format!("http://{}", exchange.rest));
        let mut harness = Harness::start(venue, &names, ws, rest, timings());
        exchange.listeners(1).await;
        frames.iter().for_each(|frame| exchange.say(&frame.text));
        harness.until("the recorded trades", |harness| harness.trades.len() >= want).await;
        harness.end().await;
    }
}

#[tokio::test]
async fn a_capture_is_replayed_whole_and_in_order() {
    let path = |day| shared(&format!("data/ws_binance/binance_spot_btcusdt_{day}.jsonl.gz"));
    let (Some(first), Some(second)) = (path("20240808"), path("20240809")) else { return };
    let (names, directory) = directory(&first, Venue::Binance);
    assert_eq!(names, ["BTCUSDT"]);
    let mut ids = Continuity::new(IdRule::Contiguous);
    for (path, want) in [(first, 9_757), (second, 10_147)] {
        let mut reader = Reader::new(Venue::Binance, &directory);
        let (sink, mut inputs) = mpsc::channel(1_024);
        let (_stop, stopped) = watch::channel(false);
        let counting = tokio::spawn(async move {
            while let Some(Input::Trade(trade)) = inputs.recv().await {
                assert_eq!(ids.observe(&trade), Seen::Next);
            }
            ids
        });
        let shift = TimeShift { ts: 1, id: 0 };
        run(RawFrames::open(&path).unwrap(), &mut reader, Speed::Max, shift, &sink, stopped).await.unwrap();
        drop(sink);
        ids = counting.await.unwrap();
        assert_eq!(reader.tally().trades, want, "{}", reader.tally());
        assert!(reader.tally().errors.is_empty());
    }
}

#[tokio::test]
async fn captures_of_other_forms_are_read_too() {
    for (venue, file, want) in [(Venue::Okx, "okx_ws_1_0", 74), (Venue::Coinbase, "coinbase_ws_28_0", 107)] {
        let Some(path) = shared(&format!("data/ws_captures/{file}.txt.zst")) else { return };
        let (_, directory) = directory(&path, venue);
        let mut reader = Reader::new(venue, &directory);
        for frame in RawFrames::open(&path).unwrap() {
            let frame = frame.unwrap();
            assert!(frame.ts_recv.0 > 1_600_000_000_000_000_000);
            reader.on_frame(&frame);
        }
        assert_eq!(reader.tally().trades, want, "{}", reader.tally());
    }
}

#[tokio::test]
async fn a_cycle_plays_a_recording_for_ever_in_the_present() {
    let Some(path) = shared("fixtures/feeds/coinbase_exchange/matches_2021-04-17.jsonl") else { return };
    let (names, directory) = directory(&path, Venue::Coinbase);
    let mut cycle = Cycle::new();
    let tally = cycle.load(&path, Venue::Coinbase, &directory).unwrap();
    assert_eq!((tally.trades, cycle.len(), names.len()), (107, 107, 10));
    let (sink, mut inputs) = mpsc::channel(64);
    let (stop, stopped) = watch::channel(false);
    let clock = clock();
    let start = clock();
    let playing = tokio::spawn(cycle.run(Speed::Times { num: 1_000, den: 1 }, clock, sink, stopped));
    let mut chains = HashMap::new();
    for _ in 0..107 * 5 {
        let Some(Input::Trade(trade)) = inputs.recv().await else { panic!("the cycle ended") };
        assert!(trade.ts_event.0 > start.0 - 60_000_000_000, "{trade:?}");
        let seen = chains.entry(trade.symbol).or_insert_with(|| Continuity::new(IdRule::Contiguous)).observe(&trade);
        assert_eq!(seen, Seen::Next);
    }
    stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(1), playing).await.unwrap().unwrap();
}

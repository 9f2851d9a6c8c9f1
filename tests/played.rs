//! Real trades, played by a venue of the test's own, through the real program: its candles are the independent ones.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::{
    follower::Follower,
    process::Kandle,
    venue::{Kline, Recorded, Venue, klines, klines::units},
};

pub(crate) const KEY: &str = "[[keys]]\nkey = \"kai-test-key\"\nconnections = 5\n";

/// The last that was sent of each candle, by interval and open time.
pub(crate) fn final_revisions(candles: Vec<Value>) -> BTreeMap<(String, i64), Value> {
    let key = |candle: &Value| (candle["interval"].as_str().unwrap().to_owned(), candle["ts"].as_i64().unwrap());
    candles.into_iter().map(|candle| (key(&candle), candle)).collect()
}

/// Panics unless every value of `candle` is that of `kline`.
pub(crate) fn assert_same(candle: &Value, kline: &Kline) {
    let amount = |field: &str| units(candle[field].as_str().unwrap_or_else(|| panic!("no {field}: {candle}")));
    // Quote volumes have sixteen decimals, in units of both.
    let (whole, fraction) = {
        let text = candle["quote_volume"].as_str().unwrap();
        text.split_once('.').unwrap_or((text, ""))
    };
    let quote_volume: u128 = format!("{whole}{fraction:0<16}").parse().unwrap();
    let ours = (
        ["open", "high", "low", "close", "volume", "buy_volume"].map(amount),
        quote_volume,
        candle["trades"].as_u64().unwrap(),
        candle["first_id"].as_u64().unwrap_or(0),
        candle["last_id"].as_u64().unwrap_or(0),
        candle["close_ts"].as_i64().unwrap(),
    );
    let theirs = (
        [kline.open, kline.high, kline.low, kline.close, kline.volume, kline.buy_volume],
        kline.quote_volume,
        kline.trades,
        kline.first_id,
        kline.last_id,
        kline.close_ms,
    );
    assert_eq!(ours, theirs, "{candle}");
}

/// The candles of `interval` that lie wholly behind `after` and that the trades have gone past.
pub(crate) fn whole(interval: &str, after: &Recorded, past: &[Recorded]) -> Vec<Kline> {
    let mut klines = klines(interval, past).unwrap();
    klines.pop();
    klines.retain(|kline| kline.open_ms > after.ms);
    klines
}

#[test]
fn streamed_candles_equal_the_independent_ones_over_lost_trades_a_ban_and_a_cut() {
    let intervals = ["1s", "5s"];
    let venue = Venue::open(Duration::from_secs(60));
    let kandle = Kandle::serve(&format!("{}{KEY}", venue.config()));
    venue.await_streams(1);
    let follower = Follower::start(&kandle, &intervals);
    let count = |candles: &[Value]| candles.iter().filter(|candle| candle["interval"] == "1s").count();
    follower.until("the first seconds", |candles| count(candles) >= 3);
    // What is before the first trade cannot be proven; from here on all can.
    let begun = venue.recording().past().last().unwrap().clone();
    let last = venue.lose(20).end;
    follower.until("the seconds behind the lost trades", |candles| {
        candles.iter().any(|candle| candle["first_id"].as_u64() > Some(last))
    });
    venue.close_door(true);
    venue.cut();
    venue.await_streams(0);
    std::thread::sleep(Duration::from_secs(2));
    venue.refuse(429, Duration::from_secs(8));
    let requests = venue.requests();
    venue.close_door(false);
    venue.await_streams(1);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while venue.requests() == requests {
        assert!(std::time::Instant::now() < deadline, "nobody asks for what the cut has cost");
        std::thread::sleep(Duration::from_millis(50));
    }
    let back = venue.recording().past().last().unwrap().ms;
    // All that is whole by now is repaired a little later.
    let is_sound = |candle: &Value| ["complete", "repaired", "flat"].contains(&candle["state"].as_str().unwrap());
    follower.until("every candle sound until after the cut", |candles| {
        let last = final_revisions(candles.to_vec());
        let of_now = || last.values().filter(|candle| candle["ts"].as_i64() > Some(begun.ms));
        let is_past = |candle: &Value| candle["ts"].as_i64() > Some(back + 3_000);
        of_now().any(is_past) && of_now().filter(|candle| !is_past(candle)).all(is_sound)
    });
    let sent = final_revisions(follower.end());
    let past = venue.recording().past();
    for interval in intervals {
        let mut equal = 0;
        for kline in whole(interval, &begun, past).iter().filter(|kline| kline.close_ms < back) {
            let candle =
                sent.get(&(interval.to_owned(), kline.open_ms)).unwrap_or_else(|| panic!("{interval}: {kline:?}"));
            assert_same(candle, kline);
            assert!(is_sound(candle), "{candle}");
            equal += 1;
        }
        println!("{interval}: {equal} candles are equal");
        // Whether a longer one lies wholly within the run is chance.
        assert!(equal > 0 || interval != "1s", "{interval}");
    }
    assert!(venue.requests() > requests + 1, "what the ban refused is asked again");
}

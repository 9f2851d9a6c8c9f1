//! The real program, killed at random moments while a venue plays real trades: it ends with the candles of one that was not.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    follower::Follower,
    played::{KEY, assert_same, final_revisions, whole},
    process::Kandle,
    venue::{Venue, recording},
};

const INTERVALS: [&str; 5] = ["1s", "5s", "15s", "30s", "1m"];
/// How many kills, if `KANDLE_KILLS` does not say.
const KILLS: u32 = 50;
/// The longest life.
const LIFE_MS: u64 = 1600;

/// Numbers that look random; the seed is printed, and `KANDLE_SEED` repeats it.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let now = || recording::now_ms().unsigned_abs();
        let seed = std::env::var("KANDLE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(now);
        println!("KANDLE_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The closed candles of REST from `first` up to `end`, by open time.
fn stored(kandle: &Kandle, interval: &str, first: i64, end: i64) -> BTreeMap<i64, Value> {
    let path = format!("/v1/market/ohlcv/BTC?interval={interval}&start={first}&end={end}&limit=10000&numbers=string");
    let answer = kandle.json(&path);
    let rows = answer["candles"].as_array().unwrap_or_else(|| panic!("{answer}"));
    rows.iter().map(|candle| (candle["ts"].as_i64().unwrap(), candle.clone())).collect()
}

fn is_sound(candle: &Value) -> bool {
    ["complete", "repaired", "flat"].contains(&candle["state"].as_str().unwrap())
}

#[test]
fn a_program_that_is_killed_again_and_again_ends_with_the_candles_of_one_that_was_not() {
    let kills = std::env::var("KANDLE_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let mut chance = Chance::new();
    let venue = Venue::open(Duration::from_secs(60));
    let mut kandle = Kandle::serve(&format!("{}{KEY}", venue.config()));
    venue.await_streams(1);
    let follower = Follower::start(&kandle, &INTERVALS);
    follower.until("the first second", |candles| !candles.is_empty());
    // What is before the first trade cannot be proven; from here on all can.
    let begun = venue.recording().past().last().unwrap().clone();
    for _ in 0..kills {
        sleep(Duration::from_millis(chance.below(LIFE_MS)));
        kandle.kill_and_start();
    }
    kandle.await_answer();
    let back = venue.recording().past().last().unwrap().ms;
    follower.until("the seconds behind the last kill", |candles| {
        candles.iter().any(|candle| candle["interval"] == "1s" && candle["ts"].as_i64() > Some(back + 3_000))
    });
    // What is whole by now is repaired a little later.
    let deadline = Instant::now() + Duration::from_secs(20);
    let seconds = loop {
        let seconds = stored(&kandle, "1s", begun.ms - begun.ms % 1000 + 1000, back);
        if seconds.values().all(is_sound) || Instant::now() > deadline {
            break seconds;
        }
        sleep(Duration::from_millis(200));
    };
    assert!(!seconds.is_empty());
    let sent = final_revisions(follower.end());
    let past = venue.recording().past();
    for interval in INTERVALS {
        let rows = stored(&kandle, interval, begun.ms, back);
        let mut equal = 0;
        for kline in whole(interval, &begun, past).iter().filter(|kline| kline.close_ms < back) {
            let candle = rows.get(&kline.open_ms).unwrap_or_else(|| panic!("{interval} has no {kline:?}"));
            assert_same(candle, kline);
            assert!(is_sound(candle), "{candle}");
            equal += 1;
        }
        let of_it = sent.iter().filter(|((of, ts), _)| of == interval && (begun.ms..back).contains(ts));
        let mut known = 0;
        for ((_, ts), sent) in of_it {
            let candle = rows.get(ts).unwrap_or_else(|| panic!("a client was sent {sent}, and it is lost"));
            assert!(candle["revision"].as_u64() >= sent["revision"].as_u64(), "{candle} {sent}");
            known += 1;
        }
        println!("{interval}: {equal} candles are those of an undisturbed run, {known} that were sent are there");
        // Whether a longer one lies wholly within the run is chance.
        assert!(equal > 0 || !["1s", "5s"].contains(&interval), "{interval}");
    }
}

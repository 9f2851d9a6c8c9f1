//! The core as one machine: recorded trades in, what subscribers are sent out; holes, lateness, clocks and resumption.

use std::sync::Arc;

use engine::{
    channel::ChannelId,
    frame::Form,
    interval::Interval,
    json::write_candle,
    market::{Directory, Origin, Price, Quantity, Side, Symbol, Timestamp, Trade, Venue},
    message::{Delivery, Input, Missing, Outputs, Position, Subscribe},
    shard::{Shard, ShardConfig},
};
use feeds::{
    symbols::scaled,
    venue::{Event, Names, Parser},
};
use proptest::prelude::*;
use serde_json::Value;

use crate::{
    fixtures,
    support::{Single, read, shared},
};

mod holes;

/// A shard and one worker that listens.
struct Rig {
    shard: Shard,
    directory: Arc<Directory>,
    out: Outputs,
}

impl Rig {
    fn new(directory: Arc<Directory>) -> Self {
        Self::with(directory, ShardConfig::default())
    }

    fn with(directory: Arc<Directory>, config: ShardConfig) -> Self {
        let config = ShardConfig { late_window_ms: 120_000, ..config };
        let symbols: Vec<_> = directory.symbols().map(|(symbol, _)| symbol).collect();
        let shard = Shard::new(Arc::clone(&directory), symbols.into_iter(), config);
        Self { shard, directory, out: Outputs::default() }
    }

    /// One instrument `BTC` on Binance with prices of 2 decimals.
    fn btc() -> Self {
        Self::btc_with(ShardConfig::default())
    }

    fn btc_with(config: ShardConfig) -> Self {
        let mut directory = Directory::new();
        directory.register(Some("BTC"), scaled(Venue::Binance, "BTCUSDT", 2, 3)).unwrap();
        Self::with(Arc::new(directory), config)
    }

    fn subscribe(&mut self, channel: &str, since: Option<Position>) {
        let channel = ChannelId::parse(channel, &self.directory).unwrap();
        let wish = Subscribe { worker: 0, session: 7, channel, form: Form::Number, since, snapshot: 200, join: true };
        self.shard.on_input(Input::Subscribe(wish));
    }

    fn leave(&mut self, channel: &str) {
        let channel = ChannelId::parse(channel, &self.directory).unwrap();
        self.shard.on_input(Input::Unsubscribe { worker: 0, channel, form: Form::Number });
    }

    /// Ends the turn at `ms` and returns the ops that worker 0 was sent.
    fn turn(&mut self, ms: i64) -> Vec<Value> {
        self.shard.end_turn(Timestamp::from_millis(ms), &mut self.out);
        let mut ops = Vec::new();
        for delivery in self.out.workers.iter_mut().flat_map(std::mem::take) {
            match delivery {
                Delivery::Frame(frame) => ops.push(serde_json::from_slice(frame.text()).unwrap()),
                Delivery::Snapshot { frames, .. } => {
                    for frame in frames {
                        let start = frame.iter().position(|byte| *byte == b'{').unwrap();
                        ops.push(serde_json::from_slice(&frame[start..]).unwrap());
                    }
                }
            }
        }
        ops
    }

    fn trade(&mut self, id: u64, ms: i64, price: i64, quantity: i64) {
        self.shard.on_input(Input::Trade(trade(id, ms, price, quantity, Origin::Live)));
    }
}

fn trade(id: u64, ms: i64, price: i64, quantity: i64, origin: Origin) -> Trade {
    let ts = Timestamp::from_millis(ms);
    let (price, quantity) = (Price(price), Quantity(quantity));
    Trade {
        symbol: Symbol(0),
        first_id: id,
        id,
        trades: 1,
        ts_event: ts,
        ts_recv: ts,
        price,
        quantity,
        side: Side::Buy,
        origin,
    }
}

/// Minute 0 of these tests: a whole hour.
const T0: i64 = 1_723_158_000_000;

fn brief(op: &Value) -> String {
    let data = &op["data"];
    let time = (data["ts"].as_i64().unwrap_or(0) - T0) / 1000;
    format!(
        "{}s {} {} r{} {}",
        time,
        data["close"],
        data["trades"],
        data["revision"],
        data["state"].as_str().unwrap_or("")
    )
}

fn closed(ops: &[Value]) -> Vec<String> {
    ops.iter().filter(|op| op["data"]["is_closed"] == true).map(brief).collect()
}

#[test]
fn each_interval_closes_once_by_the_clock_also_without_a_trade() {
    let mut rig = Rig::btc();
    rig.subscribe("market.BTC.1m", None);
    rig.trade(1, T0 + 100, 10_000, 5);
    let ops = rig.turn(T0 + 200);
    assert_eq!((ops.len(), &ops[0]["op"], &ops[0]["seq"]), (1, &Value::from("snapshot"), &Value::from(0)));
    rig.trade(2, T0 + 60_500, 10_100, 5);
    rig.trade(3, T0 + 60_600, 10_200, 5);
    assert_eq!(closed(&rig.turn(T0 + 60_700)), Vec::<String>::new(), "the first candle is not proven and waits");
    assert_eq!(closed(&rig.turn(T0 + 61_100)), ["0s 100 1 r0 partial"]);
    assert_eq!(closed(&rig.turn(T0 + 120_900)), Vec::<String>::new());
    assert_eq!(closed(&rig.turn(T0 + 121_100)), ["60s 102 2 r0 partial"], "nothing proves its end yet");
    assert_eq!(closed(&rig.turn(T0 + 181_200)), ["120s 102 0 r0 flat"]);
    assert_eq!(closed(&rig.turn(T0 + 300)), Vec::<String>::new(), "a clock that goes back closes nothing twice");
    rig.trade(4, T0 + 190_000, 10_300, 5);
    assert_eq!(closed(&rig.turn(T0 + 190_100)), ["60s 102 2 r1 complete"], "the next id is the proof");
    let ahead = closed(&rig.turn(T0 + 3_790_000));
    assert_eq!(ahead.len(), 60, "an hour later each minute closes, once");
    assert_eq!(closed(&rig.turn(T0 + 3_791_000)), Vec::<String>::new());
}

#[test]
fn a_busy_minute_closes_as_soon_as_the_ids_prove_it() {
    let mut rig = Rig::btc();
    rig.subscribe("market.BTC.1m", None);
    for (id, ms) in [(1, 59_000), (2, 60_100), (3, 90_000), (4, 119_900)] {
        rig.trade(id, T0 + ms, 10_000, 5);
    }
    rig.turn(T0 + 119_950);
    rig.trade(5, T0 + 120_010, 10_000, 5);
    assert_eq!(closed(&rig.turn(T0 + 120_020)), ["60s 100 3 r0 complete"]);
}

#[test]
fn a_late_trade_gives_a_revision_and_a_sealed_candle_stays() {
    let mut rig = Rig::btc();
    rig.subscribe("market.BTC.1m", None);
    for (id, ms, price) in [(1, 1000, 10_000), (2, 2000, 10_100), (4, 61_000, 10_300)] {
        rig.trade(id, T0 + ms, price, 5);
    }
    rig.turn(T0 + 61_500);
    assert_eq!(rig.shard.stats().gaps_open, 1);
    rig.shard.on_input(Input::Trade(trade(3, T0 + 30_000, 10_900, 5, Origin::Repair)));
    assert_eq!(closed(&rig.turn(T0 + 62_000)), ["0s 109 3 r1 partial"], "the first minute has no beginning");
    rig.shard.on_input(Input::Trade(trade(3, T0 + 30_000, 10_900, 5, Origin::Repair)));
    assert_eq!(closed(&rig.turn(T0 + 62_100)), Vec::<String>::new());
    assert_eq!(rig.shard.stats().duplicates, 1);
    rig.trade(6, T0 + 300_000, 10_400, 5);
    rig.turn(T0 + 300_100);
    let dropped = rig.shard.stats().late_dropped;
    rig.shard.on_input(Input::Trade(trade(5, T0 + 61_500, 9_000, 5, Origin::Repair)));
    let ops = rig.turn(T0 + 300_200);
    assert!(closed(&ops).iter().all(|line| !line.starts_with("60s 90")), "{:?}", closed(&ops));
    assert_eq!(rig.shard.stats().late_dropped, dropped + 1);
}

#[test]
fn a_dropped_subscriber_resumes_without_a_hole_or_gets_a_fresh_snapshot() {
    let mut rig = Rig::btc();
    rig.subscribe("trades.BTC", None);
    let snapshot = rig.turn(T0).remove(0);
    let epoch = u64::from_str_radix(snapshot["epoch"].as_str().unwrap(), 16).unwrap();
    for id in 1..=3 {
        rig.trade(id, T0 + id as i64, 10_000, 5);
        assert_eq!(rig.turn(T0 + id as i64)[0]["seq"], id);
    }
    rig.leave("trades.BTC");
    rig.turn(T0 + 10);
    for id in 4..=6 {
        rig.trade(id, T0 + 10 + id as i64, 10_000, 5);
        rig.turn(T0 + 10 + id as i64);
    }
    rig.subscribe("trades.BTC", Some(Position { epoch, seq: 3 }));
    let ops = rig.turn(T0 + 20);
    assert_eq!((&ops[0]["recovered"], &ops[0]["seq"]), (&Value::Bool(true), &Value::from(3)));
    assert_eq!(ops[1..].iter().map(|op| op["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [4, 5, 6]);
    for wrong in [Position { epoch: epoch + 1, seq: 3 }, Position { epoch, seq: 99 }] {
        rig.subscribe("trades.BTC", Some(wrong));
        let ops = rig.turn(T0 + 30);
        assert_eq!((ops.len(), &ops[0]["recovered"], &ops[0]["seq"]), (1, &Value::Bool(false), &Value::from(6)));
        assert_eq!(ops[0]["data"].as_array().unwrap().len(), 6);
    }
}

/// All trades of a fixture through the parser.
fn recorded(venue: Venue, file: &str) -> Option<(Arc<Directory>, Vec<Trade>)> {
    let text = read(&shared(file)?);
    let directory = fixtures::directory();
    let mut parser = Parser::new(venue, Arc::new(Names::new(&directory, venue)), false);
    let mut events = Vec::new();
    for line in text.lines() {
        parser.on_frame(line.as_bytes(), Timestamp(1), &mut events).unwrap();
    }
    let trades =
        events.into_iter().filter_map(|event| if let Event::Trade(trade) = event { Some(trade) } else { None });
    Some((directory, trades.collect()))
}

/// Feeds the trades to a shard; returns the holes it reported and its counters.
fn run(directory: &Arc<Directory>, trades: &[Trade]) -> (Vec<Missing>, engine::shard::ShardStats, Vec<u64>) {
    let mut rig = Rig::new(Arc::clone(directory));
    for trade in trades {
        rig.shard.on_input(Input::Trade(*trade));
    }
    rig.turn(1);
    let counts = directory.symbols().map(|(symbol, _)| rig.shard.symbol_status(symbol).trades).collect();
    (std::mem::take(&mut rig.out.missing), *rig.shard.stats(), counts)
}

#[test]
fn a_stale_first_frame_of_okx_opens_no_candle() {
    let Some((directory, trades)) = recorded(Venue::Okx, "fixtures/feeds/okx/trades_2022-05-13.jsonl") else { return };
    let first = trades[0];
    assert_eq!(first.origin, Origin::Backlog);
    let (_, stats, counts) = run(&directory, &trades[..1]);
    assert_eq!((stats.trades, counts.iter().sum::<u64>()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the input is cut into turns, and whatever is doubled, the last word on each minute is the same.
    #[test]
    fn prop_turns_of_any_size_give_the_same_candles(sizes in proptest::collection::vec(1_usize..400, 1..40),
                                                    doubled in proptest::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let single = Single::new(Venue::Binance, "BTCUSDT", 8, 8);
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/binance_btcusdt_trades_2024-08-08.jsonl.zst");
        let tidy = single.trades(&read(&path));
        let mut trades = tidy.clone();
        for index in doubled {
            let index = index.index(trades.len());
            trades.insert(index, trades[index]);
        }
        let mut directory = Directory::new();
        directory.register(Some("BTC"), scaled(Venue::Binance, "BTCUSDT", 8, 8)).unwrap();
        let mut rig = Rig::new(Arc::new(directory));
        rig.subscribe("market.BTC.1m", None);
        let mut last = std::collections::BTreeMap::new();
        let mut rest = trades.as_slice();
        for size in sizes.iter().cycle() {
            let (turn, later) = rest.split_at((*size).min(rest.len()));
            rest = later;
            let Some(end) = turn.last() else { break };
            turn.iter().for_each(|trade| rig.shard.on_input(Input::Trade(*trade)));
            for op in rig.turn(end.ts_event.millis()) {
                let data = &op["data"];
                if data["is_closed"] == true {
                    let fields = ["open", "high", "low", "close", "volume", "trades", "first_id", "last_id", "state"];
                    last.insert(data["ts"].as_i64().unwrap(), fields.map(|field| data[field].to_string()).join(" "));
                }
            }
        }
        let expected: Vec<_> = single.candles(&tidy, Interval::M1).into_iter().filter(|candle| candle.is_closed).collect();
        // The last minute that is over may still wait for its proof.
        prop_assert!(last.len() + 1 >= expected.len(), "{} of {}", last.len(), expected.len());
        for candle in expected.iter().filter(|candle| last.contains_key(&candle.open_time.millis())) {
            let mut text = Vec::new();
            write_candle(&mut text, candle, &single.instrument, "BTC", Form::Number);
            let data: Value = serde_json::from_slice(&text).unwrap();
            let fields = ["open", "high", "low", "close", "volume", "trades", "first_id", "last_id", "state"];
            let want = fields.map(|field| data[field].to_string()).join(" ");
            prop_assert_eq!(&last[&candle.open_time.millis()], &want);
        }
    }
}

#[test]
fn trades_and_states_wait_for_the_aligned_tick_and_closed_candles_do_not() {
    let mut rig = Rig::btc_with(ShardConfig { emit_ms: 100, ..ShardConfig::default() });
    rig.subscribe("market.BTC.1s", None);
    rig.subscribe("trades.BTC", None);
    rig.turn(10_000);
    rig.trade(1, 10_010, 100, 1);
    rig.turn(10_020);
    rig.trade(2, 10_030, 101, 1);
    assert!(rig.turn(10_090).is_empty(), "both wait for 10100");
    let ops = rig.turn(10_100);
    let trades = ops.iter().find(|op| op["channel"] == "trades.BTC").unwrap();
    assert_eq!(trades["data"].as_array().unwrap().len(), 2);
    let candles: Vec<_> = ops.iter().filter(|op| op["channel"] == "market.BTC.1s").collect();
    assert!(candles.len() == 1 && candles[0]["data"]["trades"] == 2, "{ops:?}");

    rig.trade(3, 10_990, 102, 1);
    rig.trade(4, 11_005, 103, 1);
    rig.turn(12_000);
    rig.trade(5, 12_005, 104, 1);
    let ops = rig.turn(12_010);
    assert!(ops.len() == 1 && ops[0]["data"]["is_closed"] == true && ops[0]["data"]["ts"] == 11_000, "{ops:?}");
    rig.trade(6, 12_020, 104, 1);
    rig.subscribe("ticker.BTC", None);
    rig.subscribe("market.BTC.1s", None);
    let ops = rig.turn(12_030);
    let at = |wanted: &str| ops.iter().position(|op| op["op"] == wanted && op["channel"] == "market.BTC.1s").unwrap();
    assert!(at("event") < at("snapshot"), "what waits goes before a snapshot that shows it: {ops:?}");
    assert!(rig.turn(12_050).is_empty(), "nothing is sent twice");
}

#[test]
fn a_turn_ends_before_a_ring_overwrites_a_trade_that_nobody_was_sent() {
    let mut rig = Rig::btc_with(ShardConfig { emit_ms: 1000, ..ShardConfig::default() });
    rig.subscribe("trades.BTC", None);
    rig.turn(10_000);
    let (mut ids, mut turns) = (Vec::new(), 0);
    for id in 1..=10_000 {
        rig.trade(id, 10_001, 100, 1);
        if rig.shard.is_full() || id == 10_000 {
            turns += 1;
            let at = if id == 10_000 { 11_000 } else { 10_002 };
            for op in rig.turn(at) {
                ids.extend(op["data"].as_array().unwrap().iter().map(|trade| trade["id"].as_u64().unwrap()));
            }
        }
    }
    assert!(ids.iter().copied().eq(1..=10_000), "{} trades in {turns} turns", ids.len());
}

#[test]
fn a_trade_for_a_second_that_the_clock_has_closed_is_a_correction_at_once() {
    let mut rig = Rig::btc();
    rig.subscribe("market.BTC.1s", None);
    rig.subscribe("market.BTC.1m", None);
    rig.turn(10_000);
    rig.trade(1, 10_000, 100, 1);
    rig.turn(10_010);
    let closed = rig.turn(12_100);
    let of = |ops: &[Value], interval: &str| -> Vec<(u64, u64)> {
        let ops =
            ops.iter().filter(|op| op["data"]["interval"] == interval && op["data"]["ts"].as_i64() < Some(11_000));
        ops.map(|op| (op["data"]["revision"].as_u64().unwrap(), op["data"]["trades"].as_u64().unwrap())).collect()
    };
    assert_eq!(of(&closed, "1s"), [(0, 1)]);
    rig.trade(2, 10_500, 101, 1);
    let corrected = rig.turn(12_110);
    assert_eq!(of(&corrected, "1s"), [(1, 2)], "the source was later than the delay: {corrected:?}");
    assert_eq!(of(&corrected, "1m"), [(0, 2)], "the minute is open and has both");
    rig.trade(3, 10_600, 101, 1);
    assert_eq!(of(&rig.turn(12_120), "1s"), [(2, 3)]);
    rig.trade(4, 12_200, 102, 1);
    rig.turn(12_210);
    rig.subscribe("market.BTC.1s", None);
    let snapshot = rig.turn(12_220).pop().unwrap();
    let second = snapshot["data"].as_array().unwrap().iter().find(|candle| candle["ts"] == 10_000).unwrap();
    assert_eq!((&second["revision"], &second["trades"]), (&2.into(), &3.into()));
}

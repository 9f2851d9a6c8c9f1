//! Parse, ring, fold and encode, in nanoseconds an element and as ratios within this one run.
//!
//! The sides of a comparison take turns, a few milliseconds each, so that the machine's moods hit both alike; the
//! median of the rounds is printed. `cargo run --release -p bench --bin hotpath`; with `--check` it fails if a ratio is
//! above a generous bar.

mod judges;

use std::{hint::black_box, process::ExitCode, sync::Arc, time::Instant};

use anyhow::Context;
use engine::{
    aggregator::{Aggregator, HISTORY, Rules},
    candle::Candle,
    channel::ChannelId,
    continuity::Continuity,
    frame::Form,
    interval::Interval,
    json::{CandleText, write_candle},
    market::{Directory, IdRule, Origin, Price, Quantity, Side, Symbol, Timestamp, Trade, Venue},
    message::{Input, Outputs, Subscribe},
    number::Scale,
    ring::ring,
    shard::{Shard, ShardConfig},
};
use feeds::{
    symbols::scaled,
    venue::{Event, Names, Parser},
};

use store::{Batch, Journal, Scales, Source, StoredCandle};

const ROUNDS: usize = 41;

/// Runs the sides in turn and returns the median nanoseconds per element of each.
fn compare(elements: usize, sides: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(ROUNDS); sides.len()];
    for _ in 0..ROUNDS {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            let start = Instant::now();
            side();
            times.push(start.elapsed().as_nanos() as f64 / elements as f64);
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(ROUNDS / 2).copied().unwrap_or(f64::INFINITY)
    };
    times.iter_mut().map(median).collect()
}

/// The bar of `--check`: every ratio to the usual library must stay below it, on a noisy machine too.
const RATIO_MAX: f64 = 0.9;

fn main() -> ExitCode {
    println!("median of {ROUNDS} interleaved rounds; ratios hold within this run");
    let mut worst = parse();
    let trades = walk(200_000);
    ring_and_fold(&trades);
    worst = worst.max(encode(&trades));
    ingest(&trades);
    if let Err(error) = keep() {
        eprintln!("the journal cannot be measured: {error:#}");
        return ExitCode::FAILURE;
    }
    if std::env::args().any(|argument| argument == "--check") && worst > RATIO_MAX {
        eprintln!("a ratio is {worst:.2}, above the bar of {RATIO_MAX}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// A directory of one instrument, with its symbol.
fn directory(venue: Venue, name: &str) -> Arc<Directory> {
    let mut directory = Directory::new();
    let _ = directory.register(Some("BTC"), scaled(venue, name, 10, 8));
    Arc::new(directory)
}

/// Prints a row per venue; returns the worst ratio to `serde_json`.
fn parse() -> f64 {
    let mut worst = 0.0_f64;
    println!("\nparse one recorded trade frame        ours   serde_json   simd-json   ours/serde_json");
    for (venue, name, frame) in judges::FRAMES {
        let names = Arc::new(Names::new(&directory(venue, name), venue));
        let frames: Vec<Vec<u8>> = (0..2000).map(|n| judges::vary(frame, n)).collect();
        let mut parser = Parser::new(venue, names, true);
        let mut events: Vec<Event> = Vec::new();
        let now = Timestamp(1_800_000_000_000_000_000);
        // What is timed must be the reading of a trade, not its refusal.
        for frame in &frames {
            events.clear();
            let _ = parser.on_frame(frame, now, &mut events);
            if !matches!(events[..], [Event::Trade(_)]) {
                eprintln!("{venue} gave {events:?} instead of a trade");
                return f64::INFINITY;
            }
        }
        let mut ours = || {
            for frame in &frames {
                events.clear();
                let _ = parser.on_frame(black_box(frame), now, &mut events);
                black_box(&events);
            }
        };
        let mut serde = || frames.iter().for_each(|frame| judges::serde(venue, black_box(frame)));
        let mut scratch = Vec::new();
        let mut simd = || frames.iter().for_each(|frame| judges::simd(venue, black_box(frame), &mut scratch));
        let [ours, serde, simd] = compare(frames.len(), &mut [&mut ours, &mut serde, &mut simd])[..] else {
            return f64::INFINITY;
        };
        worst = worst.max(ours / serde);
        println!("  {:<32} {ours:>7.0} ns {serde:>8.0} ns {simd:>8.0} ns   {:>8.2}", venue.name(), ours / serde);
    }
    worst
}

/// What a shard does with closed candles before a client sees them: note them in the journal.
fn keep() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut journal, _rotation) = Journal::open(folder.path(), 0)?;
    let source = Source::parse("binance:BTCUSDT")?;
    let scale = |decimals| Scale::new(decimals).context("a scale");
    let scales = Scales { price: scale(10)?, quantity: scale(8)? };
    let mut candle = Candle::flat(Interval::S1, Timestamp(1_723_161_600_000_000_000), Price(618_376_300_000_000));
    (candle.volume, candle.quote_volume, candle.trades) = (1_234_567_890, 76_342_000_000_000_000_000_000, 31);
    (candle.first_id, candle.last_id, candle.is_closed) = (3_000_000_000, 3_000_000_030, true);
    let mut note = |count: usize, turns: usize| {
        for _ in 0..turns {
            let mut batch = Batch::new();
            for _ in 0..count {
                let _ = batch.candle(&source, StoredCandle { scales, candle: *black_box(&candle) });
            }
            // The file has a bound, far beyond what is written here.
            let _ = black_box(journal.append(&batch));
        }
    };
    println!("\nnote closed candles in the journal, per candle");
    for (count, turns) in [(1, 190), (19, 10), (500, 1)] {
        let time = compare(count * turns, &mut [&mut || note(count, turns)]);
        println!("  {count:>3} a turn {:>12.0} ns", time.first().copied().unwrap_or(f64::INFINITY));
    }
    Ok(())
}

/// A seeded random walk: one busy symbol, about 30 trades a second.
fn walk(count: u64) -> Vec<Trade> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut price = 618_376_300_000_000_i64;
    let trade = |id: u64| {
        price += (next() % 2001) as i64 * 10_000_000 - 10_000_000_000;
        let ts = Timestamp(1_723_161_600_000_000_000 + id as i64 * 33_000_000);
        Trade {
            symbol: Symbol(0),
            first_id: id,
            id,
            trades: 1,
            ts_event: ts,
            ts_recv: ts,
            price: Price(price.max(1)),
            quantity: Quantity((next() % 1_000_000) as i64 + 1),
            side: if next() % 2 == 0 { Side::Buy } else { Side::Sell },
            origin: Origin::Live,
        }
    };
    (1..=count).map(trade).collect()
}

const RULES: Rules =
    Rules { late_window: 300_000_000_000, close_delay: 1_000_000_000, ids: IdRule::Contiguous, history: HISTORY };

fn ring_and_fold(trades: &[Trade]) {
    let (mut writer, _reader) = ring(Symbol(0), 4096);
    let mut push = || {
        for trade in trades {
            black_box(writer.push(trade));
        }
    };
    // A fold starts anew each round: candles of the past would refuse the same trades a second time.
    let mut fold = || {
        let mut aggregator = Aggregator::new(RULES, &Interval::ALL);
        let mut continuity = Continuity::new(IdRule::Contiguous);
        let mut out: Vec<Candle> = Vec::new();
        for (index, trade) in trades.iter().enumerate() {
            black_box(continuity.observe(trade));
            black_box(aggregator.on_trade(trade));
            // A turn every 10 ms of market time would be one in three trades here; the shard's own pace is 10 ms.
            if index % 64 == 0 {
                out.clear();
                aggregator.end_turn(trade.ts_event, &continuity, &mut out);
            }
        }
        black_box(&out);
    };
    if let [push, fold] = compare(trades.len(), &mut [&mut push, &mut fold])[..] {
        println!(
            "\nring push {push:.1} ns; ids and fold of a trade into 19 intervals {fold:.1} ns (budget 40, goal 10)"
        );
    }
}

/// Returns the ratio to `serde_json`.
fn encode(trades: &[Trade]) -> f64 {
    let directory = directory(Venue::Binance, "BTCUSDT");
    let Some(instrument) = directory.instrument(Symbol(0)) else { return f64::INFINITY };
    let mut aggregator = Aggregator::new(RULES, &Interval::ALL);
    // The open minute after each trade: what the events of its channel carry.
    let next = |trade: &Trade| {
        aggregator.on_trade(trade);
        aggregator.open(Interval::M1)
    };
    let candles: Vec<Candle> = trades.iter().take(2000).filter_map(next).collect();
    let Some(candle) = candles.get(1000) else { return f64::INFINITY };
    let mut out = Vec::with_capacity(1024);
    let mut ours = || {
        for _ in 0..candles.len() {
            out.clear();
            write_candle(&mut out, black_box(candle), instrument, "BTC", Form::Number);
            black_box(&out);
        }
    };
    let (mut text, mut line) = (CandleText::default(), Vec::with_capacity(1024));
    let mut events = || {
        for candle in &candles {
            line.clear();
            text.write(&mut line, black_box(candle), instrument, "BTC", Form::Number);
            black_box(&line);
        }
    };
    let plain = judges::Plain::new(candle);
    let mut serde = || {
        for _ in 0..candles.len() {
            black_box(serde_json::to_vec(black_box(&plain)).ok());
        }
    };
    let times = compare(candles.len(), &mut [&mut ours, &mut events, &mut serde]);
    let [ours, events, serde] = times[..] else { return f64::INFINITY };
    let ratio = ours / serde;
    println!(
        "encode a candle of 19 fields, {} bytes: {ours:.0} ns alone, {events:.0} ns as one event after",
        out.len()
    );
    println!("  another of its channel (budget 150, goal 80, both set for a frame of 210 bytes);");
    println!("  serde_json with floats {serde:.0} ns; ratio {ratio:.2}");
    ratio
}

/// The whole shard in memory: frames parsed, trades folded, and, where somebody listens, events encoded.
fn ingest(trades: &[Trade]) {
    let (venue, name, frame) = judges::FRAMES[0];
    let directory = directory(venue, name);
    let frames: Vec<Vec<u8>> = trades.iter().take(100_000).map(|trade| judges::at(frame, trade)).collect();
    let run = |channels: &[&str], per_turn: usize| {
        let mut shard = Shard::new(Arc::clone(&directory), [Symbol(0)].into_iter(), ShardConfig::default());
        let mut parser = Parser::new(venue, Arc::new(Names::new(&directory, venue)), true);
        let (mut events, mut out) = (Vec::new(), Outputs::default());
        for channel in channels.iter().filter_map(|name| ChannelId::parse(name, &directory).ok()) {
            let (form, since) = (Form::Number, None);
            let wish = Subscribe { worker: 0, session: 0, channel, form, since, snapshot: 1, join: true };
            shard.on_input(Input::Subscribe(wish));
        }
        for chunk in frames.chunks(per_turn) {
            let mut now = Timestamp(0);
            for frame in chunk {
                let _ = parser.on_frame(frame, Timestamp(1_800_000_000_000_000_000), &mut events);
            }
            for event in events.drain(..) {
                if let Event::Trade(trade) = event {
                    now = trade.ts_event;
                    shard.on_input(Input::Trade(trade));
                }
            }
            shard.end_turn(now, &mut out);
            out.workers.iter_mut().for_each(Vec::clear);
        }
        black_box(shard.stats().frames);
    };
    let seven = ["1s", "5s", "15s", "1m", "5m", "1h", "1d"].map(|interval| format!("market.BTC.{interval}"));
    let seven: Vec<&str> = seven.iter().map(String::as_str).collect();
    let start = Instant::now();
    let millions = |channels: &[&str], per_turn: usize| {
        let mut best = f64::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            run(channels, per_turn);
            best = best.min(start.elapsed().as_secs_f64());
        }
        frames.len() as f64 / best / 1e6
    };
    let (none, all) = (millions(&[], 64), millions(&seven, 1));
    println!("ingest on one thread, best of five: {none:.1} M trades/s without frames (budget 3, goal 8);");
    println!("  {all:.2} M trades/s with 7 frames for each trade (budget 0.6, goal 1)");
    println!("  ({} trades a round, {:.1} s in all)", frames.len(), start.elapsed().as_secs_f64());
}

//! A seeded market: contiguous ids, prices that wander, and bursts that all symbols share.
//!
//! The shape follows recorded markets: the busiest second of a minute brings about twenty times the mean, most of it
//! within 100 ms, and two thirds of all trades share their millisecond with another one. Integers only: the same seed
//! and the same steps give the same trades.
//!
//! Beside it: `metronome` (a steady market), `rounds` (recorded trades in a loop), `due` (ids that carry time).

use std::time::Duration;

use engine::{
    market::{Directory, IdRule, Origin, Price, Quantity, Side, Symbol, Timestamp, Trade},
    message::Input,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::watch;

use crate::supervisor::{Clock, Sink};

pub mod due;
pub mod metronome;
pub mod rounds;

const MS: i64 = 1_000_000;
/// A longer pause than this is not caught up: the market stood still.
const CATCH_UP_MS_MAX: i64 = 2_000;
/// Parts of a trade that the rate is counted in.
const PARTS: i64 = 1_000_000;
const BURST_MS: i64 = 1_000;
const BURST_HEART_MS: i64 = 100;
/// A burst begins in one of so many milliseconds.
const BURST_ODDS: u32 = 60_000;
/// Parts per millisecond for each trade per second of the mean: outside of bursts, in a burst and in its first 100 ms.
/// Over a minute they come to the mean: 0.7 × 60 s + 12 + 6 seconds' worth.
const QUIET: i64 = 700;
const BUSY: i64 = 6_667;
const HEART: i64 = 120_000;
const TICK: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug)]
struct Market {
    symbol: Symbol,
    last_id: u64,
    price: i64,
    floor: i64,
    tick: i64,
    lot: i64,
    /// Sum of the weights up to this one.
    weight: u64,
}

/// The market.
#[derive(Clone, Debug)]
pub struct Sim {
    rng: StdRng,
    markets: Vec<Market>,
    weight: u64,
    rate: i64,
    /// Parts of a trade that are due; below zero after a large order.
    owed: i64,
    last: Option<i64>,
    burst_ms: i64,
}

impl Sim {
    /// A market of those `symbols` that `directory` knows, with `trades_per_second` in the mean over all of them.
    pub fn new(seed: u64, directory: &Directory, symbols: &[Symbol], trades_per_second: u32) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut weight = 0;
        let known = symbols.iter().filter_map(|symbol| Some((*symbol, directory.instrument(*symbol)?)));
        let markets = known.zip(1_u64..).map(|((symbol, instrument), rank)| {
            weight += 1_000_000 / rank + 1;
            let unit = 10_i64.checked_pow(u32::from(instrument.price_scale.decimals())).unwrap_or(1);
            let lot = 10_i64.checked_pow(u32::from(instrument.quantity_scale.decimals())).unwrap_or(1);
            // From 1 to 1000 units, where the scale leaves room for it.
            let price = unit.saturating_mul(rng.random_range(1..=1_000)).clamp(1_000, i64::MAX / 1_000_000);
            Market {
                symbol,
                last_id: 0,
                price,
                floor: (price / 10).max(1),
                tick: (price / 20_000).max(1),
                lot: (lot.min(1_000_000_000_000) / 1_000).max(1),
                weight,
            }
        });
        let markets = markets.collect();
        Self { rng, markets, weight, rate: i64::from(trades_per_second), owed: 0, last: None, burst_ms: 0 }
    }

    /// Goes on with another mean.
    pub fn set_rate(&mut self, trades_per_second: u32) {
        self.rate = i64::from(trades_per_second);
    }

    /// Appends the trades between the last step and `now`, in order. The first step only sets the time.
    pub fn step(&mut self, now: Timestamp, out: &mut Vec<Trade>) {
        let now_ms = now.millis();
        let from = self.last.replace(now_ms).unwrap_or(now_ms).max(now_ms - CATCH_UP_MS_MAX);
        for ms in from..now_ms {
            let parts = self.parts_of_this_ms() * self.rate;
            self.owed += self.rng.random_range(0..=parts.max(0).saturating_mul(2));
            while self.owed >= PARTS {
                let fills = self.fills().min(self.owed / PARTS * 4 + 3);
                self.owed -= fills * PARTS;
                self.order(fills, Timestamp((ms + 1).saturating_mul(MS)), now, out);
            }
        }
    }

    fn parts_of_this_ms(&mut self) -> i64 {
        if self.burst_ms == 0 {
            if self.rng.random_range(0..BURST_ODDS) == 0 {
                self.burst_ms = BURST_MS;
            }
            return QUIET;
        }
        self.burst_ms -= 1;
        if self.burst_ms >= BURST_MS - BURST_HEART_MS { HEART } else { BUSY }
    }

    /// How many makers one taker order meets: often one, sometimes hundreds.
    fn fills(&mut self) -> i64 {
        match self.rng.random_range(0..100) {
            0..50 => 1,
            50..85 => self.rng.random_range(2..=5),
            85..98 => self.rng.random_range(6..=20),
            _ => self.rng.random_range(21..=300),
        }
    }

    /// One taker order: `fills` trades of one symbol at one time, with the price moving away from the taker.
    fn order(&mut self, fills: i64, ts_event: Timestamp, now: Timestamp, out: &mut Vec<Trade>) {
        let drawn = self.rng.random_range(0..self.weight.max(1));
        let at = self.markets.partition_point(|market| market.weight <= drawn);
        let side = if self.rng.random_bool(0.5) { Side::Buy } else { Side::Sell };
        let Some(market) = self.markets.get_mut(at) else { return };
        for _ in 0..fills {
            let step = self.rng.random_range(0..=1) * market.tick;
            let price = if side == Side::Buy { market.price.saturating_add(step) } else { market.price - step };
            market.price = price.clamp(market.floor, market.floor.saturating_mul(1_000));
            market.last_id += 1;
            out.push(Trade {
                symbol: market.symbol,
                first_id: market.last_id,
                id: market.last_id,
                trades: 1,
                ts_event,
                ts_recv: now,
                price: Price(market.price),
                quantity: Quantity(market.lot.saturating_mul(self.rng.random_range(1..=2_000))),
                side,
                origin: Origin::Live,
            });
        }
    }

    /// Sends the market's trades as time passes, until `stop` turns true or its sender is gone.
    pub async fn run<S: Sink>(mut self, clock: Clock, sink: S, mut stop: watch::Receiver<bool>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut trades = Vec::new();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            self.step(clock(), &mut trades);
            for trade in trades.drain(..) {
                sink.send(Input::Trade(trade)).await;
            }
        }
    }
}

/// What simulated ids prove: they rise by one.
pub const SIM_IDS: IdRule = IdRule::Contiguous;

#[cfg(test)]
mod tests {
    use engine::{
        market::{Instrument, Venue},
        number::Scale,
    };

    use super::*;

    fn market(seed: u64, rate: u32) -> Sim {
        let mut directory = Directory::new();
        let scale = Scale::new(8).unwrap();
        let symbols: Vec<_> = (0..8)
            .map(|index| {
                let name = format!("S{index}").into();
                let ids = SIM_IDS;
                let venue = Venue::Sim;
                let instrument = Instrument { venue, name, price_scale: scale, quantity_scale: scale, ids };
                directory.register(None, instrument).unwrap()
            })
            .collect();
        Sim::new(seed, &directory, &symbols, rate)
    }

    fn trades_of(seed: u64, rate: u32, seconds: i64) -> Vec<Trade> {
        let mut sim = market(seed, rate);
        let mut out = Vec::new();
        for tick in 0..seconds * 100 {
            sim.step(Timestamp::from_millis(1_700_000_000_000 + tick * 10), &mut out);
        }
        out
    }

    #[test]
    fn the_same_seed_gives_the_same_trades() {
        assert_eq!(trades_of(7, 1_000, 5), trades_of(7, 1_000, 5));
        assert_ne!(trades_of(7, 1_000, 5), trades_of(8, 1_000, 5));
    }

    #[test]
    fn ids_rise_by_one_and_time_never_goes_back() {
        let trades = trades_of(1, 2_000, 20);
        let mut last = std::collections::HashMap::new();
        let mut time = Timestamp::default();
        for trade in &trades {
            assert_eq!(trade.check(false), Ok(()));
            assert_eq!(trade.id, last.insert(trade.symbol, trade.id).unwrap_or(0) + 1);
            assert!(trade.ts_event >= time && trade.ts_event <= trade.ts_recv);
            time = trade.ts_event;
        }
        assert_eq!(last.len(), 8);
    }

    #[test]
    fn the_mean_holds_over_minutes_and_symbols_peak_together() {
        let trades = trades_of(3, 200, 600);
        let mean = trades.len() / 600;
        assert!((120..=300).contains(&mean), "{mean}");
        let mut seconds = std::collections::BTreeMap::<i64, Vec<Symbol>>::new();
        for trade in &trades {
            seconds.entry(trade.ts_event.millis() / 1_000).or_default().push(trade.symbol);
        }
        let busiest = seconds.values().max_by_key(|symbols| symbols.len()).unwrap();
        assert!(busiest.len() > 1_500, "{}", busiest.len());
        assert!((0..4).all(|symbol| busiest.contains(&Symbol(symbol))));
    }

    #[test]
    fn a_clock_that_steps_back_or_far_ahead_does_no_harm() {
        let mut sim = market(1, 1_000);
        let mut out = Vec::new();
        sim.step(Timestamp::from_millis(10_000), &mut out);
        sim.step(Timestamp::from_millis(5_000), &mut out);
        assert!(out.is_empty());
        sim.step(Timestamp::from_millis(i64::MAX / MS), &mut out);
        assert!(out.len() < 60_000, "{}", out.len());
    }
}

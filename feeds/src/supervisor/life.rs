//! Is a connection alive? Heartbeats do not count: they go on when a subscription is dead.

use std::{collections::HashMap, time::Duration};

use engine::market::{Symbol, Timestamp, Trade};
use tokio::time::Instant;

use super::mender::Probe;

/// A silence of so many usual gaps is far beyond the usual.
const USUAL_GAPS: u32 = 20;

/// What is known of one symbol.
#[derive(Clone, Copy, Debug)]
struct SymbolLife {
    last: Instant,
    last_id: u64,
    last_event: Timestamp,
    /// A moving mean of the gaps between its trades.
    usual: Duration,
    probed: Instant,
}

/// What a look at the connection says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Alive,
    /// One symbol alone is silent: ask the venue.
    Doubtful(Probe),
    /// Nothing comes any more.
    Stale,
}

/// The life of one connection and its symbols.
#[derive(Debug)]
pub(super) struct Life {
    stale_after: Duration,
    last_frame: Instant,
    last_data: Instant,
    symbols: HashMap<Symbol, SymbolLife>,
}

impl Life {
    pub(super) fn new(stale_after: Duration, now: Instant) -> Self {
        Self { stale_after, last_frame: now, last_data: now, symbols: HashMap::new() }
    }

    /// Anything came, be it a heartbeat.
    pub(super) fn on_frame(&mut self, now: Instant) {
        self.last_frame = now;
    }

    pub(super) fn on_trade(&mut self, trade: &Trade, now: Instant) {
        self.last_data = now;
        let life = self.symbols.entry(trade.symbol).or_insert(SymbolLife {
            last: now,
            last_id: trade.id,
            last_event: trade.ts_event,
            // Unknown: a quiet symbol must not look dead after its first trade; a busy one soon brings this down.
            usual: self.stale_after,
            probed: now,
        });
        let gap = now.saturating_duration_since(life.last);
        life.usual = life.usual / 8 * 7 + gap / 8;
        life.last = now;
        life.last_id = life.last_id.max(trade.id);
        life.last_event = life.last_event.max(trade.ts_event);
    }

    /// The venue says which trade is its newest: if we have it, silence is right.
    pub(super) fn on_proof(&mut self, symbol: Symbol, last_id: u64, now: Instant) {
        if let Some(life) = self.symbols.get_mut(&symbol)
            && last_id <= life.last_id
        {
            life.last = now;
            self.last_data = now;
        }
    }

    /// The venue was asked and has nothing newer: the silence is real.
    pub(super) fn on_quiet(&mut self, symbol: Symbol, now: Instant) {
        if let Some(life) = self.symbols.get_mut(&symbol) {
            life.last = now;
        }
    }

    /// Looks at the connection; a doubtful symbol is named once in each `stale_after`.
    pub(super) fn check(&mut self, now: Instant) -> Health {
        let silent = |since: Instant| now.saturating_duration_since(since);
        if silent(self.last_frame) > self.stale_after * 2 {
            return Health::Stale;
        }
        let all_silent = silent(self.last_data) > self.stale_after;
        let stale_after = self.stale_after;
        let overdue = |life: &SymbolLife| silent(life.last) > stale_after.max(life.usual * USUAL_GAPS);
        if all_silent && (self.symbols.is_empty() && silent(self.last_data) > self.stale_after * 10) {
            return Health::Stale;
        }
        let Some((symbol, life)) = self.symbols.iter_mut().find(|(_, life)| overdue(life)) else {
            return Health::Alive;
        };
        if all_silent {
            return Health::Stale;
        }
        if silent(life.probed) <= self.stale_after {
            return Health::Alive;
        }
        life.probed = now;
        Health::Doubtful(Probe { symbol: *symbol, last_id: life.last_id, last_event: life.last_event })
    }
}

#[cfg(test)]
mod tests {
    use engine::market::{Origin, Price, Quantity, Side};

    use super::*;

    const STALE: Duration = Duration::from_secs(30);

    fn trade(symbol: u32, id: u64) -> Trade {
        Trade {
            symbol: Symbol(symbol),
            first_id: id,
            id,
            trades: 1,
            ts_event: Timestamp(1),
            ts_recv: Timestamp(1),
            price: Price(1),
            quantity: Quantity(1),
            side: Side::Buy,
            origin: Origin::Live,
        }
    }

    #[test]
    fn heartbeats_do_not_keep_a_dead_subscription_alive() {
        let start = Instant::now();
        let mut life = Life::new(STALE, start);
        (0..60).for_each(|id| life.on_trade(&trade(0, id), start));
        for second in 1..=30 {
            life.on_frame(start + Duration::from_secs(second));
        }
        assert_eq!(life.check(start + STALE), Health::Alive);
        assert_eq!(life.check(start + STALE + Duration::from_secs(1)), Health::Stale);
    }

    #[test]
    fn a_proof_of_the_newest_trade_makes_silence_right() {
        let start = Instant::now();
        let later = start + Duration::from_secs(50);
        let mut life = Life::new(STALE, start);
        (0..=60).for_each(|id| life.on_trade(&trade(0, id), start));
        life.on_frame(later);
        life.on_proof(Symbol(0), 60, later);
        assert_eq!(life.check(later), Health::Alive);
        life.on_proof(Symbol(0), 61, later + STALE);
        life.on_frame(later + STALE);
        assert_eq!(life.check(later + STALE + Duration::from_secs(1)), Health::Stale);
    }

    #[test]
    fn a_symbol_that_seldom_trades_is_not_given_up() {
        let start = Instant::now();
        let mut life = Life::new(STALE, start);
        life.on_trade(&trade(0, 1), start);
        life.on_frame(start + Duration::from_secs(290));
        assert_eq!(life.check(start + Duration::from_secs(300)), Health::Alive);
    }

    #[test]
    fn one_silent_symbol_is_asked_for_and_a_slow_one_is_not() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut life = Life::new(STALE, start);
        for second in 0..600 {
            life.on_trade(&trade(0, second), at(second));
            if second % 60 == 0 {
                life.on_trade(&trade(1, second), at(second));
            }
            if second < 500 {
                life.on_trade(&trade(2, second), at(second));
            }
            life.on_frame(at(second));
        }
        let Health::Doubtful(probe) = life.check(at(600)) else { panic!("not asked") };
        assert_eq!((probe.symbol, probe.last_id), (Symbol(2), 499));
        assert_eq!(life.check(at(600)), Health::Alive);
        life.on_quiet(Symbol(2), at(601));
        life.on_trade(&trade(0, 601), at(625));
        assert_eq!(life.check(at(630)), Health::Alive);
    }
}

//! A steady market: trade `k` is due at `start + k / rate`, symbols in turn. None is ever left out.

use engine::market::{Origin, Price, Quantity, Side, Symbol, Timestamp, Trade};

const SECOND: i64 = 1_000_000_000;
/// Trades of one step at the most, so that its caller can listen in between.
const STEP_TRADES_MAX: usize = 4096;

/// See the module. Prices have 2 decimals, quantities 5.
#[derive(Clone, Debug)]
pub struct Metronome {
    /// Symbols and the steps that their prices have wandered.
    symbols: Vec<(Symbol, i64)>,
    rate: u32,
    start: Option<Timestamp>,
    sent: u64,
    turn: usize,
    noise: u64,
}

impl Metronome {
    /// A market of `symbols` with `rate` trades a second over all of them.
    pub fn new(symbols: &[Symbol], rate: u32) -> Self {
        let symbols = symbols.iter().map(|symbol| (*symbol, 0)).collect();
        Self { symbols, rate, start: None, sent: 0, turn: 0, noise: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Goes on at another rate from `now`.
    pub fn set_rate(&mut self, rate: u32, now: Timestamp) {
        (self.rate, self.start, self.sent) = (rate, Some(now), 0);
    }

    /// When the next trade is due; never without a rate or a symbol.
    pub fn next_due(&self) -> Option<Timestamp> {
        let start = self.start?;
        if self.rate == 0 || self.symbols.is_empty() {
            return None;
        }
        let nanos = u128::from(self.sent) * SECOND.unsigned_abs() as u128 / u128::from(self.rate);
        Some(start.plus(i64::try_from(nanos).unwrap_or(i64::MAX)))
    }

    /// Appends what is due by `now`; the first step only sets the start. True if there is more.
    pub fn step(&mut self, now: Timestamp, out: &mut Vec<Trade>) -> bool {
        self.start.get_or_insert(now);
        for _ in 0..STEP_TRADES_MAX {
            let Some(due) = self.next_due().filter(|due| *due <= now) else { return false };
            self.sent += 1;
            self.turn = (self.turn + 1) % self.symbols.len().max(1);
            self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (self.noise >> 33) as i64;
            let Some((symbol, wandered)) = self.symbols.get_mut(self.turn) else { return false };
            *wandered = (*wandered + noise % 3 - 1).clamp(-10_000, 10_000);
            let price = 6_000_000 - i64::from(symbol.0 % 1_000) * 5_000 + *wandered;
            out.push(Trade {
                symbol: *symbol,
                first_id: 1,
                id: 1,
                trades: 1,
                ts_event: due,
                ts_recv: now,
                price: Price(price),
                quantity: Quantity(1 + noise % 250_000),
                side: if noise & 64 == 0 { Side::Buy } else { Side::Sell },
                origin: Origin::Live,
            });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{super::due::DueIds, *};

    const START: i64 = 1_700_000_000_000_000_000;

    fn ids_of(trades: &mut [Trade]) -> Vec<u64> {
        let mut ids = DueIds::default();
        trades.iter_mut().for_each(|trade| ids.stamp(trade));
        trades.iter().map(|trade| trade.id).collect()
    }

    #[test]
    fn each_trade_is_due_at_its_own_time_however_late_the_step_comes() {
        let mut metronome = Metronome::new(&[Symbol(0), Symbol(1)], 1_000);
        let mut trades = Vec::new();
        assert!(!metronome.step(Timestamp(START), &mut trades));
        assert_eq!(trades.len(), 1, "the first is due at once");
        metronome.step(Timestamp(START + 10_000_000), &mut trades);
        metronome.step(Timestamp(START + 1_000_000_000), &mut trades);
        assert_eq!(trades.len(), 1_001);
        let times: Vec<_> = trades.iter().map(|trade| trade.ts_event.0 - START).collect();
        assert!(times.iter().enumerate().all(|(k, time)| *time == k as i64 * 1_000_000), "{times:?}");
        assert_eq!(ids_of(&mut trades)[1_000], (START as u64 + 1_000_000_000) / 1_000);
        assert!(trades.chunks_exact(2).all(|pair| pair[0].symbol != pair[1].symbol));
        assert!(trades.iter().all(|trade| trade.check(false) == Ok(())));
    }

    #[test]
    fn ids_rise_without_a_hole_even_where_trades_are_closer_than_a_microsecond() {
        let mut metronome = Metronome::new(&[Symbol(3)], 3_000_000);
        let mut trades = Vec::new();
        metronome.step(Timestamp(START), &mut trades);
        while metronome.step(Timestamp(START + 10_000_000), &mut trades) {}
        ids_of(&mut trades);
        assert_eq!(trades.len(), 30_001);
        assert!(trades.windows(2).all(|pair| pair[1].first_id == pair[0].id + 1 && pair[1].id > pair[0].id));
    }

    #[test]
    fn a_new_rate_holds_from_now_on() {
        let mut metronome = Metronome::new(&[Symbol(0)], 10);
        let mut trades = Vec::new();
        metronome.step(Timestamp(START), &mut trades);
        metronome.set_rate(0, Timestamp(START + SECOND));
        metronome.step(Timestamp(START + 2 * SECOND), &mut trades);
        assert_eq!((trades.len(), metronome.next_due()), (1, None));
        metronome.set_rate(100, Timestamp(START + 2 * SECOND));
        metronome.step(Timestamp(START + 3 * SECOND), &mut trades);
        assert_eq!(trades.len(), 102);
    }
}

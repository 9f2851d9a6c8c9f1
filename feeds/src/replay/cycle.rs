//! A recording that never ends: it is played again and again in the present, and its id chain goes on.

use std::{collections::HashMap, path::Path};

use engine::{
    market::{Directory, Symbol, Timestamp, Trade, Venue},
    message::Input,
};
use tokio::{sync::watch, time::Instant};

use super::{RawFrames, Reader, ReplayError, Speed, Tally, TimeShift, pace::wait};
use crate::supervisor::{Clock, Sink};

/// How many trades are held in memory.
const TRADES_MAX: usize = 4_000_000;
/// The least pause between the last trade of a pass and the first of the next one.
const SEAM: i64 = 10_000_000;

/// The trades of one or more recordings, and how far a pass moves them.
#[derive(Clone, Debug, Default)]
pub struct Cycle {
    /// In the order of receipt.
    trades: Vec<Trade>,
    /// First and last id of each symbol.
    ids: HashMap<Symbol, (u64, u64)>,
}

impl Cycle {
    /// Nothing to play yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a recording of `venue`. All recordings of a cycle should be of the same time.
    ///
    /// # Errors
    /// [`ReplayError`] if it cannot be read or holds no trade of an instrument of `directory`.
    pub fn load(&mut self, path: &Path, venue: Venue, directory: &Directory) -> Result<Tally, ReplayError> {
        let mut reader = Reader::new(venue, directory);
        for frame in RawFrames::open(path)? {
            let room = TRADES_MAX.saturating_sub(self.trades.len());
            self.trades.extend(reader.trades_of(&frame?).take(room));
        }
        let tally = reader.tally().clone();
        if tally.trades == 0 {
            return Err(ReplayError::Empty { path: path.to_owned(), venue });
        }
        self.settle();
        Ok(tally)
    }

    /// Adds trades from memory.
    pub fn extend(&mut self, trades: impl IntoIterator<Item = Trade>) {
        let room = TRADES_MAX.saturating_sub(self.trades.len());
        self.trades.extend(trades.into_iter().take(room));
        self.settle();
    }

    fn settle(&mut self) {
        self.trades.sort_by_key(|trade| trade.ts_recv);
        self.ids.clear();
        for trade in &self.trades {
            let (first, last) = self.ids.entry(trade.symbol).or_insert((trade.first_id, trade.id));
            *first = trade.first_id.min(*first);
            *last = trade.id.max(*last);
        }
    }

    /// How many trades one pass has.
    pub fn len(&self) -> usize {
        self.trades.len()
    }

    /// Whether there is nothing to play.
    pub fn is_empty(&self) -> bool {
        self.trades.is_empty()
    }

    /// The recorded time of one pass, with its seam.
    pub fn span(&self) -> i64 {
        let (Some(first), Some(last)) = (self.trades.first(), self.trades.last()) else { return SEAM };
        let events = self.trades.iter().map(|trade| trade.ts_event.0);
        let (low, high) = events.fold((i64::MAX, i64::MIN), |(low, high), ts| (low.min(ts), high.max(ts)));
        // Beyond both spans, so that event times do not go back at the seam.
        (last.ts_recv.0.saturating_sub(first.ts_recv.0)).max(high.saturating_sub(low)).saturating_add(SEAM)
    }

    /// The trades of pass `pass` of a cycle that began at `start`, in order and without an end in ids or time: each is
    /// received at its place in the present, and its event lies before that by its recorded delay less the smallest
    /// one, since a recorder's clock may run behind the venue's.
    pub fn pass(&self, pass: u64, start: Timestamp, speed: Speed) -> impl Iterator<Item = Trade> {
        let first = self.trades.first().map_or(0, |trade| trade.ts_recv.0);
        let delay = self.trades.iter().map(|trade| trade.ts_recv.0 - trade.ts_event.0).min().unwrap_or(0);
        let passed = i64::try_from(pass).unwrap_or(i64::MAX).saturating_mul(self.span());
        self.trades.iter().map(move |trade| {
            let since = trade.ts_recv.0.saturating_sub(first).saturating_add(passed);
            // At full speed the recorded times stay as they are apart: there is no present to move with.
            let since = if speed == Speed::Max { since } else { speed.lasts(since) };
            let ts_recv = start.plus(since);
            let late = trade.ts_recv.0 - trade.ts_event.0 - delay;
            let ts_event = ts_recv.plus(if speed == Speed::Max { -late } else { -speed.lasts(late) });
            let (low, high) = self.ids.get(&trade.symbol).copied().unwrap_or_default();
            let id = pass.wrapping_mul((high - low).wrapping_add(1));
            Trade { ts_recv, ts_event, ..TimeShift { ts: 0, id }.apply(*trade) }
        })
    }

    /// Plays pass after pass until `stop` turns true. An empty cycle only waits.
    pub async fn run<S: Sink>(self, speed: Speed, clock: Clock, sink: S, mut stop: watch::Receiver<bool>) {
        let (started, start) = (Instant::now(), clock());
        let play = async {
            for pass in 0.. {
                for trade in self.pass(pass, start, speed) {
                    if speed != Speed::Max {
                        wait(started, trade.ts_recv.0 - start.0).await;
                    }
                    sink.send(Input::Trade(trade)).await;
                }
                // A cycle without a wait of its own must still let others run.
                tokio::task::yield_now().await;
                if self.is_empty() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = play => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::market::{Origin, Price, Quantity, Side};

    use super::*;

    fn trade(symbol: u32, id: u64, event: i64, recv: i64) -> Trade {
        Trade {
            symbol: Symbol(symbol),
            first_id: id,
            id,
            trades: 1,
            ts_event: Timestamp(event),
            ts_recv: Timestamp(recv),
            price: Price(1),
            quantity: Quantity(1),
            side: Side::Buy,
            origin: Origin::Live,
        }
    }

    #[test]
    fn passes_join_without_a_hole_in_ids_or_a_step_back_in_time() {
        let mut cycle = Cycle::new();
        cycle.extend([trade(0, 7, 5_000, 1_000), trade(1, 50, 5_100, 1_100), trade(0, 8, 5_950, 2_000)]);
        let start = Timestamp(1_000_000_000_000);
        let passes =
            |speed| (0..3).flat_map(|pass| cycle.pass(pass, start, speed).collect::<Vec<_>>()).collect::<Vec<_>>();
        for speed in [Speed::Times { num: 1, den: 1 }, Speed::Times { num: 7, den: 2 }, Speed::Max] {
            let trades = passes(speed);
            let ids = |symbol| trades.iter().filter(move |trade| trade.symbol == Symbol(symbol)).map(|trade| trade.id);
            assert_eq!(ids(0).collect::<Vec<_>>(), [7, 8, 9, 10, 11, 12]);
            assert_eq!(ids(1).collect::<Vec<_>>(), [50, 51, 52]);
            assert!(trades.is_sorted_by_key(|trade| trade.ts_recv) && trades.is_sorted_by_key(|trade| trade.ts_event));
            assert!(trades.iter().all(|trade| trade.ts_event <= trade.ts_recv && trade.ts_recv >= start));
        }
    }
}

//! The latest trades of one symbol: one writer, any number of readers on other threads, no lock, no wait.
//!
//! Each slot is one cache line: a stamp and seven words, all atomics. The stamp is `2n + 2` when the slot holds trade
//! `n` whole, odd while it is being written. A reader takes the words between two equal looks at the stamp; a writer
//! that laps it changes the stamp, and the reader learns that the trade is gone. Torn words are never returned.

#[cfg(loom)]
use loom::sync::{
    Arc,
    atomic::{AtomicU64, Ordering, fence},
};
#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering, fence},
};

use crate::market::{Origin, Price, Quantity, Side, Symbol, Timestamp, Trade};

const WORDS: usize = 7;

#[repr(align(64))]
struct Slot {
    stamp: AtomicU64,
    words: [AtomicU64; WORDS],
}

struct Shared {
    symbol: Symbol,
    /// How many trades were pushed: the next sequence.
    head: AtomicU64,
    slots: Box<[Slot]>,
}

/// Why a trade cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The writer has overwritten it.
    #[error("the trade is no longer in the ring")]
    Lapped,
    /// It was not pushed yet.
    #[error("the trade is not there yet")]
    Ahead,
}

/// The one writer of a ring.
pub struct RingWriter(Arc<Shared>);

/// A reader of a ring: cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct RingReader(Arc<Shared>);

/// A ring for the latest `capacity` trades of a symbol; `capacity` is rounded up to a power of two.
pub fn ring(symbol: Symbol, capacity: usize) -> (RingWriter, RingReader) {
    let slot = || Slot { stamp: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) };
    let slots = (0..capacity.max(1).next_power_of_two()).map(|_| slot()).collect();
    let shared = Arc::new(Shared { symbol, head: AtomicU64::new(0), slots });
    (RingWriter(Arc::clone(&shared)), RingReader(shared))
}

impl Shared {
    fn slot(&self, seq: u64) -> Option<&Slot> {
        self.slots.get(seq as usize & (self.slots.len() - 1))
    }
}

impl RingWriter {
    /// Appends a trade and returns its sequence, from 0. Never waits: the oldest trade makes room.
    #[inline]
    pub fn push(&mut self, trade: &Trade) -> u64 {
        let seq = self.0.head.load(Ordering::Relaxed);
        if let Some(slot) = self.0.slot(seq) {
            slot.stamp.store(2 * seq + 1, Ordering::Relaxed);
            // Orders the odd stamp before the words: whoever sees a new word also sees that the stamp has moved on.
            fence(Ordering::Release);
            for (word, value) in slot.words.iter().zip(pack(trade)) {
                word.store(value, Ordering::Relaxed);
            }
            slot.stamp.store(2 * seq + 2, Ordering::Release);
        }
        self.0.head.store(seq + 1, Ordering::Release);
        seq
    }
}

impl RingReader {
    /// How many trades were pushed so far: the sequence of the next one.
    pub fn head(&self) -> u64 {
        self.0.head.load(Ordering::Acquire)
    }

    /// Reads the trade of that sequence.
    ///
    /// # Errors
    /// [`Unread`] says whether it is gone or yet to come.
    pub fn read(&self, seq: u64) -> Result<Trade, Unread> {
        let slot = self.0.slot(seq).ok_or(Unread::Ahead)?;
        let want = 2 * seq + 2;
        let before = slot.stamp.load(Ordering::Acquire);
        if before != want {
            return Err(if before < want { Unread::Ahead } else { Unread::Lapped });
        }
        let words = std::array::from_fn(|index| slot.words.get(index).map_or(0, |word| word.load(Ordering::Relaxed)));
        // Orders the words before the second look at the stamp.
        fence(Ordering::Acquire);
        if slot.stamp.load(Ordering::Relaxed) != want {
            return Err(Unread::Lapped);
        }
        Ok(unpack(self.0.symbol, words))
    }

    /// The latest trades, oldest first, at most `count`.
    pub fn latest(&self, count: usize) -> Vec<Trade> {
        let head = self.head();
        let start = head.saturating_sub(count.min(self.0.slots.len()) as u64);
        (start..head).filter_map(|seq| self.read(seq).ok()).collect()
    }
}

#[inline]
fn pack(trade: &Trade) -> [u64; WORDS] {
    let side = match trade.side {
        Side::Buy => 0,
        Side::Sell => 1,
        Side::Unknown => 2,
    };
    let origin = match trade.origin {
        Origin::Live => 0,
        Origin::Backlog => 4,
        Origin::Repair => 8,
    };
    [
        trade.first_id,
        trade.id,
        trade.ts_event.0 as u64,
        trade.ts_recv.0 as u64,
        trade.price.0 as u64,
        trade.quantity.0 as u64,
        u64::from(trade.trades) << 4 | side | origin,
    ]
}

fn unpack(symbol: Symbol, [first_id, id, event, recv, price, quantity, rest]: [u64; WORDS]) -> Trade {
    Trade {
        symbol,
        first_id,
        id,
        trades: (rest >> 4) as u32,
        ts_event: Timestamp(event as i64),
        ts_recv: Timestamp(recv as i64),
        price: Price(price as i64),
        quantity: Quantity(quantity as i64),
        side: match rest & 3 {
            0 => Side::Buy,
            1 => Side::Sell,
            _ => Side::Unknown,
        },
        origin: match rest & 12 {
            0 => Origin::Live,
            4 => Origin::Backlog,
            _ => Origin::Repair,
        },
    }
}

#[cfg(test)]
fn numbered(n: u64) -> Trade {
    Trade {
        symbol: Symbol(7),
        first_id: n,
        id: n,
        trades: 1,
        ts_event: Timestamp(n as i64),
        ts_recv: Timestamp(n as i64),
        price: Price(n as i64),
        quantity: Quantity(n as i64),
        side: Side::Sell,
        origin: Origin::Repair,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_whole_trades_or_learns_that_they_are_gone() {
        let (mut writer, reader) = ring(Symbol(7), 4);
        assert_eq!(reader.read(0), Err(Unread::Ahead));
        for n in 0..6 {
            assert_eq!(writer.push(&numbered(n)), n);
        }
        assert_eq!(reader.read(1), Err(Unread::Lapped));
        assert_eq!(reader.read(5), Ok(numbered(5)));
        assert_eq!(reader.read(6), Err(Unread::Ahead));
        assert_eq!(reader.latest(10), (2..6).map(numbered).collect::<Vec<_>>());
    }

    #[test]
    fn readers_on_other_threads_never_see_a_torn_trade() {
        let (mut writer, reader) = ring(Symbol(7), 8);
        let watch = |reader: RingReader| {
            let mut read = 0;
            while reader.head() < 50_000 {
                for trade in reader.latest(8) {
                    assert_eq!(trade, numbered(trade.id));
                    read += 1;
                }
            }
            read
        };
        std::thread::scope(|scope| {
            let readers = [reader.clone(), reader].map(|reader| scope.spawn(|| watch(reader)));
            for n in 0..50_000 {
                writer.push(&numbered(n));
            }
            for reader in readers {
                reader.join().unwrap();
            }
        });
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// Every interleaving, up to three preemptions, of two pushes into one slot with a reader: removing either fence
    /// makes this fail.
    #[test]
    fn loom_a_lapped_slot_is_never_read_torn() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let (mut writer, reader) = ring(Symbol(7), 1);
            let handle = loom::thread::spawn(move || {
                if let Ok(trade) = reader.read(0) {
                    assert_eq!(trade, numbered(1));
                }
            });
            writer.push(&numbered(1));
            writer.push(&numbered(2));
            handle.join().unwrap();
        });
    }
}

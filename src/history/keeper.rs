//! On a shard's thread: notes closed candles where a kill cannot reach them, then hands them to the writer.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use engine::{
    candle::Candle,
    market::{Symbol, Timestamp},
};
use node::Keeper;
use store::{Batch, Journal, Scales, Source, StoredCandle, Writer};
use tokio::sync::mpsc;

use super::Kept;

/// A stretch of time whose candles stay without some of its trades.
pub(super) type Lost = (Symbol, Range<Timestamp>);

/// What went wrong on shard threads, which do not log.
#[derive(Default)]
pub(super) struct Faults {
    /// Candles that are not in the journal: a kill may lose them.
    pub(super) not_noted: AtomicU64,
    /// Candles that neither the queue, the spill folder nor the store took.
    pub(super) not_stored: AtomicU64,
}

/// See the module.
pub(super) struct ShardKeeper {
    /// By symbol number.
    instruments: Vec<Option<(Source, Scales)>>,
    journal: Journal,
    writer: Arc<Writer>,
    faults: Arc<Faults>,
    lost: mpsc::Sender<Lost>,
}

impl ShardKeeper {
    pub(super) fn new(
        kept: &[Kept],
        journal: Journal,
        writer: Arc<Writer>,
        faults: Arc<Faults>,
        lost: mpsc::Sender<Lost>,
    ) -> Self {
        let count = kept.iter().map(|kept| kept.symbol.0 as usize + 1).max().unwrap_or(0);
        let mut instruments = vec![None; count];
        for kept in kept {
            if let Some(slot) = instruments.get_mut(kept.symbol.0 as usize) {
                *slot = Some((kept.source.clone(), kept.scales));
            }
        }
        Self { instruments, journal, writer, faults, lost }
    }
}

impl Keeper for ShardKeeper {
    fn on_closed(&mut self, closed: &[(Symbol, Candle)]) {
        let mut batch = Batch::new();
        for (symbol, candle) in closed {
            let Some(Some((source, scales))) = self.instruments.get(symbol.0 as usize) else { continue };
            if batch.candle(source, StoredCandle { scales: *scales, candle: *candle }).is_err() {
                self.faults.not_stored.fetch_add(1, Ordering::Relaxed);
            }
        }
        let rows = batch.rows() as u64;
        if self.journal.append(&batch).is_err() {
            self.faults.not_noted.fetch_add(rows, Ordering::Relaxed);
        }
        if self.writer.try_send(batch).is_err() {
            self.faults.not_stored.fetch_add(rows, Ordering::Relaxed);
        }
    }

    fn on_lost(&mut self, symbol: Symbol, time: Range<Timestamp>) {
        // A stretch that finds no place is still a hole in the store, which a backfill finds.
        let _ = self.lost.try_send((symbol, time));
    }
}

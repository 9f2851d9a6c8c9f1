//! Off the hot path: trades go from the rings to the store, and journal files go once all that stands in them is stored.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use engine::{
    market::Symbol,
    ring::{RingReader, Unread},
};
use store::{Batch, Rotation, StoredTrade, Writer};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{Kept, keeper::Faults};

/// How often rings are read: a ring of 4,096 trades must not be overtaken within this time.
const READ_EVERY: Duration = Duration::from_millis(100);
const ROTATE_EVERY: Duration = Duration::from_secs(1);
/// How long journal files are tried to be stored before trades have their turn again.
const STORE_WITHIN: Duration = Duration::from_secs(5);
/// Trades of one batch.
const BATCH_TRADES: usize = 2000;

struct Ring {
    kept: Kept,
    reader: RingReader,
    next: u64,
}

/// See the module.
pub(super) struct Tasks {
    writer: Arc<Writer>,
    rotations: Vec<Rotation>,
    faults: Arc<Faults>,
    rings: Vec<Ring>,
    /// Trades that were overwritten before they were read.
    overtaken: u64,
    /// Candles that were not noted, and that were not stored, when it was last told.
    told: (u64, u64),
    /// Candles that had been refused when the files of each journal were last stored.
    refused: Vec<u64>,
}

impl Tasks {
    /// Reads the rings from their present heads on.
    pub(super) fn new(
        writer: Arc<Writer>,
        instruments: &[Kept],
        rotations: Vec<Rotation>,
        faults: Arc<Faults>,
        readers: &HashMap<Symbol, RingReader>,
    ) -> Self {
        let ring = |kept: &Kept| {
            let reader = readers.get(&kept.symbol)?.clone();
            Some(Ring { kept: kept.clone(), next: reader.head(), reader })
        };
        let rings = instruments.iter().filter_map(ring).collect();
        let refused = vec![0; rotations.len()];
        Self { writer, rotations, faults, rings, overtaken: 0, told: (0, 0), refused }
    }

    /// Works until `stop` turns true; then reads the rings a last time.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut tick = interval(READ_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rotate_at = Instant::now() + ROTATE_EVERY;
        loop {
            let is_over = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                _ = tick.tick() => false,
            };
            self.store_trades();
            if is_over {
                return;
            }
            if Instant::now() >= rotate_at {
                self.rotate().await;
                self.tell();
                rotate_at = Instant::now() + ROTATE_EVERY;
            }
        }
    }

    fn store_trades(&mut self) {
        let mut batch = Batch::new();
        for ring in &mut self.rings {
            let head = ring.reader.head();
            while ring.next < head {
                match ring.reader.read(ring.next) {
                    Ok(trade) => {
                        // A trade that no store takes cannot be: the feed checked it.
                        let _ = batch.trade(&ring.kept.source, StoredTrade::new(ring.kept.scales, &trade));
                    }
                    Err(Unread::Lapped) => self.overtaken += 1,
                    Err(Unread::Ahead) => break,
                }
                ring.next += 1;
                if batch.rows() >= BATCH_TRADES {
                    hand_over(&self.writer, std::mem::take(&mut batch));
                }
            }
        }
        hand_over(&self.writer, batch);
    }

    /// Replaces journal files that have grown large, and deletes those whose candles are all stored.
    async fn rotate(&mut self) {
        let writer = &self.writer;
        let refused = self.faults.not_stored.load(Ordering::Relaxed);
        for (rotation, known) in self.rotations.iter_mut().zip(&mut self.refused) {
            if rotation.has_left() {
                let stored = async {
                    // What was refused while everything was full stands in the files alone.
                    let left = if refused == *known { Vec::new() } else { rotation.left()? };
                    for batch in left {
                        writer.send(batch).await?;
                    }
                    writer.flush().await;
                    anyhow::Ok(())
                };
                match timeout(STORE_WITHIN, stored).await {
                    Ok(Ok(())) => {
                        rotation.discard();
                        *known = refused;
                    }
                    Ok(Err(error)) => tracing::warn!("the journal cannot be stored: {error:#}"),
                    // The store and the spill folder are full: the files stay.
                    Err(_) => {}
                }
            } else if rotation.is_due()
                && let Err(error) = rotation.begin()
            {
                tracing::warn!(error = &error as &dyn std::error::Error, "no new journal file");
            }
        }
    }

    /// Says what went wrong since the last time.
    fn tell(&mut self) {
        let overtaken = std::mem::take(&mut self.overtaken);
        if overtaken > 0 {
            tracing::warn!(overtaken, "trades came faster than they are stored; candles hold them all");
        }
        let faults = &self.faults;
        let now = (faults.not_noted.load(Ordering::Relaxed), faults.not_stored.load(Ordering::Relaxed));
        if now != self.told {
            let (not_in_journal, not_stored) = (now.0 - self.told.0, now.1 - self.told.1);
            let reason = self.writer.status().last_error;
            tracing::error!(not_in_journal, not_stored, reason, "candles are not kept; is the disk full?");
            self.told = now;
        }
    }
}

fn hand_over(writer: &Writer, batch: Batch) {
    if !batch.is_empty() && writer.try_send(batch).is_err() {
        // Counted by the writer; trades are kept for convenience, candles for good.
        tracing::debug!("trades not stored: the queue is full");
    }
}

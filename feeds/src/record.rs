//! Recording: everything that a venue sent and that candles follow from, line by line into files of one hour.
//!
//! `line` (what a line says) → `name` (which file) → `tape` (one venue's way in) → `file` (one growing file) → `writer` (the
//! thread); `rerun` reads lines back into what the shards were given. A feed never waits for the disk: what finds no place in the queue is counted, and a line says so in its place.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::sync_channel,
    },
    thread::{self, JoinHandle},
};

use engine::market::{Directory, Timestamp, Venue};

pub use self::{
    line::{Head, Line},
    name::FileName,
    rerun::Rerun,
};
pub(crate) use tape::Tape;

use self::{tape::Queue, writer::Writer};
use crate::{
    metrics::{FeedMetrics, RecordMetrics},
    supervisor::Clock,
};

mod file;
mod line;
mod name;
mod rerun;
mod tape;
#[cfg(test)]
mod tests;
mod writer;

/// How many lines may wait for the disk.
const LINES_MAX: usize = 1 << 16;

/// What is recorded, and where.
#[derive(Clone, Debug)]
pub struct RecordConfig {
    /// The folder of the files.
    pub dir: PathBuf,
    /// The most bytes of all files together; the oldest go first.
    pub bytes_max: u64,
    /// How long after its end a candle may still be corrected: a replay needs to know.
    pub late_window_ms: i64,
    /// How long after its end a candle closes at the latest.
    pub close_delay_ms: i64,
}

/// The way into a running recording. Clones share it.
#[derive(Clone)]
pub struct Recorder {
    queue: Queue,
    metrics: RecordMetrics,
}

/// The thread that writes.
pub struct Recording {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Recorder {
    /// Starts a recording of the instruments in `directory`.
    ///
    /// # Errors
    /// If the folder cannot be made or read, or no thread can be started.
    pub fn start(
        config: RecordConfig,
        directory: &Directory,
        clock: Clock,
        metrics: &FeedMetrics,
    ) -> io::Result<(Self, Recording)> {
        let (sender, lines) = sync_channel(LINES_MAX);
        let queue = Queue::new(sender);
        let stop = Arc::<AtomicBool>::default();
        let waiting = queue.waiting();
        let mut writer = Writer::open(config, heads(directory), clock, metrics.record.clone())?;
        let stopped = Arc::clone(&stop);
        let thread =
            thread::Builder::new().name("recorder".to_owned()).spawn(move || writer.run(&lines, &waiting, &stopped))?;
        Ok((Self { queue, metrics: metrics.record.clone() }, Recording { thread, stop }))
    }

    /// The way in for one venue.
    pub(crate) fn tape(&self, venue: Venue) -> Tape {
        Tape::new(venue, self.queue.clone(), self.metrics.lost(venue))
    }
}

impl Recording {
    /// Writes what was handed over until now and ends; nothing that comes later is kept.
    pub fn finish(self) {
        self.stop.store(true, Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the recorder ended badly");
        }
    }
}

/// The lines that say which instruments a venue has here, and by which names clients know them.
fn heads(directory: &Directory) -> Vec<(Venue, Vec<u8>)> {
    let mut heads: Vec<(Venue, Vec<u8>)> = Vec::new();
    for (symbol, instrument) in directory.symbols() {
        let source = instrument.source();
        let alias = directory.labels().find(|(_, text, of)| *of == symbol && *text != source);
        let line = Line::Symbol { name: &instrument.name, alias: alias.map_or(&*source, |(_, alias, _)| alias) };
        let at = heads.iter().position(|(venue, _)| *venue == instrument.venue).unwrap_or_else(|| {
            heads.push((instrument.venue, Vec::new()));
            heads.len() - 1
        });
        if let Some((_, lines)) = heads.get_mut(at) {
            line.write(Timestamp(0), lines);
        }
    }
    heads
}

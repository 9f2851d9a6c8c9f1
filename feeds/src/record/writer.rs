//! The thread that writes a recording: turns files over by hour and size, keeps them within bounds, outlives a full disk.

use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use engine::market::{Timestamp, Venue};

use super::{
    RecordConfig,
    file::TapeFile,
    line::{Head, Line},
    name::FileName,
    tape::Entry,
};
use crate::{metrics::RecordMetrics, supervisor::Clock};

/// A kill loses what came since the last flush.
const FLUSH_EVERY: Duration = Duration::from_millis(500);
/// After a failed write the disk is left alone for so long.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A file this large is followed by the next part, unless the bound of all files asks for smaller ones.
const PART_BYTES_MAX: u64 = 256 << 20;
/// Into so many parts, at the least, the bound of all files is divided.
const PARTS_MIN: u64 = 16;
/// A task stamps a line this long before it is queued, at the most.
const QUEUED_WITHIN: i64 = 100_000_000;

/// One venue's files.
struct Lane {
    symbols: Vec<u8>,
    file: Option<TapeFile>,
    /// Lines that a failed disk cost, not told in a file yet.
    lost: u64,
}

/// See the module.
pub(super) struct Writer {
    config: RecordConfig,
    clock: Clock,
    run: Timestamp,
    metrics: RecordMetrics,
    lanes: HashMap<Venue, Lane>,
    /// Files that are ended, oldest first, with their bytes.
    kept: Vec<(FileName, u64)>,
    /// Until when the disk is left alone.
    retry_at: Option<Instant>,
}

impl Writer {
    /// Makes the folder and looks what is there.
    pub(super) fn open(
        config: RecordConfig,
        heads: Vec<(Venue, Vec<u8>)>,
        clock: Clock,
        metrics: RecordMetrics,
    ) -> io::Result<Self> {
        fs::create_dir_all(&config.dir)?;
        let mut kept = Vec::new();
        for entry in fs::read_dir(&config.dir)? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str().and_then(FileName::parse) {
                kept.push((name, entry.metadata()?.len()));
            }
        }
        kept.sort_by_key(|(name, _)| name.order());
        let lane = |(venue, symbols)| (venue, Lane { symbols, file: None, lost: 0 });
        let lanes = heads.into_iter().map(lane).collect();
        let run = clock();
        Ok(Self { config, clock, run, metrics, lanes, kept, retry_at: None })
    }

    /// Writes what comes until `stop`, then what is left.
    pub(super) fn run(&mut self, entries: &Receiver<Entry>, waiting: &AtomicUsize, stop: &AtomicBool) {
        let mut next = Instant::now() + FLUSH_EVERY;
        loop {
            match entries.recv_timeout(next.saturating_duration_since(Instant::now()).min(FLUSH_EVERY)) {
                Ok(entry) => self.take(&entry, waiting),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= next {
                next = Instant::now() + FLUSH_EVERY;
                // What was stamped before this moment is in the queue or will be within a moment.
                let now = (self.clock)();
                entries.try_iter().take(super::LINES_MAX).for_each(|entry| self.take(&entry, waiting));
                self.flush(now.plus(-QUEUED_WITHIN));
                if stop.load(Relaxed) {
                    break;
                }
            }
        }
        self.finish();
    }

    fn take(&mut self, entry: &Entry, waiting: &AtomicUsize) {
        waiting.fetch_sub(entry.line.len(), Relaxed);
        let venue = entry.venue;
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return self.lose(venue, 1 + entry.lost);
        }
        match self.write(entry) {
            Ok(()) => _ = self.metrics.lines(venue).inc(),
            Err(error) => {
                self.lose(venue, 1 + entry.lost);
                self.fail(&error);
            }
        }
    }

    fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let part_max = PART_BYTES_MAX.min(self.config.bytes_max / PARTS_MIN);
        let Some(lane) = self.lanes.get_mut(&entry.venue) else { return Ok(()) };
        if let Some(file) = &mut lane.file
            && (!file.name.reaches(entry.ts) || file.len() >= part_max)
        {
            // If the disk does not even take this, the lines since the last flush are counted.
            file.flush(Timestamp(i64::MIN))?;
            self.kept.push((file.name, file.len()));
            if let Some(file) = lane.file.take() {
                file.finish()?;
            }
        }
        if lane.file.is_none() {
            fs::create_dir_all(&self.config.dir)?;
            let name = next_name(&self.kept, entry.venue, entry.ts);
            let file = lane.file.insert(TapeFile::create(&self.config.dir, name)?);
            let (late_window_ms, close_delay_ms) = (self.config.late_window_ms, self.config.close_delay_ms);
            let head = Head { venue: entry.venue, run: self.run, late_window_ms, close_delay_ms };
            file.line(entry.ts, &Line::Head(head))?;
            file.bytes(&lane.symbols)?;
            if lane.lost > 0 {
                file.line(entry.ts, &Line::Lost { lines: lane.lost })?;
            }
            // A disk that is full tells so now rather than when the encoder's buffer is.
            file.flush(Timestamp(i64::MIN))?;
            lane.lost = 0;
            if self.retry_at.take().is_some() {
                self.metrics.failing.set(0);
                tracing::info!(dir = %self.config.dir.display(), "recording again");
            }
        }
        lane.file.as_mut().map_or(Ok(()), |file| file.entry(entry))
    }

    /// Makes everything readable and keeps the bound.
    fn flush(&mut self, until: Timestamp) {
        let mut failed = None;
        for file in self.lanes.values_mut().filter_map(|lane| lane.file.as_mut()) {
            failed = file.flush(until).err().or(failed);
        }
        if let Some(error) = failed {
            self.fail(&error);
        }
        let open: u64 = self.lanes.values().filter_map(|lane| lane.file.as_ref()).map(TapeFile::len).sum();
        let mut total = self.kept.iter().map(|(_, bytes)| bytes).sum::<u64>() + open;
        self.metrics.bytes.set(i64::try_from(total).unwrap_or(i64::MAX));
        while total > self.config.bytes_max && !self.kept.is_empty() {
            let (name, bytes) = self.kept.remove(0);
            total -= bytes;
            remove(&self.config.dir, name, bytes);
        }
    }

    /// Gives the open files up: each of them may end torn.
    fn fail(&mut self, error: &io::Error) {
        if self.retry_at.is_none() {
            let dir = self.config.dir.display();
            tracing::error!(%dir, %error, "recording has stopped; it goes on once the disk takes it, the stream is unharmed");
        }
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        self.metrics.failing.set(1);
        let torn: Vec<_> =
            self.lanes.iter_mut().filter_map(|(venue, lane)| Some((*venue, lane.file.take()?))).collect();
        for (venue, file) in torn {
            self.lose(venue, file.pending);
            let (name, bytes) = (file.name, file.abandon());
            if bytes > 0 {
                self.kept.push((name, bytes));
            } else {
                // Nothing of it was ever readable.
                remove(&self.config.dir, name, 0);
            }
        }
    }

    fn lose(&mut self, venue: Venue, lines: u64) {
        if let Some(lane) = self.lanes.get_mut(&venue) {
            lane.lost += lines;
        }
        self.metrics.lost(venue).inc_by(lines);
    }

    fn finish(&mut self) {
        let now = (self.clock)();
        for lane in self.lanes.values_mut() {
            let Some(mut file) = lane.file.take() else { continue };
            if let Err(error) = file.line(now, &Line::End).and_then(|()| file.finish()) {
                tracing::error!(%error, "the last lines of a recording could not be written");
            }
        }
    }
}

/// The part behind those that are there.
fn next_name(kept: &[(FileName, u64)], venue: Venue, ts: Timestamp) -> FileName {
    let first = FileName::new(venue, ts, 1);
    let parts = kept.iter().filter(|(name, _)| name.is_beside(&first)).map(|(name, _)| name.part());
    FileName::new(venue, ts, parts.max().map_or(1, |last| last.saturating_add(1)))
}

fn remove(dir: &Path, name: FileName, bytes: u64) {
    match fs::remove_file(dir.join(name.to_string())) {
        Ok(()) if bytes > 0 => {
            tracing::info!(file = %name, bytes, "removed the oldest recording: the bound is reached")
        }
        Ok(()) => {}
        Err(error) => tracing::warn!(file = %name, %error, "a recording could not be removed"),
    }
}

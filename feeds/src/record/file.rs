//! One growing file: zstd over lines. What was flushed stays readable, however the program ends.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use engine::market::Timestamp;
use zstd::stream::write::Encoder;

use super::{line::Line, name::FileName, tape::Entry};

const LEVEL: i32 = 3;

/// Counts what reaches the file.
struct Counted {
    file: File,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// See the module.
pub(super) struct TapeFile {
    pub(super) name: FileName,
    encoder: Encoder<'static, Counted>,
    /// Up to where it is readable.
    flushed: u64,
    is_dirty: bool,
    /// Lines of the venue since then.
    pub(super) pending: u64,
    connection: u64,
    newest: Timestamp,
    scratch: Vec<u8>,
}

impl TapeFile {
    /// Begins a file that must not exist.
    pub(super) fn create(dir: &Path, name: FileName) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(dir.join(name.to_string()))?;
        let encoder = Encoder::new(Counted { file, bytes: 0 }, LEVEL)?;
        let newest = Timestamp(i64::MIN);
        Ok(Self { name, encoder, flushed: 0, is_dirty: true, pending: 0, connection: 0, newest, scratch: Vec::new() })
    }

    /// Writes a line, and before it which connection brought it, if that has changed.
    pub(super) fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.lost > 0 {
            self.line(entry.ts, &Line::Lost { lines: entry.lost })?;
        }
        if entry.connection != 0 && entry.connection != self.connection {
            self.line(entry.ts, &Line::From { connection: entry.connection })?;
            self.connection = entry.connection;
        }
        self.newest = self.newest.max(entry.ts);
        self.pending += 1;
        self.bytes(&entry.line)
    }

    pub(super) fn line(&mut self, ts: Timestamp, line: &Line<'_>) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        line.write(ts, &mut scratch);
        let written = self.bytes(&scratch);
        self.scratch = scratch;
        written
    }

    /// Lines that are written already.
    pub(super) fn bytes(&mut self, lines: &[u8]) -> io::Result<()> {
        self.is_dirty = true;
        self.encoder.write_all(lines)
    }

    /// Makes readable what was written, with a note that nothing older than `until` is to come.
    pub(super) fn flush(&mut self, until: Timestamp) -> io::Result<()> {
        if until > self.newest {
            self.newest = until;
            self.line(until, &Line::Time)?;
        }
        if self.is_dirty {
            self.encoder.flush()?;
            (self.flushed, self.pending, self.is_dirty) = (self.len(), 0, false);
        }
        Ok(())
    }

    /// Bytes in the file.
    pub(super) fn len(&self) -> u64 {
        self.encoder.get_ref().bytes
    }

    /// Ends the file properly.
    pub(super) fn finish(self) -> io::Result<()> {
        self.encoder.finish()?.flush()
    }

    /// Gives the file up after a failed write: what was flushed stays, the torn rest goes.
    pub(super) fn abandon(self) -> u64 {
        // Where even that fails, a reader passes over the torn end.
        let _ = self.encoder.get_ref().file.set_len(self.flushed);
        self.flushed
    }
}

//! Recorded files line by line: plain, gzip or zstd, told apart by their first bytes. Lines are bounded.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A longer line is skipped: it is as long as the longest frame that a parser reads, and its time.
pub const LINE_BYTES_MAX: usize = (1 << 20) + 64;

/// One line of a file, without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line.
    Text(&'a [u8]),
    /// A line beyond [`LINE_BYTES_MAX`]; it was skipped.
    TooLong,
}

/// A file that is read line by line.
pub struct Input {
    reader: Box<dyn BufRead>,
    buffer: Vec<u8>,
    line: u64,
    bytes: Arc<AtomicU64>,
}

/// Counts what is read of a file, for the progress bar.
struct Counted {
    file: File,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(to)?;
        self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl Input {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be opened or its head not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let bytes = Arc::new(AtomicU64::new(0));
        let file = File::open(path)?;
        let mut raw = BufReader::with_capacity(1 << 16, Counted { file, bytes: Arc::clone(&bytes) });
        let head = raw.fill_buf()?;
        let reader: Box<dyn BufRead> = if head.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(1 << 16, flate2::bufread::MultiGzDecoder::new(raw)))
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Box::new(BufReader::with_capacity(1 << 16, zstd::stream::Decoder::with_buffer(raw)?))
        } else {
            Box::new(raw)
        };
        Ok(Self { reader, buffer: Vec::new(), line: 0, bytes })
    }

    /// The next line and its number, from 1, or nothing at the end.
    ///
    /// # Errors
    /// If the file cannot be read on, or its compression is damaged.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        self.buffer.clear();
        let limit = LINE_BYTES_MAX as u64 + 2;
        if self.reader.by_ref().take(limit).read_until(b'\n', &mut self.buffer)? == 0 {
            return Ok(None);
        }
        self.line += 1;
        if self.buffer.last() != Some(&b'\n') && self.buffer.len() > LINE_BYTES_MAX {
            self.skip_line()?;
            return Ok(Some((self.line, Line::TooLong)));
        }
        let text = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        Ok(Some((self.line, Line::Text(text.strip_suffix(b"\r").unwrap_or(text)))))
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let part = self.reader.fill_buf()?;
            let end = part.iter().position(|&byte| byte == b'\n');
            let count = end.map_or(part.len(), |end| end + 1);
            self.reader.consume(count);
            if end.is_some() || count == 0 {
                return Ok(());
            }
        }
    }

    /// How many bytes of the file were read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

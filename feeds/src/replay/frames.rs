//! The lines of a recording: raw frames with our time of receipt.
//!
//! Four forms are known: `<nanoseconds> <frame>`, `<seconds.fraction>: <frame>`, the frame alone, and lines that begin
//! with a URL (connections and what the client said), which hold no frame of the venue.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use engine::{
    market::Timestamp,
    number::{Scale, parse_decimal},
};
use flate2::read::MultiGzDecoder;

use super::ReplayError;

/// The longest line.
pub const LINE_BYTES_MAX: usize = 1 << 20;
const NANOS: u8 = 9;

/// One frame as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Our time of receipt; zero where the recording has none.
    pub ts_recv: Timestamp,
    /// The text.
    pub text: String,
}

/// The frames of a plain, `.gz` or `.zst` file, decoded as they are asked for.
pub struct RawFrames {
    path: PathBuf,
    lines: Box<dyn BufRead + Send>,
    line: u64,
    buffer: Vec<u8>,
    is_done: bool,
}

impl RawFrames {
    /// Opens a recording.
    ///
    /// # Errors
    /// [`ReplayError::Read`] if the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, ReplayError> {
        let failed = |source| ReplayError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let lines: Box<dyn BufRead + Send> = match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Box::new(BufReader::new(MultiGzDecoder::new(file))),
            Some("zst") => Box::new(BufReader::new(zstd::Decoder::new(file).map_err(failed)?)),
            _ => Box::new(BufReader::new(file)),
        };
        Ok(Self::new(path, lines))
    }

    /// Reads frames from memory; `path` only names them in errors.
    pub fn new(path: &Path, lines: Box<dyn BufRead + Send>) -> Self {
        Self { path: path.to_owned(), lines, line: 0, buffer: Vec::new(), is_done: false }
    }

    fn next_line(&mut self) -> Result<bool, ReplayError> {
        self.buffer.clear();
        self.line += 1;
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = (&mut self.lines).take(limit).read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|source| ReplayError::Read { path: self.path.clone(), source })?;
        if read > LINE_BYTES_MAX {
            return Err(self.bad("is longer than 1 MiB"));
        }
        Ok(read > 0)
    }

    fn bad(&self, what: &'static str) -> ReplayError {
        ReplayError::Line { path: self.path.clone(), line: self.line, what }
    }
}

impl Iterator for RawFrames {
    type Item = Result<RawFrame, ReplayError>;

    /// The next frame. After an error there is no other one.
    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_done {
            let frame = match self.next_line() {
                Ok(false) => return None,
                Ok(true) => parse_line(&self.buffer).map_err(|what| self.bad(what)).transpose(),
                Err(error) => Some(Err(error)),
            };
            self.is_done = matches!(frame, Some(Err(_)));
            if frame.is_some() {
                return frame;
            }
        }
        None
    }
}

/// A line's frame; `None` for a line that has none.
fn parse_line(line: &[u8]) -> Result<Option<RawFrame>, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8")?.trim_end();
    if line.is_empty() || line.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme)) {
        return Ok(None);
    }
    let (ts_recv, text) = match line.split_once(' ') {
        Some((seconds, text)) if line.starts_with(|c: char| c.is_ascii_digit()) => match seconds.strip_suffix(':') {
            Some(seconds) => (parse_seconds(seconds).ok_or("has no valid time")?, text),
            None => (seconds.parse().map_err(|_| "has no valid time")?, text),
        },
        _ => (0, line),
    };
    Ok(Some(RawFrame { ts_recv: Timestamp(ts_recv), text: text.trim().to_owned() }))
}

fn is_scheme(text: &str) -> bool {
    matches!(text, "ws" | "wss" | "http" | "https")
}

/// `1633998512.0633569` in nanoseconds, exactly.
fn parse_seconds(text: &str) -> Option<i64> {
    parse_decimal(text.as_bytes(), Scale::new(NANOS)?).ok().filter(|nanos| *nanos >= 0)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn frames(text: &str) -> Vec<Result<RawFrame, String>> {
        let lines = Box::new(Cursor::new(text.as_bytes().to_vec()));
        let frames = RawFrames::new(Path::new("memory"), lines);
        frames.map(|frame| frame.map_err(|error| error.to_string())).collect()
    }

    fn frame(ts_recv: i64, text: &str) -> Result<RawFrame, String> {
        Ok(RawFrame { ts_recv: Timestamp(ts_recv), text: text.to_owned() })
    }

    #[test]
    fn every_form_of_line_is_known_and_times_are_exact() {
        let text = "wss://x/ws <-> 1633998511.5\nwss://x/ws <- 1633998511.6: {\"op\":1}\n\
                    1633998512.0633569: {\"a\":1}\n1633998512: {\"b\": 2}\n\n1723161253937085768 {\"c\":3}\r\n\
                    {\"url\":\"wss://x\"}\npong\n";
        let want = [
            frame(1_633_998_512_063_356_900, "{\"a\":1}"),
            frame(1_633_998_512_000_000_000, "{\"b\": 2}"),
            frame(1_723_161_253_937_085_768, "{\"c\":3}"),
            frame(0, "{\"url\":\"wss://x\"}"),
            frame(0, "pong"),
        ];
        assert_eq!(frames(text), want);
    }

    #[test]
    fn a_bad_line_is_named_and_ends_the_recording() {
        let got = frames("{}\n12x: {}\n{}\n");
        assert_eq!(got, [frame(0, "{}"), Err("line 2 of memory has no valid time".to_owned())]);
        let long = format!("{}\n{{}}\n", "x".repeat(LINE_BYTES_MAX + 1));
        assert_eq!(frames(&long), [Err("line 1 of memory is longer than 1 MiB".to_owned())]);
    }
}

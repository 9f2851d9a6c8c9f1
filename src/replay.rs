//! `kandle replay`: recorded trades to candles, offline at full speed (here) or as a live stream (`live`).
//!
//! `folder` (which files) → `input` (lines) → `csv` or `frames` (lines to trades) → `book` (trades to candles) → `merge` (one order of
//! time) → a file. What `serve --record` wrote goes through a shard instead (`recording`). `tally` counts what was read and refused.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use engine::{
    candle::Candle,
    frame::Form,
    json,
    market::{Directory, Instrument, Symbol, Trade},
};
use indicatif::{ProgressBar, ProgressStyle};

use self::{
    book::Book,
    csv::CsvReader,
    frames::FrameReader,
    input::{Input, Line},
    tally::Tally,
};
use crate::cli::{Fill, Format, ReplayArgs};

pub mod book;
pub mod columns;
pub mod csv;
mod folder;
pub mod frames;
pub mod input;
pub mod live;
pub mod merge;
mod recording;
pub mod tally;
#[cfg(test)]
mod tests;

/// Takes the trades of a recording.
pub trait TradeSink {
    /// Takes a trade and counts it; `line` is where it stands.
    fn on_trade(&mut self, trade: &Trade, line: u64, tally: &mut Tally);
}

/// How many lines are read between two looks at what can be written.
const LINES_PER_TURN: u64 = 4096;

/// Reads all files and writes their candles to `out`; what was read and refused goes to standard error.
///
/// # Errors
/// If a file cannot be read or written, or no trade was found.
pub fn run(args: &ReplayArgs, out: &Path) -> anyhow::Result<()> {
    let args = &ReplayArgs { files: folder::expand(&args.files, args.venue)?, ..args.clone() };
    if args.files.iter().any(|file| file == out) {
        bail!("{} is an input as well; name another file after --out", out.display());
    }
    let mut writer: Box<dyn Write> = if out == Path::new("-") {
        Box::new(BufWriter::with_capacity(1 << 16, io::stdout().lock()))
    } else {
        let file = File::create(out).with_context(|| format!("cannot write {}", out.display()))?;
        Box::new(BufWriter::with_capacity(1 << 16, file))
    };
    let progress = progress(args);
    let tally = fold(args, &mut writer, &progress);
    progress.finish_and_clear();
    let tally = tally?;
    writer.flush().context("cannot write the last candles")?;
    let mut stderr = io::stderr().lock();
    tally.write(&mut stderr).context("cannot write to standard error")?;
    if tally.applied == 0 {
        bail!("no trade was found; the table above says what was refused and why");
    }
    Ok(())
}

fn progress(args: &ReplayArgs) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bytes = args.files.iter().filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum();
    let bar = ProgressBar::new(bytes);
    let shape = "{elapsed_precise} {wide_bar} {bytes}/{total_bytes} {msg}";
    if let Ok(style) = ProgressStyle::with_template(shape) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// One of the two readers of lines.
pub enum Reader {
    /// Rows of one instrument.
    Csv(Box<CsvReader>),
    /// Frames of one venue.
    Frames(Box<FrameReader>),
}

impl Reader {
    /// A reader of the files; it has looked through them for their instruments.
    ///
    /// # Errors
    /// If a file cannot be read or an argument is missing.
    pub fn open(args: &ReplayArgs) -> anyhow::Result<Self> {
        match args.format {
            Format::Csv => Ok(Self::Csv(Box::new(CsvReader::new(args)?))),
            Format::Frames => {
                let venue = args.venue.map_or_else(|| folder::venue(&args.files), |venue| Ok(Some(venue)))?;
                let venue = venue.context("raw frames need --venue: whose are they?")?;
                Ok(Self::Frames(Box::new(FrameReader::discover(venue, &args.files)?)))
            }
        }
    }

    /// The instruments, by symbol, and the names that they go by.
    pub fn directory(&self) -> (&Arc<Directory>, &[(Symbol, String)]) {
        match self {
            Self::Csv(csv) => csv.directory(),
            Self::Frames(frames) => frames.directory(),
        }
    }

    /// Reads all files into `sink`; `turn` is called now and then with the bytes that were read so far, and may end it.
    ///
    /// # Errors
    /// If a file cannot be read, or what `turn` fails with.
    pub fn read<S: TradeSink>(
        &mut self,
        args: &ReplayArgs,
        sink: &mut S,
        tally: &mut Tally,
        mut turn: impl FnMut(&mut S, &mut Tally, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut before = 0;
        for path in &args.files {
            let unreadable = || format!("cannot read {}", path.display());
            let mut input = Input::open(path).with_context(unreadable)?;
            tally.file(path);
            match self {
                Self::Csv(csv) => csv.begin_file(path).with_context(unreadable)?,
                Self::Frames(frames) => frames.begin_file(),
            }
            while let Some((number, line)) = input.next_line().with_context(unreadable)? {
                tally.lines += 1;
                match (line, &mut *self) {
                    (Line::TooLong, _) => tally.refuse("line_too_long", number),
                    (Line::Text(line), Self::Csv(csv)) => {
                        csv.on_line(line, number, sink, tally).with_context(|| path.display().to_string())?;
                    }
                    (Line::Text(line), Self::Frames(frames)) => frames.on_line(line, number, sink, tally),
                }
                if tally.lines.is_multiple_of(LINES_PER_TURN) {
                    turn(sink, tally, before + input.bytes())?;
                }
            }
            before += input.bytes();
        }
        Ok(())
    }
}

fn fold(args: &ReplayArgs, writer: &mut dyn Write, progress: &ProgressBar) -> anyhow::Result<Tally> {
    if args.format == Format::Frames && folder::venue(&args.files)?.is_some() {
        return recording::fold(args, writer, progress);
    }
    let mut reader = Reader::open(args)?;
    let mut book = Book::new(&args.interval, args.late_window_ms);
    let (directory, labels) = reader.directory();
    for (symbol, label) in labels {
        if let Some(instrument) = directory.instrument(*symbol) {
            book.add(*symbol, label, instrument);
        }
    }
    let mut tally = Tally::default();
    let mut text = Vec::new();
    reader.read(args, &mut book, &mut tally, |book, tally, bytes| {
        progress.set_position(bytes);
        write_candles(book, args.fill, &mut text, writer, tally)
    })?;
    book.finish();
    write_candles(&mut book, args.fill, &mut text, writer, &mut tally)?;
    Ok(tally)
}

fn write_candles(
    book: &mut Book,
    fill: Fill,
    text: &mut Vec<u8>,
    writer: &mut dyn Write,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    text.clear();
    let mut result = Ok(());
    book.pump(|candle, instrument, label| {
        write_line(candle, instrument, label, fill, text, tally);
        if text.len() > 1 << 16 && result.is_ok() {
            result = writer.write_all(text);
            text.clear();
        }
    });
    result.and_then(|()| writer.write_all(text)).context("cannot write candles")
}

/// Appends a candle as one line, unless it is flat and those are left out.
fn write_line(
    candle: &Candle,
    instrument: &Instrument,
    label: &str,
    fill: Fill,
    text: &mut Vec<u8>,
    tally: &mut Tally,
) {
    if fill == Fill::None && candle.is_flat() {
        return;
    }
    tally.candles += 1;
    json::write_candle(text, candle, instrument, label, Form::Number);
    text.push(b'\n');
}

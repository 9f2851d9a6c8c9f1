//! What `serve --record` wrote, through the same core: a shard is given the same inputs at the same moments again.
//!
//! The candles are those that were streamed, each with its last revision. A running shard ends a turn for each message and
//! at least every ten milliseconds; where a proof or a trade came within such a turn of a candle's deadline, or a turn took
//! in several messages, the *number* of its revisions may differ by what was told apart. Values and states do not: they
//! follow from what came, not from when it was looked at.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Write},
    sync::Arc,
};

use anyhow::{Context, bail};
use engine::{
    aggregator::HISTORY,
    candle::Candle,
    interval::Interval,
    market::{Directory, Symbol, Timestamp, Venue},
    message::{Answer, Input as ShardInput, Outputs, Read, Wanted},
    shard::{Shard, ShardConfig},
};
use feeds::record::{Head, Line, Rerun};
use indicatif::ProgressBar;

use super::{
    folder,
    input::{self, Input},
    merge::Merge,
    tally::Tally,
    write_line,
};
use crate::cli::{Fill, ReplayArgs};

/// How often a shard looks at all its symbols.
const SWEEP: i64 = 100_000_000;
/// Half of the time between two turns without inputs: what was due longer ago than this was done.
const HALF_TICK: i64 = 5_000_000;
/// How many lines are read between two looks at what can be written.
const LINES_PER_TURN: u64 = 4096;

/// Instruments and the names that clients know them by.
type Labels = Vec<(Symbol, String)>;

/// Reads all files and writes their candles.
pub(super) fn fold(args: &ReplayArgs, writer: &mut dyn Write, progress: &ProgressBar) -> anyhow::Result<Tally> {
    let (head, directory, labels) = instruments(args)?;
    let mut rerun = Rerun::new(head.venue, &directory).context("a venue without frames")?;
    let mut desk = Desk::new(&head, &directory, labels, &args.interval);
    let (mut tally, mut inputs) = (Tally::default(), Vec::new());
    let mut before = 0;
    for path in &args.files {
        let unreadable = || format!("cannot read {}", path.display());
        let mut input = Input::open(path).with_context(unreadable)?;
        tally.file(path);
        loop {
            let (number, line) = match input.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    tally
                        .notes
                        .push(format!("{} ends torn: the program was killed, or still writes it", path.display()));
                    break;
                }
                Err(error) => return Err(error).with_context(unreadable),
            };
            tally.lines += 1;
            let input::Line::Text(line) = line else {
                tally.refuse("line_too_long", number);
                continue;
            };
            let Some((ts, line)) = Line::parse(line) else {
                tally.refuse("malformed_line", number);
                continue;
            };
            if let Line::Lost { lines } = line {
                tally.notes.push(format!("{} lines are missing at line {number} of {}", lines, path.display()));
            }
            if rerun.on_line(ts, &line, &mut inputs).is_err() {
                tally.refuse("malformed_frame", number);
            }
            tally.other += u64::from(inputs.is_empty());
            if !matches!(line, Line::Head(_) | Line::Symbol { .. }) {
                desk.take(ts, &mut inputs, &mut tally);
            }
            if tally.lines.is_multiple_of(LINES_PER_TURN) {
                progress.set_position(before + input.bytes());
                desk.write(false, args.fill, writer, &mut tally)?;
            }
        }
        before += input.bytes();
    }
    desk.finish();
    desk.write(true, args.fill, writer, &mut tally)?;
    let stats = desk.shard.stats();
    (tally.applied, tally.duplicates, tally.late) = (stats.trades, stats.duplicates, stats.late_dropped);
    Ok(tally)
}

/// The settings of the first file and the instruments of all.
fn instruments(args: &ReplayArgs) -> anyhow::Result<(Head, Arc<Directory>, Labels)> {
    let (mut first, mut directory, mut labels) = (None::<Head>, Directory::new(), Labels::new());
    for path in &args.files {
        let mut found = Vec::new();
        let head = folder::head(path, |name, alias| found.push((name.to_owned(), alias.to_owned())));
        let Some(head) = head.with_context(|| format!("cannot read {}", path.display()))? else {
            bail!("{} is no recording of `kandle serve --record`, but others here are", path.display());
        };
        let first = first.get_or_insert(head);
        if head.venue != first.venue {
            bail!("the files are recordings of {} and {}; replay one venue at a time", first.venue, head.venue);
        }
        for (name, alias) in found {
            if directory.find(head.venue, &name).is_none() {
                register(&mut directory, &mut labels, head.venue, &name, alias)?;
            }
        }
    }
    Ok((first.context("no file")?, Arc::new(directory), labels))
}

fn register(
    directory: &mut Directory,
    labels: &mut Labels,
    venue: Venue,
    name: &str,
    alias: String,
) -> anyhow::Result<()> {
    let instrument = feeds::symbols::instrument(venue, name);
    let own = Some(&*alias).filter(|alias| *alias != instrument.source());
    let symbol = directory.register(own, instrument).with_context(|| format!("{name} in the recording"))?;
    labels.push((symbol, alias));
    Ok(())
}

/// The shard, and its candles until they can change no more.
struct Desk {
    shard: Shard,
    out: Outputs,
    directory: Arc<Directory>,
    labels: Labels,
    intervals: Vec<Interval>,
    now: Timestamp,
    late_window: i64,
    /// By lane and interval, oldest first.
    held: HashMap<(usize, Interval), VecDeque<Candle>>,
    lanes: HashMap<Symbol, usize>,
    merge: Merge,
}

impl Desk {
    fn new(head: &Head, directory: &Arc<Directory>, labels: Labels, intervals: &[Interval]) -> Self {
        let Head { late_window_ms, close_delay_ms, run, .. } = *head;
        let config = ShardConfig { late_window_ms, close_delay_ms, keeps: true, ..ShardConfig::default() };
        let symbols = directory.symbols().map(|(symbol, _)| symbol);
        let shard = Shard::new(Arc::clone(directory), symbols, config);
        let mut intervals = intervals.to_vec();
        intervals.sort_unstable();
        intervals.dedup();
        let late_window = late_window_ms.saturating_mul(1_000_000);
        let mut merge = Merge::new(intervals.clone());
        let mut lanes = HashMap::new();
        for (lane, (symbol, label)) in labels.iter().enumerate() {
            merge.add(label);
            merge.begin(lane, run.plus(-late_window));
            lanes.insert(*symbol, lane);
        }
        let now = Timestamp(i64::MIN);
        let (out, held, directory) = (Outputs::default(), HashMap::new(), Arc::clone(directory));
        Self { shard, out, directory, labels, intervals, now, late_window, held, lanes, merge }
    }

    /// One message, as one turn of the shard; before it the turn that time has brought.
    fn take(&mut self, ts: Timestamp, inputs: &mut Vec<ShardInput>, tally: &mut Tally) {
        let slot = Timestamp((ts.0 - HALF_TICK).div_euclid(SWEEP) * SWEEP);
        if slot > self.now {
            self.end_turn(slot);
        }
        for input in inputs.drain(..) {
            if let ShardInput::Trade(trade) = &input {
                tally.saw(trade);
            }
            self.shard.on_input(input);
            if self.shard.is_full() {
                self.end_turn(ts);
            }
        }
        self.end_turn(ts);
    }

    fn end_turn(&mut self, ts: Timestamp) {
        self.now = self.now.max(ts);
        self.shard.end_turn(self.now, &mut self.out);
        self.out.missing.clear();
        self.out.lost.clear();
        for (symbol, candle) in self.out.closed.drain(..) {
            let Some(lane) = self.lanes.get(&symbol).filter(|_| self.intervals.contains(&candle.interval)) else {
                continue;
            };
            let held = self.held.entry((*lane, candle.interval)).or_default();
            let at = held.partition_point(|own| own.open_time < candle.open_time);
            match held.get_mut(at).filter(|own| own.open_time == candle.open_time) {
                Some(own) => *own = candle,
                None => held.insert(at, candle),
            }
        }
    }

    /// Adds the open candles.
    fn finish(&mut self) {
        for (&symbol, &lane) in &self.lanes {
            for &interval in &self.intervals {
                let wanted = Wanted::Candles { interval, count: 2 };
                self.shard.on_input(ShardInput::Read(Read { ticket: 0, symbol, wanted }));
                self.shard.end_turn(self.now, &mut self.out);
                let open = self.out.answers.drain(..).flat_map(|(_, answer)| match answer {
                    Answer::Candles(candles) => candles,
                    Answer::Ticker(_) => Vec::new(),
                });
                let open: Vec<_> = open.filter(|candle| !candle.is_closed).collect();
                self.held.entry((lane, interval)).or_default().extend(open);
            }
        }
    }

    /// Writes what can change no more, or everything, in order of open time, then interval, then symbol.
    fn write(&mut self, all: bool, fill: Fill, writer: &mut dyn Write, tally: &mut Tally) -> anyhow::Result<()> {
        for ((lane, _), held) in &mut self.held {
            let is_sealed = |candle: &Candle| candle.close_time <= self.now.plus(-self.late_window);
            while let Some(candle) = held.front().copied()
                && (all || held.len() > HISTORY && is_sealed(&candle))
            {
                held.pop_front();
                self.merge.extend(*lane, &[candle]);
            }
        }
        if all {
            (0..self.labels.len()).for_each(|lane| self.merge.end(lane));
        }
        let mut text = Vec::new();
        while let Some((lane, candle)) = self.merge.pop() {
            let Some((symbol, label)) = self.labels.get(lane) else { continue };
            let Some(instrument) = self.directory.instrument(*symbol) else { continue };
            write_line(&candle, instrument, label, fill, &mut text, tally);
            if text.len() > 1 << 16 {
                writer.write_all(&text).context("cannot write candles")?;
                text.clear();
            }
        }
        writer.write_all(&text).context("cannot write candles")
    }
}

//! What was read, taken and refused, as a table for people.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
};

use engine::{
    fold::Outcome,
    market::{Timestamp, Trade},
};

/// Counts of a replay.
#[derive(Debug, Default)]
pub struct Tally {
    /// Lines read.
    pub lines: u64,
    /// Trades in candles.
    pub applied: u64,
    /// Trades that were there before.
    pub duplicates: u64,
    /// Trades after the late window.
    pub late: u64,
    /// Trades from before a subscription: they anchor the id chain and open no candle.
    pub anchors: u64,
    /// Frames and lines that say nothing of trades.
    pub other: u64,
    /// Candles written.
    pub candles: u64,
    /// What else should be known.
    pub notes: Vec<String>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    files: Vec<String>,
    refused: BTreeMap<&'static str, Refused>,
}

#[derive(Debug)]
struct Refused {
    count: u64,
    file: usize,
    line: u64,
}

impl Tally {
    /// Starts a file.
    pub fn file(&mut self, path: &Path) {
        self.files.push(path.display().to_string());
    }

    /// Counts a trade.
    pub fn outcome(&mut self, trade: &Trade, outcome: Outcome) {
        match outcome {
            Outcome::Applied => self.applied += 1,
            Outcome::Duplicate => self.duplicates += 1,
            Outcome::Late => self.late += 1,
            Outcome::Anchor => self.anchors += 1,
        }
        self.saw(trade);
    }

    /// Takes note of a trade's time.
    pub fn saw(&mut self, trade: &Trade) {
        self.first = Some(self.first.map_or(trade.ts_event, |first| first.min(trade.ts_event)));
        self.last = Some(self.last.map_or(trade.ts_event, |last| last.max(trade.ts_event)));
    }

    /// Counts a row, frame or trade that was not taken; the first line of each reason is the example.
    pub fn refuse(&mut self, reason: &'static str, line: u64) {
        let file = self.files.len().saturating_sub(1);
        self.refused.entry(reason).or_insert(Refused { count: 0, file, line }).count += 1;
    }

    /// How many were refused, by reason.
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        self.refused.iter().map(|(reason, refused)| (*reason, refused.count)).collect()
    }

    /// Writes the table.
    ///
    /// # Errors
    /// If `to` takes no more.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut row = |name: &str, count: u64, note: &str| writeln!(to, "{name:<24}{count:>12}  {note}");
        row("lines read", self.lines, &self.files.join(", "))?;
        let span = match (self.first, self.last) {
            (Some(first), Some(last)) => format!("from {} to {} ms", first.millis(), last.millis()),
            _ => String::new(),
        };
        row("trades in candles", self.applied, &span)?;
        row("duplicates", self.duplicates, "ids that were there before")?;
        row("late", self.late, "came after the late window; counted, not in candles")?;
        row("anchors", self.anchors, "from before a subscription; they open no candle")?;
        row("not about trades", self.other, "")?;
        for (reason, refused) in &self.refused {
            let file = self.files.get(refused.file).map_or("", String::as_str);
            row(&format!("refused: {reason}"), refused.count, &format!("first in {file}, line {}", refused.line))?;
        }
        row("candles written", self.candles, "")?;
        for note in &self.notes {
            writeln!(to, "note: {note}")?;
        }
        Ok(())
    }
}

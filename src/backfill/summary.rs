//! What a backfill did, as a table for people.

use std::{
    error::Error,
    io::{self, Write},
};

use engine::interval::Interval;

use super::mend::Mended;

/// One series.
#[derive(Debug)]
pub struct Line {
    /// Of what.
    pub source: String,
    /// How long its candles are.
    pub interval: Interval,
    /// What came of it.
    pub mended: Mended,
    /// How many candles are still missing.
    pub left: u64,
}

/// All series.
#[derive(Debug, Default)]
pub struct Summary {
    /// One for each series.
    pub lines: Vec<Line>,
}

impl Summary {
    /// Whether every venue answered and nothing that it gave was refused. What a venue does not have may be missing.
    pub fn is_whole(&self) -> bool {
        self.lines.iter().all(|line| line.mended.error.is_none() && line.mended.refused.is_empty())
    }

    /// Writes the table.
    ///
    /// # Errors
    /// If `to` takes no more.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let heads = ["wanted", "written", "refused", "too old", "missing"];
        write!(to, "{:<32}{:<5}", "source", "")?;
        heads.iter().try_for_each(|head| write!(to, "{head:>12}"))?;
        writeln!(to)?;
        for Line { source, interval, mended, left } in &self.lines {
            let refused: u64 = mended.refused.values().map(|(count, _)| count).sum();
            write!(to, "{source:<32}{:<5}", interval.name())?;
            let counts = [mended.wanted, mended.written, refused, mended.out_of_reach, *left];
            counts.iter().try_for_each(|count| write!(to, "{count:>12}"))?;
            writeln!(to)?;
        }
        for Line { source, interval, mended, .. } in &self.lines {
            let interval = interval.name();
            for (reason, (count, first)) in &mended.refused {
                writeln!(to, "refused: {source} {interval}: {reason}: {count}, first at {} ms", first.millis())?;
            }
            if let Some(error) = &mended.error {
                write!(to, "failed: {source} {interval}: {error}")?;
                let mut cause = error.source();
                while let Some(error) = cause {
                    write!(to, ": {error}")?;
                    cause = error.source();
                }
                writeln!(to)?;
            }
        }
        Ok(())
    }
}

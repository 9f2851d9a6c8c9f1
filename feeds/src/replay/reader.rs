//! Frames through a venue's parser, with a table of what they held.

use std::{collections::BTreeMap, fmt, sync::Arc};

use engine::market::{Directory, Timestamp, Trade, Venue};

use super::RawFrame;
use crate::{
    metrics::reason_name,
    venue::{Event, Names, Parser},
};

/// How many different errors are told apart.
const ERRORS_MAX: usize = 32;

/// What the frames held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames read.
    pub frames: u64,
    /// Trades in them.
    pub trades: u64,
    /// Proofs of a newest trade.
    pub proofs: u64,
    /// Frames and events that say nothing of trades.
    pub ignored: u64,
    /// Refused trades by reason and field.
    pub refused: BTreeMap<(&'static str, &'static str), u64>,
    /// Frames that could not be read, by error.
    pub errors: BTreeMap<String, u64>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, trades, proofs, ignored, .. } = self;
        writeln!(f, "{frames:>10} frames\n{trades:>10} trades\n{proofs:>10} proofs\n{ignored:>10} ignored")?;
        for ((reason, field), count) in &self.refused {
            writeln!(f, "{count:>10} refused: {reason} ({field})")?;
        }
        for (error, count) in &self.errors {
            writeln!(f, "{count:>10} errors: {error}")?;
        }
        Ok(())
    }
}

/// Reads the frames of one recorded connection.
#[derive(Debug)]
pub struct Reader {
    parser: Parser,
    events: Vec<Event>,
    tally: Tally,
}

impl Reader {
    /// For a recording of `venue`; only instruments of `directory` are known.
    pub fn new(venue: Venue, directory: &Directory) -> Self {
        let names = Arc::new(Names::new(directory, venue));
        Self { parser: Parser::new(venue, names, false), events: Vec::new(), tally: Tally::default() }
    }

    /// What a frame holds, good until the next one.
    pub fn on_frame(&mut self, frame: &RawFrame) -> &[Event] {
        self.events.clear();
        self.tally.frames += 1;
        if let Err(error) = self.parser.on_frame(frame.text.as_bytes(), frame.ts_recv, &mut self.events) {
            let mut name = error.to_string();
            if !self.tally.errors.contains_key(&name) && self.tally.errors.len() >= ERRORS_MAX {
                name = "others".to_owned();
            }
            *self.tally.errors.entry(name).or_default() += 1;
        }
        for event in &self.events {
            match event {
                Event::Trade(_) => self.tally.trades += 1,
                Event::Proof { .. } => self.tally.proofs += 1,
                Event::Refused { reason, field } => {
                    *self.tally.refused.entry((reason_name(*reason), field)).or_default() += 1;
                }
                _ => self.tally.ignored += 1,
            }
        }
        &self.events
    }

    /// The trades of a frame; a recording without times of receipt gets the venue's own.
    pub fn trades_of(&mut self, frame: &RawFrame) -> impl Iterator<Item = Trade> {
        self.on_frame(frame).iter().filter_map(|event| match event {
            Event::Trade(trade) if trade.ts_recv == Timestamp(0) => Some(Trade { ts_recv: trade.ts_event, ..*trade }),
            Event::Trade(trade) => Some(*trade),
            _ => None,
        })
    }

    /// The table so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }
}

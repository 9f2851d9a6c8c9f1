//! Recorded raw frames through the venue's own parser.
//!
//! A line is `<nanoseconds> <json>`, or of a capture: `URL <-> seconds` (a connection opens), `URL <- seconds: <json>`
//! (sent by the client), `seconds: <json>` (received), or JSON alone. The lines with `#` that `serve --record` adds have the
//! form of the second and third, so that a recording is read here as frames only; `feeds::record` says what they mean, and
//! `recording` reads them.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, bail};
use engine::{
    market::{Directory, Symbol, Timestamp, Venue},
    number::{Scale, parse_decimal},
};
use feeds::venue::{Event, Names, Parser};

use super::{
    TradeSink,
    input::{Input, Line},
    tally::Tally,
};

/// A recording with more instruments is refused.
const SYMBOLS_MAX: usize = 10_000;

/// What a line of a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded<'a> {
    /// A frame and when it was received; zero if the recording does not tell.
    Frame(Timestamp, &'a [u8]),
    /// A connection was opened.
    Opened,
    /// Sent by the client, or blank.
    Other,
    /// None of the known forms.
    Malformed,
}

/// Reads one line of a recording.
pub fn recorded(line: &[u8]) -> Recorded<'_> {
    match line.trim_ascii() {
        [] => Recorded::Other,
        frame @ [b'{' | b'[', ..] => Recorded::Frame(Timestamp(0), frame),
        stamped @ [b'0'..=b'9', ..] => stamp(stamped),
        sent => {
            let mut words = sent.split(|&byte| byte == b' ').skip(1);
            match words.next() {
                Some(b"<->") => Recorded::Opened,
                Some(b"<-") => Recorded::Other,
                _ => Recorded::Malformed,
            }
        }
    }
}

fn stamp(line: &[u8]) -> Recorded<'_> {
    let Some(at) = line.iter().position(|&byte| byte == b' ') else { return Recorded::Malformed };
    let (time, frame) = (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default());
    let ts = match time.strip_suffix(b":") {
        // Seconds of a float: digits behind the nanosecond are its noise.
        Some(seconds) => {
            let whole = seconds.iter().position(|&byte| byte == b'.').map_or(seconds.len(), |point| point + 10);
            let text = seconds.get(..whole).unwrap_or(seconds);
            Scale::new(9).and_then(|scale| parse_decimal(text, scale).ok())
        }
        None => std::str::from_utf8(time).ok().and_then(|text| text.parse().ok()),
    };
    ts.map_or(Recorded::Malformed, |ts| Recorded::Frame(Timestamp(ts), frame))
}

/// Reads the frames of one venue.
pub struct FrameReader {
    venue: Venue,
    names: Arc<Names>,
    parser: Parser,
    directory: Arc<Directory>,
    labels: Vec<(Symbol, String)>,
    events: Vec<Event>,
}

impl FrameReader {
    /// Looks through all files for the instruments that trade in them.
    ///
    /// # Errors
    /// If a file cannot be read, or none of them has a trade message of the venue.
    pub fn discover(venue: Venue, files: &[PathBuf]) -> anyhow::Result<Self> {
        let aliases = crate::config::default_symbols();
        let mut directory = Directory::new();
        let mut labels = Vec::new();
        for path in files {
            let unreadable = || format!("cannot read {}", path.display());
            let mut input = Input::open(path).with_context(unreadable)?;
            while let Some((_, line)) = input.next_line().with_context(unreadable)? {
                let Line::Text(line) = line else { continue };
                for name in names_in(venue, line) {
                    if directory.find(venue, name).is_some() {
                        continue;
                    }
                    let known = aliases.iter().find(|known| known.venue == venue && known.name == name);
                    let alias = known.map(|known| known.alias.as_str());
                    let Ok(symbol) = directory.register(alias, feeds::symbols::instrument(venue, name)) else {
                        continue;
                    };
                    let label = alias.map_or_else(|| format!("{venue}:{name}"), str::to_owned);
                    labels.push((symbol, label));
                    if labels.len() > SYMBOLS_MAX {
                        bail!("{} has more than {SYMBOLS_MAX} instruments", path.display());
                    }
                }
            }
        }
        Ok(Self::new(venue, directory, labels))
    }

    /// A reader of the instruments in `directory`, which go by these names.
    pub fn new(venue: Venue, directory: Directory, labels: Vec<(Symbol, String)>) -> Self {
        let names = Arc::new(Names::new(&directory, venue));
        let parser = Parser::new(venue, Arc::clone(&names), false);
        Self { venue, names, parser, directory: Arc::new(directory), labels, events: Vec::new() }
    }

    /// The instruments, with the names that they go by: the default alias, or the source.
    pub fn directory(&self) -> (&Arc<Directory>, &[(Symbol, String)]) {
        (&self.directory, &self.labels)
    }

    /// Starts a file, which is a connection of its own.
    pub fn begin_file(&mut self) {
        self.parser = Parser::new(self.venue, Arc::clone(&self.names), false);
    }

    /// Reads a line into `sink`, or counts why not.
    pub fn on_line(&mut self, line: &[u8], number: u64, sink: &mut dyn TradeSink, tally: &mut Tally) {
        let (ts, frame) = match recorded(line) {
            Recorded::Frame(ts, frame) => (ts, frame),
            Recorded::Opened => {
                self.begin_file();
                tally.other += 1;
                return;
            }
            Recorded::Other => {
                tally.other += 1;
                return;
            }
            Recorded::Malformed => return tally.refuse("malformed_line", number),
        };
        self.events.clear();
        if self.parser.on_frame(frame, ts, &mut self.events).is_err() {
            tally.refuse("malformed_frame", number);
        }
        let mut about_trades = false;
        for event in &self.events {
            match event {
                Event::Trade(trade) => sink.on_trade(trade, number, tally),
                Event::Refused { reason, .. } => tally.refuse(refusal_name(*reason), number),
                _ => continue,
            }
            about_trades = true;
        }
        if !about_trades {
            tally.other += 1;
        }
    }
}

const fn refusal_name(reason: engine::market::Refusal) -> &'static str {
    use engine::market::Refusal;
    match reason {
        Refusal::Malformed => "malformed",
        Refusal::Negative => "negative",
        Refusal::Zero => "zero",
        Refusal::TooPrecise => "too_precise",
        Refusal::Absurd => "absurd",
        Refusal::UnknownSymbol => "unknown_symbol",
        Refusal::UnknownValue => "unknown_value",
    }
}

/// The names of instruments in a line that may hold trades: the values of the venue's field for them.
fn names_in(venue: Venue, line: &[u8]) -> impl Iterator<Item = &str> {
    let field = match venue {
        Venue::Binance | Venue::Bybit => "\"s\"",
        Venue::Coinbase => "\"product_id\"",
        Venue::Kraken => "\"symbol\"",
        Venue::Okx => "\"instId\"",
        Venue::Hyperliquid | Venue::File | Venue::Sim => "\"coin\"",
    };
    let text = std::str::from_utf8(line).unwrap_or_default();
    let text = if text.contains("rade") || text.contains("match") { text } else { "" };
    text.split(field).skip(1).filter_map(|rest| {
        let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
        rest.split_once('"').map(|(name, _)| name)
    })
}

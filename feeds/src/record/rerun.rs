//! Lines of a recording back into what the shards were given, in the order in which they were.

use std::{collections::HashMap, sync::Arc};

use engine::{
    market::{Directory, IdRule, Symbol, Timestamp, Venue},
    message::Input,
};

use super::line::Line;
use crate::venue::{Event, FeedError, Names, Parser, VenueFeed, feed};

/// More connections at once than any venue has.
const PARSERS_MAX: usize = 4096;

/// Reads the lines of one venue.
pub struct Rerun {
    venue: Venue,
    feed: &'static dyn VenueFeed,
    directory: Arc<Directory>,
    names: Arc<Names>,
    /// One a connection: some venues' first frames mean something else than those that follow.
    parsers: HashMap<u64, Parser>,
    connection: u64,
    run: Option<Timestamp>,
    newest: Timestamp,
    events: Vec<Event>,
}

impl Rerun {
    /// For the instruments in `directory`; `None` for a venue without a live feed.
    pub fn new(venue: Venue, directory: &Arc<Directory>) -> Option<Self> {
        Some(Self {
            venue,
            feed: feed(venue)?,
            directory: Arc::clone(directory),
            names: Arc::new(Names::new(directory, venue)),
            parsers: HashMap::new(),
            connection: 0,
            run: None,
            newest: Timestamp(i64::MIN),
            events: Vec::new(),
        })
    }

    /// Appends what followed from a line when it was recorded.
    ///
    /// # Errors
    /// [`FeedError`] if a frame or a page cannot be read, as it could not then; `out` may hold a part of it.
    pub fn on_line(&mut self, ts: Timestamp, line: &Line<'_>, out: &mut Vec<Input>) -> Result<(), FeedError> {
        match *line {
            Line::Frame(json) => self.on_frame(ts, json, out)?,
            Line::Head(head) => {
                let is_later_run = self.run.is_some_and(|run| run != head.run);
                self.run = Some(head.run);
                self.connection = 0;
                if is_later_run {
                    self.parsers.clear();
                    // What the program knew of before its start is what stands above.
                    let symbols = self.directory.symbols().map(|(symbol, _)| symbol).collect();
                    out.push(Input::FeedDown { symbols, since: self.newest });
                }
            }
            Line::From { connection } => self.connection = connection,
            Line::Closed { connection, .. } => _ = self.parsers.remove(&connection),
            Line::Down { since, names } => out.push(Input::FeedDown { symbols: self.symbols(names), since }),
            Line::Up { names } => out.push(Input::FeedUp { symbols: self.symbols(names) }),
            Line::Trades { name, first_id, last_id, page } => {
                let Some(known) = self.names.get(name.as_bytes()) else { return Ok(()) };
                let mut trades = self.feed.parse_trades(&mut page.to_vec(), name, known)?;
                if self.venue.id_rule() == IdRule::Contiguous {
                    trades.sort_by_key(|trade| trade.id);
                }
                trades.retain(|trade| first_id <= trade.id && trade.first_id <= last_id);
                out.extend(trades.into_iter().map(Input::Trade));
            }
            Line::Minutes { name, from, to, page } => {
                let Some(known) = self.names.get(name.as_bytes()) else { return Ok(()) };
                let symbol = known.symbol;
                let candles = self.feed.parse_candles(&mut page.to_vec(), known)?;
                let taken = candles.into_iter().flatten().filter(|candle| (from..to).contains(&candle.open_time));
                out.extend(taken.map(|minute| Input::Correction { symbol, minute }));
            }
            Line::Gone { name, first_id, last_id } => {
                let known = self.names.get(name.as_bytes());
                out.extend(known.map(|known| Input::GapLost { symbol: known.symbol, first_id, last_id }));
            }
            Line::Symbol { .. } | Line::Opened { .. } | Line::Time | Line::Lost { .. } | Line::End => {}
        }
        if !matches!(line, Line::Head(_) | Line::Symbol { .. }) {
            self.newest = self.newest.max(ts);
        }
        Ok(())
    }

    fn on_frame(&mut self, ts: Timestamp, json: &[u8], out: &mut Vec<Input>) -> Result<(), FeedError> {
        if self.parsers.len() >= PARSERS_MAX {
            self.parsers.clear();
        }
        let names = &self.names;
        let parser =
            self.parsers.entry(self.connection).or_insert_with(|| Parser::new(self.venue, Arc::clone(names), true));
        self.events.clear();
        let read = parser.on_frame(json, ts, &mut self.events);
        out.extend(self.events.drain(..).filter_map(|event| match event {
            Event::Trade(trade) => Some(Input::Trade(trade)),
            Event::Proof { symbol, last_id } => Some(Input::Proof { symbol, last_id }),
            _ => None,
        }));
        read
    }

    fn symbols(&self, names: &str) -> Box<[Symbol]> {
        names.split(' ').filter_map(|name| self.directory.find(self.venue, name)).collect()
    }
}

//! A shard owns some symbols: their rings, candles and channels. Inputs go in, a turn ends, deliveries come out.
//!
//! A turn drains the inputs, then encodes the *latest* state of each channel that changed and that somebody wants, once
//! per wire form, whatever the number of trades and subscribers. Nothing here waits, locks or reads a clock.

use std::sync::Arc;

use crate::{
    aggregator::Fold,
    book::{Book, RING_TRADES},
    candle::Candle,
    channel::{ChannelId, Kind},
    feed_gap::{Cause, FeedGap, GapState},
    frame::{Class, Form},
    market::{Directory, Symbol, Timestamp, Trade},
    message::{Answer, Input, Missing, Outputs, Read, Subscribe, Wanted, WorkerId},
    ring::RingReader,
    topic::{Content, Topic},
};

/// How long a channel without subscribers goes on numbering events, so that a dropped client can resume.
const LINGER: i64 = 60_000_000_000;
/// How often symbols without a trade are looked at as well, so that their candles close by the clock.
const SWEEP: i64 = 100_000_000;

/// Settings of a shard.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// How many workers there are to deliver to.
    pub workers: usize,
    /// The epoch of this start: never repeats on the same listener.
    pub epoch: u64,
    /// How long after its end a candle may still be corrected.
    pub late_window_ms: i64,
    /// How long after its end a candle closes at the latest.
    pub close_delay_ms: i64,
    /// Trades and states go out at whole multiples of this, instead of at the end of each turn: zero turns it off.
    /// Closed and corrected candles and gap notices never wait.
    pub emit_ms: i64,
    /// Whether closed and corrected candles are given out for keeping as well, in [`Outputs::closed`].
    pub keeps: bool,
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self { workers: 1, epoch: 1, late_window_ms: 300_000, close_delay_ms: 1000, emit_ms: 0, keeps: false }
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Trades taken in.
    pub trades: u64,
    /// Trades that were there before.
    pub duplicates: u64,
    /// Trades that came after the late window.
    pub late_dropped: u64,
    /// Holes found.
    pub gaps_open: u64,
    /// Holes filled.
    pub gaps_repaired: u64,
    /// Holes given up.
    pub gaps_lost: u64,
    /// Inputs for a symbol of another shard.
    pub unknown: u64,
    /// Frames encoded.
    pub frames: u64,
    /// Candles closed.
    pub candles_closed: u64,
    /// Corrections sent.
    pub revisions: u64,
}

/// The present of one symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SymbolStatus {
    /// Trades taken in.
    pub trades: u64,
    /// Venue time of the newest trade; zero before the first.
    pub last_event: i64,
    /// Time of its receipt.
    pub last_recv: i64,
    /// Holes found since the start.
    pub gaps: u64,
    /// Holes that are open now.
    pub gaps_open: u64,
}

enum Wish {
    Follow(Subscribe),
    Leave { worker: WorkerId, channel: ChannelId, form: Form },
}

/// See the module.
pub struct Shard {
    directory: Arc<Directory>,
    config: ShardConfig,
    /// By symbol number; `None` for symbols of other shards.
    books: Vec<Option<Book>>,
    /// By channel number; `None` where nobody listens.
    topics: Vec<Option<Topic>>,
    touched: Vec<Symbol>,
    /// Wishes of this turn, in order: a session may come and go within one.
    asked: Vec<Wish>,
    left: Vec<ChannelId>,
    missing: Vec<Missing>,
    epochs: u64,
    changes: Vec<Candle>,
    reads: Vec<Read>,
    stats: ShardStats,
    /// When all symbols were last looked at, in units of [`SWEEP`].
    sweep: i64,
    /// When states and trades were last published, in units of `emit_ms`.
    emitted: i64,
    /// Whether a ring is about to overwrite a trade that was not published yet.
    is_full: bool,
}

impl Shard {
    /// A shard of these symbols.
    pub fn new(directory: Arc<Directory>, symbols: impl Iterator<Item = Symbol>, config: ShardConfig) -> Self {
        let mut books: Vec<_> = (0..directory.len()).map(|_| None).collect();
        for symbol in symbols {
            if let (Some(instrument), Some(book)) = (directory.instrument(symbol), books.get_mut(symbol.0 as usize)) {
                *book = Some(Book::new(symbol, Arc::clone(instrument), config));
            }
        }
        let topics = (0..ChannelId::count(&directory)).map(|_| None).collect();
        Self {
            directory,
            config,
            books,
            topics,
            touched: Vec::new(),
            asked: Vec::new(),
            left: Vec::new(),
            missing: Vec::new(),
            epochs: 0,
            changes: Vec::new(),
            reads: Vec::new(),
            stats: ShardStats::default(),
            sweep: i64::MIN,
            emitted: i64::MIN,
            is_full: false,
        }
    }

    /// The ring of a symbol, for readers on other threads.
    pub fn reader(&self, symbol: Symbol) -> Option<RingReader> {
        self.books.get(symbol.0 as usize)?.as_ref().map(|book| book.reader.clone())
    }

    /// Counters since the start.
    pub const fn stats(&self) -> &ShardStats {
        &self.stats
    }

    /// The present of one symbol; all zero for one of another shard.
    pub fn symbol_status(&self, symbol: Symbol) -> SymbolStatus {
        let book = self.books.get(symbol.0 as usize).and_then(Option::as_ref);
        book.map(|book| SymbolStatus { gaps_open: book.gaps.len() as u64, ..book.status }).unwrap_or_default()
    }

    /// Whether the turn must end before the next input: a ring is full of trades that were not published yet.
    #[inline]
    pub const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Takes one input. What follows from it comes out at the end of the turn.
    #[inline]
    pub fn on_input(&mut self, input: Input) {
        match input {
            Input::Trade(trade) => self.on_trade(&trade),
            Input::Proof { symbol, last_id } => self.on_proof(symbol, last_id),
            Input::FeedDown { symbols, since } => self.on_feed(&symbols, Some(since)),
            Input::FeedUp { symbols } => self.on_feed(&symbols, None),
            Input::GapLost { symbol, first_id, last_id } => self.on_gap_lost(symbol, first_id, last_id),
            Input::Correction { symbol, minute } => {
                let Some(book) = self.books.get_mut(symbol.0 as usize).and_then(Option::as_mut) else { return };
                if book.aggregator.on_correction(&minute, &book.continuity) == Fold::Late {
                    self.stats.late_dropped += 1;
                }
                touch(book, &mut self.touched);
            }
            Input::Seed(seed) => {
                let Some(book) = self.books.get_mut(seed.symbol.0 as usize).and_then(Option::as_mut) else { return };
                book.seed(&seed, &mut self.stats, &mut self.missing);
            }
            Input::Read(read) => self.reads.push(read),
            Input::Subscribe(wish) => self.asked.push(Wish::Follow(wish)),
            Input::Unsubscribe { worker, channel, form } => self.asked.push(Wish::Leave { worker, channel, form }),
        }
    }

    #[inline]
    fn on_trade(&mut self, trade: &Trade) {
        let Some(book) = self.books.get_mut(trade.symbol.0 as usize).and_then(Option::as_mut) else {
            self.stats.unknown += 1;
            return;
        };
        self.is_full |= book.on_trade(trade, &mut self.stats, &mut self.missing);
        touch(book, &mut self.touched);
    }

    fn on_proof(&mut self, symbol: Symbol, last_id: u64) {
        let Some(book) = self.books.get_mut(symbol.0 as usize).and_then(Option::as_mut) else { return };
        let Some((first_id, last_id)) = book.continuity.expect(last_id) else {
            if book.awaits_trade && book.continuity.is_begun() {
                book.on_nothing_missed();
                touch(book, &mut self.touched);
            }
            return;
        };
        if book.gaps.iter().any(|gap| gap.covers(first_id)) {
            return;
        }
        let from = Timestamp(book.status.last_event);
        book.open_gap(Missing { symbol, first_id, last_id, from, to: from }, &mut self.stats, &mut self.missing);
        touch(book, &mut self.touched);
    }

    fn on_feed(&mut self, symbols: &[Symbol], down: Option<Timestamp>) {
        for symbol in symbols {
            let Some(book) = self.books.get_mut(symbol.0 as usize).and_then(Option::as_mut) else { continue };
            match down {
                Some(since) if book.gaps.iter().all(|gap| gap.cause != Cause::FeedDisconnect) => {
                    book.gaps.push(FeedGap::cut(since));
                    book.status.gaps += 1;
                    self.stats.gaps_open += 1;
                }
                Some(_) => {}
                None => book.on_feed_up(),
            }
            book.awaits_trade &= down.is_none();
            book.doubt();
            touch(book, &mut self.touched);
        }
    }

    fn on_gap_lost(&mut self, symbol: Symbol, first_id: u64, last_id: u64) {
        let Some(book) = self.books.get_mut(symbol.0 as usize).and_then(Option::as_mut) else { return };
        for gap in &mut book.gaps {
            // What came at the last moment may have filled it.
            gap.check(&book.continuity);
            gap.give_up(first_id, last_id);
        }
        touch(book, &mut self.touched);
    }

    /// Ends the turn at `now` and appends what it gives to `out`.
    pub fn end_turn(&mut self, now: Timestamp, out: &mut Outputs) {
        out.workers.resize_with(self.config.workers, Vec::new);
        out.missing.append(&mut self.missing);
        let sweep = now.0.div_euclid(SWEEP);
        let all = sweep != self.sweep;
        self.sweep = sweep;
        let emits = self.emits(now);
        let mut touched = std::mem::take(&mut self.touched);
        if all {
            for index in 0..self.books.len() {
                self.turn(index, now, emits, out);
            }
        } else {
            for symbol in &touched {
                self.turn(symbol.0 as usize, now, emits, out);
            }
        }
        let asked = std::mem::take(&mut self.asked);
        for wish in &asked {
            match wish {
                Wish::Follow(wish) => self.answer(wish, now, out),
                Wish::Leave { worker, channel, form } => self.leave(*worker, *channel, *form),
            }
        }
        self.asked = asked;
        self.asked.clear();
        self.read(now, out);
        touched.retain(|symbol| self.waits(*symbol));
        self.touched = touched;
        self.is_full = false;
        self.expire(now, all);
    }

    /// Whether a symbol has changes that were not published yet.
    fn waits(&self, symbol: Symbol) -> bool {
        self.books.get(symbol.0 as usize).and_then(Option::as_ref).is_some_and(|book| book.touched)
    }

    /// Whether trades and states go out now.
    fn emits(&mut self, now: Timestamp) -> bool {
        if self.config.emit_ms <= 0 {
            return true;
        }
        let due = now.millis().div_euclid(self.config.emit_ms);
        std::mem::replace(&mut self.emitted, due) != due
    }

    /// Closes, corrects and, if it `emits` or its ring is full, publishes trades and states of one symbol.
    fn turn(&mut self, index: usize, now: Timestamp, emits: bool, out: &mut Outputs) {
        let Some(book) = self.books.get_mut(index).and_then(Option::as_mut) else { return };
        // First the holes: a candle that lies in one proves nothing.
        let mut notices = Vec::new();
        if book.touched {
            book.settle_gaps(&mut notices, &mut self.stats);
            let lost = notices.iter().filter(|gap| gap.state == GapState::Lost);
            out.lost.extend(lost.map(|gap| (book.symbol, gap.time())));
        }
        self.changes.clear();
        book.aggregator.end_turn(now, &book.continuity, &mut self.changes);
        for candle in &self.changes {
            let counter = if candle.revision == 0 { &mut self.stats.candles_closed } else { &mut self.stats.revisions };
            *counter += 1;
        }
        if self.config.keeps {
            out.closed.extend(self.changes.iter().map(|candle| (book.symbol, *candle)));
        }
        out.lost.extend(book.late.take().map(|time| (book.symbol, time)));
        let head = book.reader.head();
        let emits = emits || head - book.published >= RING_TRADES as u64;
        let changed = emits && std::mem::take(&mut book.touched);
        for channel in &book.channels {
            let Some(topic) = self.topics.get_mut(channel.0 as usize).and_then(Option::as_mut) else { continue };
            let mut publish = |class, content: &Content<'_>| {
                self.stats.frames += topic.publish(class, content, &book.instrument, now, out);
            };
            for notice in &notices {
                publish(Class::Event, &Content::Gap(notice));
            }
            match channel.kind() {
                Kind::Market(interval) => {
                    for candle in self.changes.iter().filter(|candle| candle.interval == interval) {
                        publish(Class::Event, &Content::Candle(candle));
                    }
                    if let Some(open) = changed.then(|| book.aggregator.open(interval)).flatten()
                        && !open.is_flat()
                    {
                        publish(Class::State, &Content::Candle(&open));
                    }
                }
                Kind::Trades if changed => {
                    let start = book.published.max(head.saturating_sub(RING_TRADES as u64));
                    let trades: Vec<_> = (start..head).filter_map(|seq| book.reader.read(seq).ok()).collect();
                    if !trades.is_empty() {
                        publish(Class::Event, &Content::Trades(&trades));
                    }
                }
                Kind::Ticker if changed => {
                    if let Some(ticker) = book.day.ticker(now) {
                        publish(Class::State, &Content::Ticker(&ticker));
                    }
                }
                Kind::Trades | Kind::Ticker => {}
            }
        }
        if emits {
            book.published = head;
        }
    }

    fn leave(&mut self, worker: WorkerId, channel: ChannelId, form: Form) {
        if let Some(topic) = self.topics.get_mut(channel.0 as usize).and_then(Option::as_mut) {
            topic.leave(worker, form);
            self.left.push(channel);
        }
    }

    /// Answers a subscription: with what was missed, or with a snapshot.
    fn answer(&mut self, wish: &Subscribe, now: Timestamp, out: &mut Outputs) {
        let Some(symbol) = wish.channel.symbol(&self.directory) else { return };
        // A snapshot shows all that there is, so what waits to be published goes before it.
        if self.waits(symbol) {
            self.turn(symbol.0 as usize, now, true, out);
        }
        let Some(book) = self.books.get_mut(symbol.0 as usize).and_then(Option::as_mut) else { return };
        let Some(slot) = self.topics.get_mut(wish.channel.0 as usize) else { return };
        let topic = slot.get_or_insert_with(|| {
            self.epochs += 1;
            book.channels.push(wish.channel);
            let epoch = self.config.epoch.wrapping_mul(1 << 20).wrapping_add(self.epochs);
            Topic::new(wish.channel, &self.directory, epoch)
        });
        if wish.join {
            topic.join(wish.worker, wish.form);
        }
        let count = usize::from(wish.snapshot);
        let delivery = topic.recover(wish).unwrap_or_else(|| match wish.channel.kind() {
            Kind::Market(interval) => {
                let candles = book.aggregator.latest(interval, count);
                topic.snapshot(wish, &book.instrument, candles.iter().map(Content::Candle))
            }
            Kind::Trades => {
                let trades = book.reader.latest(count);
                topic.snapshot(wish, &book.instrument, trades.iter().map(Content::Trade))
            }
            Kind::Ticker => {
                let ticker = book.day.ticker(now);
                topic.snapshot(wish, &book.instrument, ticker.iter().map(Content::Ticker))
            }
        });
        if let Some(worker) = out.workers.get_mut(usize::from(wish.worker)) {
            worker.push(delivery);
        }
    }

    /// Answers what was asked about the present, with all that this turn took in.
    fn read(&mut self, now: Timestamp, out: &mut Outputs) {
        for read in self.reads.drain(..) {
            let Some(book) = self.books.get_mut(read.symbol.0 as usize).and_then(Option::as_mut) else { continue };
            let answer = match read.wanted {
                Wanted::Candles { interval, count } => {
                    Answer::Candles(book.aggregator.latest(interval, usize::from(count)))
                }
                Wanted::Ticker => Answer::Ticker(book.day.ticker(now)),
            };
            out.answers.push((read.ticket, answer));
        }
    }

    /// Stops numbering channels that nobody has listened to for a while.
    fn expire(&mut self, now: Timestamp, all: bool) {
        for channel in self.left.drain(..) {
            if let Some(topic) = self.topics.get_mut(channel.0 as usize).and_then(Option::as_mut) {
                topic.idle_since(now);
            }
        }
        if !all {
            return;
        }
        for book in self.books.iter_mut().flatten() {
            book.channels.retain(|channel| {
                let Some(slot) = self.topics.get_mut(channel.0 as usize) else { return false };
                let over = slot.as_ref().is_none_or(|topic| topic.is_over(now, LINGER));
                if over {
                    *slot = None;
                }
                !over
            });
        }
    }
}

#[inline]
fn touch(book: &mut Book, touched: &mut Vec<Symbol>) {
    if !book.touched {
        book.touched = true;
        touched.push(book.symbol);
    }
}

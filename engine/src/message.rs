//! What goes into a shard and what comes out of it.

use std::ops::Range;

use bytes::Bytes;

use crate::{
    candle::Candle,
    channel::ChannelId,
    frame::{Form, Frame},
    interval::Interval,
    market::{Price, Symbol, Timestamp, Trade},
    seed::Seed,
    ticker::Ticker,
};

/// A worker's number, from 0.
pub type WorkerId = u16;

/// A worker's own number for one of its sessions; a shard only echoes it.
pub type SessionId = u64;

/// A position in a channel: events are numbered within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Changes whenever the numbering starts anew.
    pub epoch: u64,
    /// The last event that was seen.
    pub seq: u64,
}

/// One input of a shard. Time comes as an argument of the turn.
#[derive(Clone, Debug)]
pub enum Input {
    /// A trade of the venue.
    Trade(Trade),
    /// The venue says that its newest trade has this id: proves the tail without a trade.
    Proof {
        /// Which instrument.
        symbol: Symbol,
        /// The id of its newest trade.
        last_id: u64,
    },
    /// The feed of these symbols was cut, without a replacement connection.
    FeedDown {
        /// Which instruments.
        symbols: Box<[Symbol]>,
        /// Since when.
        since: Timestamp,
    },
    /// The feed of these symbols flows again.
    FeedUp {
        /// Which instruments.
        symbols: Box<[Symbol]>,
    },
    /// A hole cannot be filled: its range of ids is given up. For a venue without id proof, `first_id` is 0.
    GapLost {
        /// Which instrument.
        symbol: Symbol,
        /// First missing id.
        first_id: u64,
        /// Last missing id.
        last_id: u64,
    },
    /// The venue's own one-minute candle, to mend a minute whose trades cannot be had.
    Correction {
        /// Which instrument.
        symbol: Symbol,
        /// Its minute.
        minute: VenueCandle,
    },
    /// A session wants a channel.
    Subscribe(Subscribe),
    /// A session leaves a channel.
    Unsubscribe {
        /// From which worker.
        worker: WorkerId,
        /// Which channel.
        channel: ChannelId,
        /// In which form it was subscribed.
        form: Form,
    },
    /// What is known from before the start; it goes before the first trade of its symbol.
    Seed(Box<Seed>),
    /// Somebody wants to know the present.
    Read(Read),
}

/// A question about the present of a symbol.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// The asker's own number, echoed with the answer.
    pub ticket: u64,
    /// Which instrument.
    pub symbol: Symbol,
    /// What of it.
    pub wanted: Wanted,
}

/// What a [`Read`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest candles.
    Candles {
        /// Of which interval.
        interval: Interval,
        /// How many at the most, the open one among them.
        count: u16,
    },
    /// The ticker.
    Ticker,
}

/// The answer to a [`Read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Candles, oldest first, the open one last; none before the first trade.
    Candles(Vec<Candle>),
    /// The ticker, once there was a trade.
    Ticker(Option<Ticker>),
}

/// A session's wish for a channel.
#[derive(Clone, Copy, Debug)]
pub struct Subscribe {
    /// Its worker.
    pub worker: WorkerId,
    /// Its number at the worker, echoed in the answer.
    pub session: SessionId,
    /// Which channel.
    pub channel: ChannelId,
    /// In which form.
    pub form: Form,
    /// Where it left off, if it resumes.
    pub since: Option<Position>,
    /// How many candles or trades its snapshot holds at the most.
    pub snapshot: u16,
    /// Whether this counts as a new subscriber; false when a worker re-reads a channel that it already follows.
    pub join: bool,
}

/// A venue's own candle. Prices and volumes are in the instrument's scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VenueCandle {
    /// Its first moment.
    pub open_time: Timestamp,
    /// First price.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Last price.
    pub close: Price,
    /// Base volume.
    pub volume: u128,
    /// Quote volume in units of both scales, where the venue gives it.
    pub quote_volume: Option<u128>,
    /// Taker buy volume, where the venue gives it.
    pub buy_volume: Option<u128>,
    /// How many trades, where the venue gives it.
    pub trades: Option<u64>,
}

/// One message from a shard to a worker. They arrive in order: a snapshot stands before the events that follow it.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// An event for every local subscriber of its channel and form.
    Frame(Frame),
    /// The answer to a [`Subscribe`]: for that session alone, which follows the channel from here on.
    Snapshot {
        /// Whose.
        session: SessionId,
        /// Of which channel.
        channel: ChannelId,
        /// In which form.
        form: Form,
        /// The number of the last event that the answer covers: the next one is `seq + 1`.
        seq: u64,
        /// The channel's epoch.
        epoch: u64,
        /// The `snapshot` op, then, if recovered, the missed events in order: whole WebSocket frames.
        frames: Vec<Bytes>,
    },
}

/// A hole in a symbol's id chain that somebody should fill from the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which instrument.
    pub symbol: Symbol,
    /// First missing id.
    pub first_id: u64,
    /// Last missing id.
    pub last_id: u64,
    /// Time of the last trade before the hole.
    pub from: Timestamp,
    /// Time of the first trade behind it.
    pub to: Timestamp,
}

/// What one turn of a shard gives out. The caller empties it and hands it back, so that its memory is used again.
#[derive(Debug, Default)]
pub struct Outputs {
    /// For each worker, by its number.
    pub workers: Vec<Vec<Delivery>>,
    /// Holes to repair.
    pub missing: Vec<Missing>,
    /// Closed and corrected candles in the order in which they were published, if the shard keeps them.
    pub closed: Vec<(Symbol, Candle)>,
    /// Stretches of time whose trades were given up, or came too late for a candle.
    pub lost: Vec<(Symbol, Range<Timestamp>)>,
    /// Answers to [`Read`]s under their tickets.
    pub answers: Vec<(u64, Answer)>,
}

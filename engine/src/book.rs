//! What a shard keeps of one symbol: its ring, candles, chain of ids, holes and channels.

use std::{ops::Range, sync::Arc};

use crate::{
    aggregator::{Aggregator, Fold, HISTORY, Rules},
    channel::ChannelId,
    continuity::{Continuity, Seen},
    feed_gap::{Cause, FeedGap, GapState},
    interval::Interval,
    market::{IdRule, Instrument, Origin, Symbol, Timestamp, Trade},
    message::Missing,
    ring::{RingReader, RingWriter, ring},
    seed::{Seed, has_hole},
    shard::{ShardConfig, ShardStats, SymbolStatus},
    ticker::Day,
};

/// How many trades the ring of a symbol holds.
pub(crate) const RING_TRADES: usize = 4096;
/// A hole of more ids than this is not repaired trade by trade.
const HOLE_MAX: u64 = 100_000;
/// How many stretches of time whose trades are lost for good are kept in mind.
const LOST_MAX: usize = 64;

/// See the module.
pub(crate) struct Book {
    pub(crate) symbol: Symbol,
    pub(crate) instrument: Arc<Instrument>,
    pub(crate) writer: RingWriter,
    pub(crate) reader: RingReader,
    pub(crate) continuity: Continuity,
    pub(crate) aggregator: Aggregator,
    pub(crate) day: Day,
    pub(crate) gaps: Vec<FeedGap>,
    /// Stretches of time whose trades cannot be had.
    lost: Vec<Range<Timestamp>>,
    /// Trades of this stretch of time came after the late window of at least one candle, which is without them.
    pub(crate) late: Option<Range<Timestamp>>,
    /// The feed flows again, and the next id will tell what the cut has cost.
    pub(crate) awaits_trade: bool,
    pub(crate) status: SymbolStatus,
    pub(crate) started: bool,
    /// Whether it is in its shard's list `touched`: something changed that was not published yet.
    pub(crate) touched: bool,
    /// Sequence in the ring of the first trade that was not published yet.
    pub(crate) published: u64,
    /// Channels of this symbol that are numbered now.
    pub(crate) channels: Vec<ChannelId>,
}

impl Book {
    pub(crate) fn new(symbol: Symbol, instrument: Arc<Instrument>, config: ShardConfig) -> Self {
        let rules = Rules {
            late_window: config.late_window_ms.saturating_mul(1_000_000),
            close_delay: config.close_delay_ms.saturating_mul(1_000_000),
            ids: instrument.ids,
            history: HISTORY,
        };
        let (writer, reader) = ring(symbol, RING_TRADES);
        Self {
            symbol,
            writer,
            reader,
            continuity: Continuity::new(instrument.ids),
            aggregator: Aggregator::new(rules, &Interval::ALL),
            day: Day::default(),
            gaps: Vec::new(),
            lost: Vec::new(),
            late: None,
            awaits_trade: false,
            status: SymbolStatus::default(),
            started: false,
            touched: false,
            published: 0,
            channels: Vec::new(),
            instrument,
        }
    }

    /// Takes a trade in. True once the ring is full of trades that were not published yet.
    #[inline]
    pub(crate) fn on_trade(&mut self, trade: &Trade, stats: &mut ShardStats, wanted: &mut Vec<Missing>) -> bool {
        if trade.origin == Origin::Repair && trade.first_id != trade.id {
            return self.on_joined(trade, stats, wanted);
        }
        self.on_whole(trade, stats, wanted)
    }

    #[inline]
    fn on_whole(&mut self, trade: &Trade, stats: &mut ShardStats, wanted: &mut Vec<Missing>) -> bool {
        let previous = Timestamp(self.status.last_event);
        match self.continuity.observe(trade) {
            Seen::Next if self.awaits_trade => self.on_nothing_missed(),
            Seen::Next => {}
            Seen::Duplicate => {
                stats.duplicates += 1;
                return false;
            }
            Seen::Fill => self.aggregator.on_proof(),
            Seen::Gap { first_id, last_id } => {
                let (symbol, to) = (trade.symbol, trade.ts_event);
                self.open_gap(Missing { symbol, first_id, last_id, from: previous, to }, stats, wanted);
            }
        }
        if trade.origin == Origin::Backlog && !self.started {
            return false; // It anchors the chain of ids and opens no candle.
        }
        self.started = true;
        if self.aggregator.on_trade(trade) == Fold::Late {
            stats.late_dropped += 1;
            self.on_late(trade.ts_event);
        }
        self.day.on_trade(trade);
        stats.trades += 1;
        self.keep(trade)
    }

    /// A venue's page may join fills of one order. Where some of them came one by one before, the rest is told apart by
    /// taking those away; where that cannot be done, the joined trade is refused and the hole stays.
    #[cold]
    fn on_joined(&mut self, joined: &Trade, stats: &mut ShardStats, wanted: &mut Vec<Missing>) -> bool {
        let unseen = self.continuity.unseen(joined.first_id, joined.id);
        match unseen.as_slice() {
            [(first_id, last_id)] if (*first_id, *last_id) != (joined.first_id, joined.id) => {
                match joined.without(self.reader.latest(RING_TRADES).iter(), *first_id, *last_id) {
                    Some(rest) => self.on_whole(&rest, stats, wanted),
                    None => {
                        stats.duplicates += 1;
                        false
                    }
                }
            }
            _ => self.on_whole(joined, stats, wanted),
        }
    }

    #[cold]
    fn on_late(&mut self, ts: Timestamp) {
        let known = self.late.get_or_insert(ts..ts.plus(1));
        *known = known.start.min(ts)..known.end.max(ts.plus(1));
    }

    /// Puts a trade into the ring.
    #[inline]
    fn keep(&mut self, trade: &Trade) -> bool {
        let pushed = self.writer.push(trade);
        self.status.trades += 1;
        self.status.last_event = self.status.last_event.max(trade.ts_event.0);
        self.status.last_recv = self.status.last_recv.max(trade.ts_recv.0);
        pushed + 1 - self.published >= RING_TRADES as u64
    }

    /// The feed flows again. Where ids prove something, the next one says whether the cut has cost any.
    pub(crate) fn on_feed_up(&mut self) {
        if self.continuity.is_begun() {
            self.awaits_trade = true;
        } else {
            self.gaps.iter_mut().for_each(FeedGap::reconnected);
        }
    }

    /// The ids go on without a hole: a cut has cost nothing.
    #[cold]
    pub(crate) fn on_nothing_missed(&mut self) {
        self.awaits_trade = false;
        self.gaps.iter_mut().for_each(FeedGap::reconnected);
    }

    pub(crate) fn open_gap(&mut self, missing: Missing, stats: &mut ShardStats, wanted: &mut Vec<Missing>) {
        let mut gap = FeedGap::ids(&missing);
        let cut = self.gaps.iter().position(|gap| gap.cause == Cause::FeedDisconnect && !gap.has_ids());
        if let Some(index) = cut {
            // The cut was told already; now it is known which trades it cost.
            let cut = self.gaps.swap_remove(index);
            self.awaits_trade = false;
            gap.cause = Cause::FeedDisconnect;
            gap.told = cut.told;
        } else {
            stats.gaps_open += 1;
            self.status.gaps += 1;
        }
        if missing.last_id - missing.first_id < HOLE_MAX {
            wanted.push(missing);
        } else {
            gap.give_up(missing.first_id, missing.last_id);
        }
        self.gaps.push(gap);
    }

    /// Tells new gaps, and those that were filled or given up, once each.
    pub(crate) fn settle_gaps(&mut self, notices: &mut Vec<FeedGap>, stats: &mut ShardStats) {
        for gap in &mut self.gaps {
            if !gap.told {
                gap.told = true;
                notices.push(*gap);
                self.aggregator.on_proof();
            }
            gap.check(&self.continuity);
            match gap.state {
                GapState::Open => continue,
                GapState::Repaired => stats.gaps_repaired += 1,
                GapState::Lost => {
                    stats.gaps_lost += 1;
                    self.lost.push(gap.time());
                }
            }
            self.aggregator.on_proof();
            notices.push(*gap);
        }
        self.gaps.retain(|gap| gap.state == GapState::Open);
        if !notices.is_empty() {
            let over = self.lost.len().saturating_sub(LOST_MAX);
            self.lost.drain(..over);
            self.doubt();
        }
    }

    /// While trades may be missing, a candle without trades proves nothing.
    pub(crate) fn doubt(&mut self) {
        self.continuity.set_doubts(self.gaps.iter().map(FeedGap::time).chain(self.lost.iter().cloned()));
    }

    /// Goes on where an earlier run ended. Its trades were published then.
    pub(crate) fn seed(&mut self, seed: &Seed, stats: &mut ShardStats, wanted: &mut Vec<Missing>) {
        if self.started {
            return;
        }
        let end = self.aggregator.seed(seed, &mut self.continuity);
        if self.instrument.ids == IdRule::Contiguous {
            for candle in seed.candles.iter().filter(|candle| has_hole(candle)) {
                self.on_late(candle.open_time);
                self.on_late(candle.close_time.plus(-1));
            }
        }
        for candle in seed.candles.iter().filter(|candle| candle.interval == Interval::M1) {
            self.day.on_minute(candle);
        }
        let minutes = seed.candles.iter().filter(|candle| candle.interval == Interval::M1);
        let minutes_end = minutes.map(|candle| candle.close_time).max();
        for trade in &seed.trades {
            if end.is_none_or(|end| trade.ts_event >= end) {
                self.on_whole(trade, stats, wanted);
                continue;
            }
            // It is in the candles.
            self.continuity.observe(trade);
            if minutes_end.is_none_or(|end| trade.ts_event >= end) {
                self.day.on_trade(trade);
            }
            self.keep(trade);
        }
        self.started |= end.is_some();
        self.published = self.reader.head();
    }
}

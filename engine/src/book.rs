//! What a shard keeps of one symbol: its ring, candles, chain of ids, holes and channels.

use std::sync::Arc;

use crate::{
    aggregator::{Aggregator, HISTORY, Rules},
    channel::ChannelId,
    continuity::Continuity,
    feed_gap::{Cause, FeedGap, GapState},
    interval::Interval,
    market::{Instrument, Symbol},
    message::Missing,
    ring::{RingReader, RingWriter, ring},
    shard::{ShardConfig, ShardStats, SymbolStatus},
    ticker::Day,
};

/// How many trades the ring of a symbol holds.
pub(crate) const RING_TRADES: usize = 4096;
/// A hole of more ids than this is not repaired trade by trade.
const HOLE_MAX: u64 = 100_000;

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
            status: SymbolStatus::default(),
            started: false,
            touched: false,
            published: 0,
            channels: Vec::new(),
            instrument,
        }
    }

    pub(crate) fn open_gap(&mut self, missing: Missing, stats: &mut ShardStats, wanted: &mut Vec<Missing>) {
        let mut gap = FeedGap::ids(&missing);
        let cut = self.gaps.iter().position(|gap| gap.cause == Cause::FeedDisconnect && !gap.has_ids());
        if let Some(index) = cut {
            // The cut was told already; now it is known which trades it cost.
            let cut = self.gaps.swap_remove(index);
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
            }
            gap.check(&self.continuity);
            match gap.state {
                GapState::Open => continue,
                GapState::Repaired => stats.gaps_repaired += 1,
                GapState::Lost => stats.gaps_lost += 1,
            }
            notices.push(*gap);
        }
        self.gaps.retain(|gap| gap.state == GapState::Open);
    }
}

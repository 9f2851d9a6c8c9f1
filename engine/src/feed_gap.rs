//! A hole in a feed, as clients are told of it.

use std::ops::Range;

use crate::{continuity::Continuity, market::Timestamp, message::Missing};

/// Why trades may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The connection to the venue was cut.
    FeedDisconnect,
    /// The venue's ids have a hole.
    MissingTrades,
}

impl Cause {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FeedDisconnect => "feed_disconnect",
            Self::MissingTrades => "missing_trades",
        }
    }
}

/// How a hole stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapState {
    /// Trades may be missing.
    Open,
    /// Nothing is missing any more.
    Repaired,
    /// What is missing cannot be had.
    Lost,
}

impl GapState {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Repaired => "repaired",
            Self::Lost => "lost",
        }
    }
}

/// A hole of one symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedGap {
    /// Time of the last trade before it.
    pub from: Timestamp,
    /// Time of the first trade behind it; unknown while the feed is down.
    pub to: Option<Timestamp>,
    /// The missing ids, where the venue's ids tell.
    pub ids: Option<(u64, u64)>,
    /// Why.
    pub cause: Cause,
    /// How it stands.
    pub state: GapState,
    /// Whether clients were told.
    pub(crate) told: bool,
}

impl FeedGap {
    /// A cut connection.
    pub(crate) const fn cut(since: Timestamp) -> Self {
        Self { from: since, to: None, ids: None, cause: Cause::FeedDisconnect, state: GapState::Open, told: false }
    }

    /// Missing ids.
    pub(crate) const fn ids(missing: &Missing) -> Self {
        Self {
            from: missing.from,
            to: Some(missing.to),
            ids: Some((missing.first_id, missing.last_id)),
            cause: Cause::MissingTrades,
            state: GapState::Open,
            told: false,
        }
    }

    pub(crate) const fn has_ids(&self) -> bool {
        self.ids.is_some()
    }

    /// In which stretch of time trades may be missing.
    pub(crate) fn time(&self) -> Range<Timestamp> {
        self.from..self.to.unwrap_or(Timestamp(i64::MAX))
    }

    pub(crate) fn covers(&self, id: u64) -> bool {
        self.ids.is_some_and(|(first, last)| (first..=last).contains(&id))
    }

    /// The feed flows again: a cut that cost no ids is over.
    pub(crate) fn reconnected(&mut self) {
        if self.ids.is_none() && self.state == GapState::Open {
            self.state = GapState::Repaired;
        }
    }

    /// The range, or, for a venue without ids, the cut, cannot be filled.
    pub(crate) fn give_up(&mut self, first_id: u64, last_id: u64) {
        let within = |(first, last): (u64, u64)| first_id <= first && last <= last_id;
        if self.state == GapState::Open && self.ids.map_or(first_id == 0, within) {
            self.state = GapState::Lost;
        }
    }

    /// Looks whether the ids are all there by now.
    pub(crate) fn check(&mut self, continuity: &Continuity) {
        if self.state == GapState::Open && self.ids.is_some_and(|(first, last)| continuity.covers(first, last)) {
            self.state = GapState::Repaired;
        }
    }
}

//! Which trade ids of a symbol were seen: finds duplicates and holes, and proves that a range has none. It also knows in
//! which stretches of time trades may be missing.

use std::{
    collections::{HashSet, VecDeque},
    ops::Range,
};

use crate::market::{IdRule, Timestamp, Trade};

/// How many separate runs of ids are kept; beyond it the oldest run is forgotten and its range cannot be proven.
const RUNS_MAX: usize = 128;
/// How many ids are remembered where ids are unique but not ordered.
const RECENT_MAX: usize = 4096;

/// What a trade's ids say about the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// New, and nothing is missing before it.
    Next,
    /// Seen before: drop it.
    Duplicate,
    /// New, and it closes part of a hole or stands before all that was seen.
    Fill,
    /// New, with a hole before it: these ids are missing.
    Gap {
        /// First missing id.
        first_id: u64,
        /// Last missing id.
        last_id: u64,
    },
}

/// The ids seen of one symbol.
#[derive(Clone, Debug)]
pub struct Continuity {
    rule: IdRule,
    /// Disjoint runs `(first, last)` in rising order, never adjacent.
    runs: VecDeque<(u64, u64)>,
    recent: HashSet<u64>,
    order: VecDeque<u64>,
    /// Stretches of time in which the feed was cut or trades are missing.
    doubts: Vec<Range<Timestamp>>,
}

impl Continuity {
    /// Nothing seen yet.
    pub fn new(rule: IdRule) -> Self {
        Self { rule, runs: VecDeque::new(), recent: HashSet::new(), order: VecDeque::new(), doubts: Vec::new() }
    }

    /// Takes note of a trade's ids.
    #[inline]
    pub fn observe(&mut self, trade: &Trade) -> Seen {
        match self.rule {
            IdRule::Contiguous => {
                if let Some(back) = self.runs.back_mut()
                    && trade.first_id == back.1.wrapping_add(1)
                {
                    back.1 = trade.id;
                    return Seen::Next;
                }
                self.insert(trade.first_id, trade.id)
            }
            IdRule::Unique => self.remember(trade.id),
            IdRule::Arrival => Seen::Next,
        }
    }

    /// The venue says that `last_id` is its newest trade: the range up to it is now known to be missing, if any.
    pub fn expect(&mut self, last_id: u64) -> Option<(u64, u64)> {
        let back = self.runs.back().copied()?;
        (self.rule == IdRule::Contiguous && last_id > back.1).then(|| (back.1 + 1, last_id))
    }

    /// Whether every id from `first_id` to `last_id` was seen.
    pub fn covers(&self, first_id: u64, last_id: u64) -> bool {
        self.runs.iter().rev().find(|run| run.0 <= first_id).is_some_and(|run| last_id <= run.1)
    }

    /// Takes over what an earlier run proved: every id from `first_id` to `last_id` was seen.
    pub(crate) fn cover(&mut self, first_id: u64, last_id: u64) {
        if self.rule != IdRule::Contiguous || first_id > last_id {
            return;
        }
        let touches = |run: &(u64, u64)| run.0 <= last_id.saturating_add(1) && first_id <= run.1.saturating_add(1);
        let joined = self.runs.iter().filter(|run| touches(run));
        let merged = joined.fold((first_id, last_id), |all, run| (all.0.min(run.0), all.1.max(run.1)));
        self.runs.retain(|run| !touches(run));
        let at = self.runs.partition_point(|run| run.1 < merged.0);
        self.runs.insert(at, merged);
        self.forget();
    }

    /// The parts of `first_id` to `last_id` that were not seen, in rising order.
    pub(crate) fn unseen(&self, first_id: u64, last_id: u64) -> Vec<(u64, u64)> {
        let (mut parts, mut next) = (Vec::new(), first_id);
        let overlaps = |run: &&(u64, u64)| run.0 <= last_id && first_id <= run.1;
        for run in self.runs.iter().filter(overlaps) {
            if next < run.0 {
                parts.push((next, run.0 - 1));
            }
            next = run.1.saturating_add(1);
        }
        if next <= last_id {
            parts.push((next, last_id));
        }
        parts
    }

    /// Whether the next id will tell if one is missing before it.
    pub(crate) fn is_begun(&self) -> bool {
        !self.runs.is_empty()
    }

    /// From now on trades may be missing in these stretches of time, and in no other.
    pub(crate) fn set_doubts(&mut self, doubts: impl Iterator<Item = Range<Timestamp>>) {
        self.doubts.clear();
        self.doubts.extend(doubts);
    }

    /// Whether trades may be missing between the two moments.
    pub(crate) fn doubts(&self, from: Timestamp, to: Timestamp) -> bool {
        self.doubts.iter().any(|doubt| doubt.start < to && from <= doubt.end)
    }

    /// The holes between the runs, oldest first.
    #[cfg(test)]
    fn holes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.runs.iter().zip(self.runs.iter().skip(1)).map(|(before, after)| (before.1 + 1, after.0 - 1))
    }

    fn insert(&mut self, first_id: u64, last_id: u64) -> Seen {
        // How many runs end before `first_id`; the run at this place is the only one that may hold or touch it.
        let at = self.runs.partition_point(|run| run.1 < first_id);
        // A joined trade that overlaps a run in part cannot be taken apart: taking it would count fills twice.
        if self.runs.get(at).is_some_and(|run| run.0 <= last_id) {
            return Seen::Duplicate;
        }
        let before = at.checked_sub(1).and_then(|index| self.runs.get(index)).copied();
        let seen = match before {
            _ if at < self.runs.len() => Seen::Fill,
            None => Seen::Next,
            Some(run) if run.1 + 1 == first_id => Seen::Next,
            Some(run) => Seen::Gap { first_id: run.1 + 1, last_id: first_id - 1 },
        };
        let mut merged = (first_id, last_id);
        let mut from = at;
        if before.is_some_and(|run| run.1 + 1 == first_id) {
            from -= 1;
        }
        while let Some(run) = self.runs.get(from).copied()
            && run.0 <= merged.1.saturating_add(1)
        {
            merged = (merged.0.min(run.0), merged.1.max(run.1));
            self.runs.remove(from);
        }
        self.runs.insert(from, merged);
        self.forget();
        seen
    }

    fn forget(&mut self) {
        if self.runs.len() > RUNS_MAX {
            self.runs.pop_front();
        }
    }

    fn remember(&mut self, id: u64) -> Seen {
        if !self.recent.insert(id) {
            return Seen::Duplicate;
        }
        self.order.push_back(id);
        if self.order.len() > RECENT_MAX
            && let Some(old) = self.order.pop_front()
        {
            self.recent.remove(&old);
        }
        Seen::Next
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::market::{Origin, Price, Quantity, Side, Symbol, Timestamp};

    fn trade(first_id: u64, id: u64) -> Trade {
        Trade {
            symbol: Symbol(0),
            first_id,
            id,
            trades: (id - first_id + 1) as u32,
            ts_event: Timestamp(1),
            ts_recv: Timestamp(1),
            price: Price(1),
            quantity: Quantity(1),
            side: Side::Buy,
            origin: Origin::Live,
        }
    }

    #[test]
    fn a_hole_is_told_once_and_then_filled() {
        let mut seen = Continuity::new(IdRule::Contiguous);
        assert_eq!(seen.observe(&trade(5, 5)), Seen::Next);
        assert_eq!(seen.observe(&trade(6, 7)), Seen::Next);
        assert_eq!(seen.observe(&trade(10, 10)), Seen::Gap { first_id: 8, last_id: 9 });
        assert_eq!(seen.observe(&trade(11, 11)), Seen::Next);
        assert_eq!(seen.observe(&trade(6, 6)), Seen::Duplicate);
        assert!(!seen.covers(7, 10));
        assert_eq!(seen.holes().collect::<Vec<_>>(), [(8, 9)]);
        assert_eq!(seen.observe(&trade(7, 8)), Seen::Duplicate, "7 is in already, so 8 is still missing");
        assert_eq!(seen.observe(&trade(9, 9)), Seen::Fill);
        assert_eq!(seen.observe(&trade(8, 8)), Seen::Fill);
        assert!(seen.covers(5, 11));
        assert_eq!(seen.holes().count(), 0);
        assert_eq!(seen.observe(&trade(3, 3)), Seen::Fill);
        assert!(!seen.covers(3, 5));
        assert_eq!(seen.expect(13), Some((12, 13)));
        assert_eq!(seen.expect(11), None);
    }

    #[test]
    fn what_an_earlier_run_proved_joins_what_is_seen() {
        let mut seen = Continuity::new(IdRule::Contiguous);
        [(10, 20), (20, 30), (40, 50), (31, 35)].iter().for_each(|(first, last)| seen.cover(*first, *last));
        assert!(seen.covers(10, 35) && seen.covers(40, 50));
        assert_eq!(seen.holes().collect::<Vec<_>>(), [(36, 39)]);
        assert_eq!(seen.unseen(5, 60), [(5, 9), (36, 39), (51, 60)]);
        assert_eq!(seen.unseen(12, 30), []);
        assert_eq!(seen.unseen(30, 37), [(36, 37)]);
        assert_eq!(seen.observe(&trade(36, 39)), Seen::Fill);
        assert!(seen.covers(10, 50));
    }

    #[test]
    fn unordered_ids_only_tell_duplicates() {
        let mut seen = Continuity::new(IdRule::Unique);
        assert_eq!(seen.observe(&trade(9, 9)), Seen::Next);
        assert_eq!(seen.observe(&trade(4, 4)), Seen::Next);
        assert_eq!(seen.observe(&trade(9, 9)), Seen::Duplicate);
        assert!(!seen.covers(4, 4));
    }

    proptest! {
        #[test]
        fn prop_the_runs_are_exactly_the_set_of_ids_seen(ids in proptest::collection::vec(1_u64..120, 1..200)) {
            let mut seen = Continuity::new(IdRule::Contiguous);
            let mut model = std::collections::BTreeSet::new();
            for id in ids {
                let duplicate = seen.observe(&trade(id, id)) == Seen::Duplicate;
                prop_assert_eq!(duplicate, !model.insert(id));
                for first in 1..120_u64 {
                    prop_assert_eq!(seen.covers(first, first), model.contains(&first));
                }
            }
            let missing: u64 = seen.holes().map(|(first, last)| last - first + 1).sum();
            let span = model.last().unwrap() - model.first().unwrap() + 1;
            prop_assert_eq!(missing, span - model.len() as u64);
        }
    }
}

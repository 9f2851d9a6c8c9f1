//! What a group of sessions saw: events, what the server told to have left out, and every hole that it did not tell of.

use hdrhistogram::Histogram;

use crate::scan::{self, Event};

/// The longest latency that is told apart: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;
/// An id that is not of the last ten minutes carries no time.
const ID_AGE_US_MAX: u64 = 600_000_000;
/// Faults that are told in words; the rest is counted.
const FAULTS_MAX: usize = 20;
/// Trades of one event that are recorded one by one; more are recorded in as many steps.
const STEPS_MAX: u64 = 16;

/// What a channel carries, as far as its ids go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Market,
    Trades,
    Other,
}

/// What is known of the trades behind the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// A symbol has a trade each so many microseconds: a candle that took in several counts each of them.
    Every(u64),
    /// Trades come as they come: each is counted on `trades` channels, and candles count their newest.
    Free,
}

/// Where a session stands in a channel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Track {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    /// Events that a `gap` told to be lost and that were not yet passed.
    told: u64,
    newest_id: u64,
    /// Whether a snapshot came since the subscription.
    pub(crate) is_based: bool,
}

/// Counts since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Bytes from the server.
    pub bytes: u64,
    /// Reads of sockets: how many events share one says how well the server joins its writes.
    pub reads: u64,
    /// Events that the server told to have conflated.
    pub skipped: u64,
    /// `gap` ops that told of lost events.
    pub gaps: u64,
    /// Events that those told of.
    pub lost: u64,
    /// Numbers missing without a word, or given twice.
    pub holes: u64,
    /// Answers to subscriptions.
    pub snapshots: u64,
    /// Fresh snapshots that nobody had asked for: the server had to leave events out and began the channel anew.
    pub resets: u64,
    /// Answers that went on from where the session had left off.
    pub recovered: u64,
    /// Other breaches: events without a snapshot, frames that are none, refusals.
    pub faults: u64,
}

impl Counts {
    /// What came since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            events: self.events - before.events,
            bytes: self.bytes - before.bytes,
            reads: self.reads - before.reads,
            skipped: self.skipped - before.skipped,
            gaps: self.gaps - before.gaps,
            lost: self.lost - before.lost,
            holes: self.holes - before.holes,
            snapshots: self.snapshots - before.snapshots,
            resets: self.resets - before.resets,
            recovered: self.recovered - before.recovered,
            faults: self.faults - before.faults,
        }
    }
}

/// A group of sessions.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Since the beginning.
    pub(crate) counts: Counts,
    /// Closes by the server with their codes; 1006 for a connection that ended without one.
    pub(crate) closes: std::collections::BTreeMap<u16, u64>,
    /// Breaches in words.
    pub(crate) faults: Vec<String>,
    /// Microseconds from when a trade was due to when an event with it was read.
    pub(crate) latency: Histogram<u64>,
    /// Whether latencies are recorded.
    is_recording: bool,
    /// Since when: what came before is not measured.
    recording_since: u64,
    /// What is known of the trades.
    pub(crate) spacing: Spacing,
}

impl Tally {
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            counts: Counts::default(),
            closes: std::collections::BTreeMap::new(),
            faults: Vec::new(),
            latency: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?,
            is_recording: false,
            recording_since: 0,
            spacing: Spacing::Free,
        })
    }

    /// Starts a measurement at `now`.
    pub(crate) fn begin(&mut self, now: u64) {
        self.latency.reset();
        (self.is_recording, self.recording_since) = (true, now);
    }

    /// Ends it.
    pub(crate) fn end(&mut self) {
        self.is_recording = false;
    }

    pub(crate) fn on_close(&mut self, code: u16) {
        *self.closes.entry(code).or_default() += 1;
    }

    pub(crate) fn fault(&mut self, text: impl FnOnce() -> String) {
        self.counts.faults += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(text());
        }
    }

    /// Checks an event's number and records its latency; `now` is when its bytes were read.
    #[inline]
    pub(crate) fn on_event(&mut self, track: &mut Track, kind: Kind, event: &Event<'_>, now: u64) {
        self.counts.events += 1;
        self.counts.skipped += event.skipped;
        if event.seq != track.seq + 1 {
            self.on_jump(track, event);
        }
        track.seq = event.seq;
        if self.is_recording {
            self.on_time(track, kind, event, now);
        }
    }

    /// A number that is not the next one must be explained by what the server told.
    fn on_jump(&mut self, track: &mut Track, event: &Event<'_>) {
        let name = || String::from_utf8_lossy(event.channel).into_owned();
        if !track.is_based {
            self.fault(|| format!("{}: event {} before any snapshot", name(), event.seq));
            return;
        }
        let Some(missing) = event.seq.checked_sub(track.seq + 1) else {
            self.counts.holes += 1;
            let text = || format!("{}: event {} after {}", name(), event.seq, track.seq);
            if self.faults.len() < FAULTS_MAX {
                self.faults.push(text());
            }
            return;
        };
        let untold = missing.saturating_sub(event.skipped);
        let hole = untold.saturating_sub(track.told);
        track.told = track.told.saturating_sub(untold);
        if hole > 0 {
            self.counts.holes += hole;
            let from = track.seq;
            if self.faults.len() < FAULTS_MAX {
                self.faults.push(format!("{}: {hole} events missing between {from} and {}", name(), event.seq));
            }
        }
    }

    pub(crate) fn on_lost(&mut self, track: &mut Track, lost: u64) {
        self.counts.gaps += 1;
        self.counts.lost += lost;
        track.told += lost;
    }

    /// The start of a channel. `since` is where the session had left off, if it asked to go on from there.
    pub(crate) fn on_snapshot(&mut self, track: &mut Track, seq: u64, epoch: u64, recovered: bool, since: Option<u64>) {
        self.counts.snapshots += 1;
        self.counts.recovered += u64::from(recovered);
        if track.is_based && track.epoch == epoch && seq < track.seq {
            self.counts.holes += 1;
            self.faults.push(format!("a snapshot up to {seq} after event {}", track.seq));
        } else if track.is_based && seq != track.seq {
            self.counts.resets += 1;
            self.counts.lost += seq.saturating_sub(track.seq);
        }
        if let Some(since) = since.filter(|since| recovered && !track.is_based && *since != seq) {
            self.counts.holes += 1;
            self.faults.push(format!("left off at {since}, recovered from {seq}"));
        }
        *track = Track { epoch, seq, told: 0, newest_id: track.newest_id, is_based: true };
    }

    #[inline]
    fn on_time(&mut self, track: &mut Track, kind: Kind, event: &Event<'_>, now: u64) {
        let newest = match kind {
            Kind::Market => match scan::candle_id(event.data) {
                Some(id) => Some(id),
                None => return,
            },
            Kind::Trades => scan::newest_trade_id(event.data),
            Kind::Other => None,
        };
        let Some(newest) = newest.filter(|id| now.abs_diff(*id) < ID_AGE_US_MAX) else {
            // Not a simulated market: all that is there is the server's millisecond of sending.
            let sent = event.ts.saturating_mul(1_000);
            self.record(now.saturating_sub(sent), 1);
            return;
        };
        let before = std::mem::replace(&mut track.newest_id, newest);
        let latency = now.saturating_sub(newest);
        match self.spacing {
            Spacing::Free if kind == Kind::Trades => {
                for id in scan::trade_ids(event.data) {
                    self.record(now.saturating_sub(id), 1);
                }
            }
            Spacing::Every(spacing) if before >= self.recording_since && before > 0 => {
                self.record_all(latency, newest.saturating_sub(before), spacing)
            }
            _ => self.record(latency, 1),
        }
    }

    /// Records each of the trades of the last `span` microseconds, one per `spacing`: the newest waited `latency`.
    fn record_all(&mut self, latency: u64, span: u64, spacing: u64) {
        let count = ((span + spacing / 2) / spacing.max(1)).max(1);
        let steps = count.min(STEPS_MAX);
        for step in 0..steps {
            // The middle of each step, so that a few records stand for many.
            let (first, last) = (count * step / steps, count * (step + 1) / steps);
            let back = (first + last - 1) / 2 * spacing;
            self.record(latency + back, last - first);
        }
    }

    #[inline]
    fn record(&mut self, latency: u64, count: u64) {
        // Within the bounds it cannot fail.
        let _ = self.latency.record_n(latency.clamp(1, LATENCY_US_MAX), count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally::new().unwrap();
        tally.begin(0);
        tally
    }

    fn event(seq: u64, skipped: u64) -> Event<'static> {
        Event { channel: b"market.X.1s", seq, ts: 1, skipped, data: b"" }
    }

    /// Numbers with what was skipped before each; a negative one is a `gap` that told of so many lost ones.
    fn holes_of(steps: &[(i64, u64)]) -> u64 {
        let (mut tally, mut track) = (tally(), Track::default());
        tally.on_snapshot(&mut track, 5, 1, false, None);
        for (seq, skipped) in steps {
            match u64::try_from(*seq) {
                Ok(seq) => tally.on_event(&mut track, Kind::Other, &event(seq, *skipped), 1),
                Err(_) => tally.on_lost(&mut track, seq.unsigned_abs()),
            }
        }
        tally.counts.holes
    }

    #[test]
    fn every_number_that_nobody_told_of_is_a_hole() {
        assert_eq!(holes_of(&[(6, 0), (7, 0)]), 0);
        assert_eq!(holes_of(&[(6, 0), (9, 2), (-3, 0), (13, 0)]), 0);
        assert_eq!(holes_of(&[(-3, 0), (6, 0), (10, 0)]), 0, "the gap was behind the state");
        assert_eq!(holes_of(&[(7, 0)]), 1);
        assert_eq!(holes_of(&[(6, 0), (9, 1)]), 1);
        assert_eq!(holes_of(&[(-2, 0), (9, 0)]), 1);
        assert_eq!(holes_of(&[(6, 0), (6, 0)]), 1, "twice");
        assert_eq!(holes_of(&[(6, 0), (4, 0)]), 1, "back");
    }

    #[test]
    fn an_event_before_a_snapshot_and_a_wrong_recovery_are_faults() {
        let (mut tally, mut track) = (tally(), Track::default());
        tally.on_event(&mut track, Kind::Other, &event(9, 0), 1);
        assert_eq!(tally.counts.faults, 1);
        for (seq, holes) in [(9, 0), (8, 1)] {
            let mut fresh = Track::default();
            tally.on_snapshot(&mut fresh, seq, 1, true, Some(9));
            assert_eq!(tally.counts.holes, holes, "left off at 9");
        }
    }

    #[test]
    fn a_fresh_snapshot_in_between_tells_of_a_loss_and_one_from_before_is_a_fault() {
        let (mut tally, mut track) = (tally(), Track::default());
        tally.on_snapshot(&mut track, 5, 1, false, None);
        tally.on_snapshot(&mut track, 5, 1, false, None);
        assert_eq!((tally.counts.resets, tally.counts.lost, tally.counts.holes), (0, 0, 0));
        tally.on_snapshot(&mut track, 9, 1, false, None);
        assert_eq!((tally.counts.resets, tally.counts.lost, tally.counts.holes), (1, 4, 0));
        tally.on_snapshot(&mut track, 8, 1, false, None);
        assert_eq!((tally.counts.resets, tally.counts.holes), (1, 1));
    }

    #[test]
    fn a_candle_that_took_in_several_trades_counts_the_wait_of_each() {
        let (mut tally, mut track) = (tally(), Track::default());
        tally.spacing = Spacing::Every(1_000);
        tally.on_snapshot(&mut track, 0, 1, false, None);
        let id = 1_700_000_000_000_000;
        for (seq, id, now) in [(1, id, id + 50), (2, id + 1_000, id + 1_050), (3, id + 101_000, id + 101_050)] {
            let data = format!(r#"{{"is_closed":false,"last_id":{id}}}"#);
            let event = Event { data: data.as_bytes(), ..event(seq, 0) };
            tally.on_event(&mut track, Kind::Market, &event, now);
        }
        assert_eq!(tally.latency.len(), 102);
        assert!(tally.latency.max() > 90_000, "a stall of 100 ms is seen: {}", tally.latency.max());
        assert!((40_000..=60_000).contains(&tally.latency.value_at_quantile(0.5)), "half of its trades waited half");
    }

    #[test]
    fn trades_from_before_the_measurement_do_not_count() {
        let (mut tally, mut track) = (tally(), Track::default());
        tally.spacing = Spacing::Every(1_000);
        tally.on_snapshot(&mut track, 0, 1, false, None);
        let id = 1_700_000_000_000_000;
        for (seq, id) in [(1, id), (2, id + 60_000_000)] {
            tally.begin(id - 10);
            let data = format!(r#"{{"is_closed":false,"last_id":{id}}}"#);
            tally.on_event(&mut track, Kind::Market, &Event { data: data.as_bytes(), ..event(seq, 0) }, id + 70);
            tally.end();
        }
        assert_eq!((tally.latency.len(), tally.latency.max()), (1, 70));
    }

    #[test]
    fn each_trade_of_a_burst_counts() {
        let (mut tally, mut track) = (tally(), Track::default());
        let data = br#"[{"id":1700000000000000},{"id":1700000000000500}]"#;
        let event = Event { channel: b"trades.X", seq: 1, ts: 1, skipped: 0, data };
        tally.on_event(&mut track, Kind::Trades, &event, 1_700_000_000_001_000);
        assert_eq!((tally.latency.len(), tally.latency.min(), tally.latency.max()), (2, 500, 1_000));
    }
}

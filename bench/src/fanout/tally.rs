//! The account of a run: each event once to each session, in order, and how long it took.

use hdrhistogram::Histogram;

use crate::dialect::event_of;

/// Rounds that are remembered: many more than can be outstanding.
const ROUNDS: usize = 8192;
const LATENCY_NS_MAX: u64 = 60_000_000_000;

#[derive(Clone, Copy, Default)]
struct Round {
    number: u32,
    /// Deliveries to come.
    remaining: u32,
    intended_ns: u64,
}

/// See the module.
pub(crate) struct Tally {
    channels: usize,
    sessions: usize,
    /// The newest round of each session and channel; zero before the first.
    newest: Vec<u32>,
    rounds: Vec<Round>,
    started: u32,
    completed: u32,
    delivered: u64,
    /// Events that did not follow the one before.
    disordered: u64,
    latency: Histogram<u64>,
    is_timed: bool,
}

impl Tally {
    pub(crate) fn new(sessions: usize, channels: usize) -> anyhow::Result<Self> {
        Ok(Self {
            channels,
            sessions,
            newest: vec![0; sessions * channels],
            rounds: vec![Round::default(); ROUNDS],
            started: 0,
            completed: 0,
            delivered: 0,
            disordered: 0,
            latency: Histogram::new_with_bounds(1000, LATENCY_NS_MAX, 3)?,
            is_timed: false,
        })
    }

    /// A round is about to be published; latency counts from the intended time. Gives its number.
    pub(crate) fn begin(&mut self, intended_ns: u64) -> u32 {
        self.started += 1;
        let remaining = (self.sessions * self.channels) as u32;
        let place = self.started as usize % ROUNDS;
        self.rounds[place] = Round { number: self.started, remaining, intended_ns };
        self.started
    }

    /// A session received an event.
    #[inline]
    pub(crate) fn on_id(&mut self, session: usize, id: u64, now_ns: u64) {
        let Some((channel, number)) = event_of(id).filter(|(channel, _)| *channel < self.channels) else { return };
        let newest = &mut self.newest[session * self.channels + channel];
        if *newest != 0 && number != *newest + 1 {
            self.disordered += 1;
            if number <= *newest {
                return;
            }
        }
        *newest = number;
        self.delivered += 1;
        let round = &mut self.rounds[number as usize % ROUNDS];
        if round.number != number {
            return;
        }
        round.remaining = round.remaining.saturating_sub(1);
        self.completed += u32::from(round.remaining == 0);
        if self.is_timed {
            self.latency.saturating_record(now_ns.saturating_sub(round.intended_ns));
        }
    }

    /// Forgets the rounds that went by while sessions were still joining.
    pub(crate) fn settle(&mut self) {
        self.rounds.fill(Round::default());
        self.completed = self.started;
        (self.delivered, self.disordered) = (0, 0);
    }

    /// Latencies are recorded from now on, or no more.
    pub(crate) fn time(&mut self, is_timed: bool) {
        self.is_timed = is_timed;
    }

    /// Whether the newest round reached everybody.
    pub(crate) fn is_newest_complete(&self) -> bool {
        let round = &self.rounds[self.started as usize % ROUNDS];
        round.number == self.started && round.remaining == 0
    }

    pub(crate) fn outstanding(&self) -> u32 {
        self.started.saturating_sub(self.completed)
    }

    /// Whether another open-loop round can be remembered.
    pub(crate) fn is_full(&self) -> bool {
        self.outstanding() as usize >= ROUNDS - 1
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Deliveries that have not come, of all rounds that are remembered.
    pub(crate) fn missing(&self) -> u64 {
        self.rounds.iter().map(|round| u64::from(round.remaining)).sum()
    }

    pub(crate) fn disordered(&self) -> u64 {
        self.disordered
    }

    /// A percentile of the latencies, in nanoseconds.
    pub(crate) fn latency(&self, quantile: f64) -> u64 {
        self.latency.value_at_quantile(quantile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::id_of;

    #[test]
    fn a_round_is_complete_once_every_session_has_every_channel() {
        let mut tally = Tally::new(2, 2).unwrap();
        tally.time(true);
        let round = tally.begin(1_000_000);
        for (session, channel) in [(0, 0), (0, 1), (1, 1)] {
            tally.on_id(session, id_of(channel, round), 3_000_000);
            assert!(!tally.is_newest_complete() && tally.outstanding() == 1);
        }
        assert_eq!(tally.missing(), 1);
        tally.on_id(1, id_of(0, round), 3_000_000);
        assert!(tally.is_newest_complete());
        assert_eq!((tally.outstanding(), tally.missing(), tally.delivered(), tally.disordered()), (0, 0, 4, 0));
        assert!((1_990_000..2_010_000).contains(&tally.latency(0.5)));
    }

    #[test]
    fn lost_and_repeated_events_are_noticed_and_foreign_ids_are_not_counted() {
        let mut tally = Tally::new(1, 1).unwrap();
        let rounds: Vec<_> = (0..4).map(|_| tally.begin(0)).collect();
        for round in [rounds[0], rounds[1], rounds[1], rounds[3]] {
            tally.on_id(0, id_of(0, round), 1);
        }
        tally.on_id(0, 7, 1);
        tally.on_id(0, id_of(1, rounds[2]), 1);
        assert_eq!((tally.delivered(), tally.disordered(), tally.missing()), (3, 2, 1));
    }

    #[test]
    fn rounds_of_joining_sessions_do_not_count() {
        let mut tally = Tally::new(2, 1).unwrap();
        let first = tally.begin(0);
        tally.on_id(0, id_of(0, first), 1);
        let second = tally.begin(0);
        tally.on_id(0, id_of(0, second), 1);
        tally.on_id(1, id_of(0, second), 1);
        assert!(tally.is_newest_complete());
        tally.settle();
        assert_eq!((tally.delivered(), tally.missing(), tally.outstanding()), (0, 0, 0));
        let third = tally.begin(0);
        tally.on_id(1, id_of(0, third), 1);
        assert_eq!((tally.delivered(), tally.disordered(), tally.missing()), (1, 0, 1));
    }
}

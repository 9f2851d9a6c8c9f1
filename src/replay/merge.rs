//! Candles of several symbols and intervals in one order of time, with no more in memory than the order asks for.
//!
//! A candle is held until no other symbol or interval can give an earlier one: minutes wait for the hour that began
//! with them.

use std::collections::VecDeque;

use engine::{candle::Candle, interval::Interval, market::Timestamp};

/// The order of the output: open time, then interval, then the symbol's rank.
type Key = (Timestamp, Interval, usize);

/// See the module.
pub struct Merge {
    intervals: Vec<Interval>,
    labels: Vec<Box<str>>,
    queues: Vec<Queue>,
}

struct Queue {
    lane: usize,
    rank: usize,
    interval: Interval,
    candles: VecDeque<Candle>,
    /// No candle before this one can come any more; `None` after the end.
    bound: Option<Timestamp>,
}

impl Queue {
    /// The first key that this queue has or may still have.
    fn key(&self) -> Option<Key> {
        let time = self.candles.front().map(|candle| candle.open_time).or(self.bound)?;
        Some((time, self.interval, self.rank))
    }
}

impl Merge {
    /// Without symbols.
    pub fn new(intervals: Vec<Interval>) -> Self {
        Self { intervals, labels: Vec::new(), queues: Vec::new() }
    }

    /// Adds a symbol; its lane is how many were added before.
    pub fn add(&mut self, label: &str) {
        let lane = self.labels.len();
        self.labels.push(label.into());
        let queue =
            |&interval| Queue { lane, rank: 0, interval, candles: VecDeque::new(), bound: Some(Timestamp(i64::MIN)) };
        self.queues.extend(self.intervals.iter().map(queue));
        for queue in &mut self.queues {
            let own = self.labels.get(queue.lane);
            queue.rank = self.labels.iter().filter(|other| Some(*other) < own).count();
        }
    }

    /// The first trade of a lane: nothing before `ts` can come.
    pub fn begin(&mut self, lane: usize, ts: Timestamp) {
        for queue in self.queues.iter_mut().filter(|queue| queue.lane == lane) {
            queue.bound = Some(queue.interval.open_time(ts));
        }
    }

    /// Takes candles of a lane, in order of open time for each interval.
    pub fn extend(&mut self, lane: usize, candles: &[Candle]) {
        for candle in candles {
            let own = |queue: &&mut Queue| queue.lane == lane && queue.interval == candle.interval;
            if let Some(queue) = self.queues.iter_mut().find(own) {
                queue.candles.push_back(*candle);
                queue.bound = Some(candle.close_time);
            }
        }
    }

    /// Nothing more comes of a lane.
    pub fn end(&mut self, lane: usize) {
        for queue in self.queues.iter_mut().filter(|queue| queue.lane == lane) {
            queue.bound = None;
        }
    }

    /// The next candle and its lane, if its turn has come.
    pub fn pop(&mut self) -> Option<(usize, Candle)> {
        let keyed = self.queues.iter_mut().filter_map(|queue| Some((queue.key()?, queue)));
        let (_, queue) = keyed.min_by_key(|(key, _)| *key)?;
        Some((queue.lane, queue.candles.pop_front()?))
    }
}

//! Recorded trades in the present: their times are shifted, and each waits for its moment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use engine::{
    market::{Timestamp, Trade},
    message::Input,
};
use node::{Clock, ShardSender};

use crate::cli::Speed;

/// Shifts are whole minutes, so that a minute of the recording is a minute of the stream.
const MINUTE: i64 = 60_000_000_000;
/// How often a wait looks whether it should end.
const STEP: Duration = Duration::from_millis(100);
const QUEUE_WAIT: Duration = Duration::from_millis(1);

/// The stream is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// Sends trades of a recording to the shards, at its pace. Blocks its thread.
pub struct Pacer {
    clock: Arc<Clock>,
    sender: ShardSender,
    stop: Arc<AtomicBool>,
    speed: Speed,
    /// Our time of the first trade, and how far the times of the recording are moved.
    start: Option<(Timestamp, i64)>,
}

impl Pacer {
    /// A pacer that begins with its first trade.
    pub fn new(clock: Arc<Clock>, sender: ShardSender, stop: Arc<AtomicBool>, speed: Speed) -> Self {
        Self { clock, sender, stop, speed, start: None }
    }

    /// Begins so that a trade of time `first` happened `ago` nanoseconds before now: what lies between comes at once.
    pub fn begin(&mut self, first: Timestamp, ago: i64) {
        let shift = self.clock.now().0.saturating_sub(ago).saturating_sub(first.0);
        let shift = shift.div_euclid(MINUTE).saturating_mul(MINUTE);
        self.start = Some((first.plus(shift), shift));
    }

    /// Waits for the moment of `trade` and sends it.
    ///
    /// # Errors
    /// [`Stopped`] if the stream ends.
    pub fn send(&mut self, trade: &Trade) -> Result<(), Stopped> {
        if self.start.is_none() {
            self.begin(trade.ts_event, 0);
        }
        let (start, shift) = self.start.unwrap_or_default();
        let ts_event = trade.ts_event.plus(shift);
        let due = match self.speed {
            Speed::Max => start,
            Speed::Times(times) => start.plus(ts_event.0.saturating_sub(start.0) / i64::from(times.max(1))),
        };
        self.wait(due)?;
        let mut waiting = Some(Input::Trade(Trade { ts_event, ts_recv: self.clock.now(), ..*trade }));
        while let Some(input) = waiting.take() {
            waiting = self.sender.try_send(input).map_err(|_| Stopped)?;
            if waiting.is_some() {
                self.check()?;
                thread::sleep(QUEUE_WAIT);
            }
        }
        Ok(())
    }

    fn wait(&self, due: Timestamp) -> Result<(), Stopped> {
        loop {
            let left = due.0.saturating_sub(self.clock.now().0);
            if left <= 0 {
                return self.check();
            }
            self.check()?;
            thread::sleep(STEP.min(Duration::from_nanos(left.unsigned_abs())));
        }
    }

    fn check(&self) -> Result<(), Stopped> {
        if self.stop.load(Ordering::Relaxed) { Err(Stopped) } else { Ok(()) }
    }
}

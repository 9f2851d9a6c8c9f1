//! A recording at the pace at which it was received, or faster.

use std::time::Duration;

use engine::{
    market::{Timestamp, Trade},
    message::Input,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{RawFrame, Reader, ReplayError};
use crate::{supervisor::Sink, venue::Event};

/// How fast recorded time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// `num / den` times as fast as it was: `Times { num: 3, den: 2 }` is one and a half times.
    Times {
        /// Recorded time…
        num: u32,
        /// …in so much of ours. Zero counts as one.
        den: u32,
    },
    /// Without any wait.
    Max,
}

impl Speed {
    /// How long a recorded span lasts now.
    pub fn lasts(self, nanos: i64) -> i64 {
        match self {
            Self::Max => 0,
            Self::Times { num, den } => {
                let lasts = i128::from(nanos) * i128::from(den.max(1)) / i128::from(num.max(1));
                i64::try_from(lasts).unwrap_or(i64::MAX)
            }
        }
    }
}

/// What is added to the times and ids of each trade after it was parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeShift {
    /// Nanoseconds.
    pub ts: i64,
    /// Ids.
    pub id: u64,
}

impl TimeShift {
    /// The trade with its times and ids moved.
    pub const fn apply(self, trade: Trade) -> Trade {
        Trade {
            first_id: trade.first_id.wrapping_add(self.id),
            id: trade.id.wrapping_add(self.id),
            ts_event: trade.ts_event.plus(self.ts),
            ts_recv: trade.ts_recv.plus(self.ts),
            ..trade
        }
    }
}

/// Sends the trades and proofs of `frames` through `reader` to `sink`, paced by their times of receipt, until they end
/// or `stop` turns true.
///
/// # Errors
/// [`ReplayError`] as soon as the recording cannot be read on; what came before it was sent.
pub async fn run<S: Sink>(
    frames: impl Iterator<Item = Result<RawFrame, ReplayError>>,
    reader: &mut Reader,
    speed: Speed,
    shift: TimeShift,
    sink: &S,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ReplayError> {
    let started = Instant::now();
    let mut first = None;
    let play = async {
        for frame in frames {
            let frame = frame?;
            if frame.ts_recv != Timestamp(0) {
                let elapsed = frame.ts_recv.0.saturating_sub(first.get_or_insert(frame.ts_recv).0);
                wait(started, speed.lasts(elapsed)).await;
            }
            for event in reader.on_frame(&frame) {
                match event {
                    Event::Trade(trade) => {
                        let ts_recv = if trade.ts_recv == Timestamp(0) { trade.ts_event } else { trade.ts_recv };
                        sink.send(Input::Trade(shift.apply(Trade { ts_recv, ..*trade }))).await;
                    }
                    Event::Proof { symbol, last_id } => {
                        let (symbol, last_id) = (*symbol, last_id.wrapping_add(shift.id));
                        sink.send(Input::Proof { symbol, last_id }).await;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        played = play => played,
    }
}

/// Waits until `nanos` after `started`, unless that is over.
pub(super) async fn wait(started: Instant, nanos: i64) {
    let due = started + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    if due > Instant::now() {
        sleep_until(due).await;
    }
}

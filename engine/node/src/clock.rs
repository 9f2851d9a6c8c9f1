//! The only reader of clocks: one timeline that never runs backwards, whatever happens to the wall clock.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use engine::market::Timestamp;

/// A wall clock that has moved further than this against the monotonic clock has jumped.
const JUMP_NANOS: i64 = 2_000_000_000;

/// Wall time at start plus monotonic time since: after a jump of the wall clock it goes on as if nothing had happened, so
/// that no candle closes early or twice.
#[derive(Debug)]
pub struct Clock {
    wall: i64,
    start: Instant,
    offset: AtomicI64,
}

impl Clock {
    /// A clock anchored to the wall clock of this moment.
    pub fn start() -> Self {
        Self { wall: wall_nanos(), start: Instant::now(), offset: AtomicI64::new(0) }
    }

    /// Now, in nanoseconds since the Unix epoch.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.wall.saturating_add(i64::try_from(self.start.elapsed().as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Compares with the wall clock; call it about each second. True if the wall clock has jumped since the last call.
    pub fn has_jumped(&self) -> bool {
        self.note(wall_nanos().saturating_sub(self.now().0))
    }

    /// Takes note of the wall clock's lead over this clock.
    fn note(&self, lead: i64) -> bool {
        let before = self.offset.load(Ordering::Relaxed);
        if lead.saturating_sub(before).saturating_abs() <= JUMP_NANOS {
            return false;
        }
        self.offset.store(lead, Ordering::Relaxed);
        tracing::warn!(
            lead_ms = lead / 1_000_000,
            "the wall clock jumped; candles go on closing by the monotonic clock: restart when convenient"
        );
        true
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn wall_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_clock_is_told_once_and_moves_nothing() {
        let clock = Clock::start();
        let before = clock.now();
        assert!(!clock.note(1_999_999_999));
        assert!(clock.note(3_600_000_000_000));
        assert!(!clock.note(3_600_500_000_000));
        assert!(clock.note(0));
        let passed = clock.now().0 - before.0;
        assert!((0..60_000_000_000).contains(&passed));
    }
}

//! How long to wait before the next attempt: exponential with full jitter, so that many clients do not come at once.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};

/// The waits of one group or request.
#[derive(Debug)]
pub(crate) struct Backoff {
    rng: StdRng,
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(seed: u64, min: Duration, max: Duration) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), min, max, failures: 0 }
    }

    /// The next wait: up to `min` doubled per failure, at most `max`, at least what the venue asked for.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let ceiling = self.min.saturating_mul(1 << self.failures.min(16)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        let millis = u64::try_from(ceiling.as_millis()).unwrap_or(u64::MAX).max(1);
        let drawn = Duration::from_millis(self.rng.random_range(1..=millis));
        asked.map_or(drawn, |asked| asked.min(ASKED_MAX) + drawn)
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A venue may ask for more than this; we look again anyway.
const ASKED_MAX: Duration = Duration::from_secs(900);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_and_honour_the_venue() {
        let (min, max) = (Duration::from_millis(500), Duration::from_secs(32));
        let mut backoff = Backoff::new(1, min, max);
        for failures in 0..40 {
            let ceiling = min.saturating_mul(1 << failures.min(16_u32)).min(max);
            assert!(backoff.next(None) <= ceiling);
        }
        backoff.reset();
        assert!(backoff.next(None) <= min);
        assert!(backoff.next(Some(Duration::from_secs(60))) >= Duration::from_secs(60));
        assert!(backoff.next(Some(Duration::from_secs(1_000_000))) < Duration::from_secs(1_000));
    }
}

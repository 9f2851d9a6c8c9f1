//! Who failed lately: a circuit for each model, so that a provider that is down costs one attempt now and then, not one a call.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::failure::{Failure, FailureKind};

/// The longest that a provider may ask us to stay away.
const OPEN_MAX: Duration = Duration::from_secs(300);

/// When a circuit opens.
#[derive(Clone, Copy, Debug)]
pub struct BreakerPolicy {
    /// After so many failures without a success between them.
    pub failures: u32,
    /// For so long; then one call in each such span probes, until one succeeds.
    pub open: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 5, open: Duration::from_secs(30) }
    }
}

/// The circuits of all models. A model that never failed has none.
pub struct Breakers {
    policy: BreakerPolicy,
    /// By id of the catalog, which bounds them. The lock is held for a look and a write.
    circuits: Mutex<HashMap<String, Circuit>>,
}

#[derive(Clone, Copy)]
struct Circuit {
    failures: u32,
    last: FailureKind,
    /// Nobody is let through before.
    open_until: Option<Instant>,
    /// Somebody probes, and has so long to tell what came of it.
    probe_until: Option<Instant>,
}

/// Why a model is not asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// How it failed last.
    pub last: FailureKind,
    /// When it is asked again.
    pub wait: Duration,
}

impl Breakers {
    /// Circuits that are all closed.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, circuits: Mutex::default() }
    }

    /// Whether `model` would be asked at `now`.
    ///
    /// # Errors
    /// [`Open`] says how it failed and when it is asked again.
    pub fn look(&self, model: &str, now: Instant) -> Result<(), Open> {
        let circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        circuits.get(model).map_or(Ok(()), |circuit| circuit.look(now))
    }

    /// As [`Breakers::look`]; whoever is let through an open circuit is its probe, and the next one waits.
    pub(crate) fn enter(&self, model: &str, now: Instant) -> Result<(), Open> {
        let mut circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(circuit) = circuits.get_mut(model) else { return Ok(()) };
        circuit.look(now)?;
        if circuit.open_until.is_some() {
            circuit.probe_until = Some(now + self.policy.open);
        }
        Ok(())
    }

    pub(crate) fn on_success(&self, model: &str) {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner).remove(model);
    }

    pub(crate) fn on_failure(&self, model: &str, failure: &Failure, now: Instant) {
        if !failure.kind.is_of_target() {
            return;
        }
        let mut circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Circuit { failures: 0, last: failure.kind, open_until: None, probe_until: None };
        let circuit = circuits.entry(model.to_owned()).or_insert(new);
        circuit.failures = circuit.failures.saturating_add(1);
        circuit.last = failure.kind;
        circuit.probe_until = None;
        if circuit.failures >= self.policy.failures {
            circuit.open_until = Some(now + self.policy.open);
        }
        if let Some(wait) = failure.retry_after {
            // Who says when to come back is taken at the word, at the first failure.
            circuit.open_until = circuit.open_until.max(Some(now + wait.min(OPEN_MAX)));
        }
    }
}

impl Circuit {
    fn look(&self, now: Instant) -> Result<(), Open> {
        match self.open_until.max(self.probe_until).and_then(|until| until.checked_duration_since(now)) {
            Some(wait) if !wait.is_zero() => Err(Open { last: self.last, wait }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(30);

    fn breakers() -> (Breakers, Instant) {
        (Breakers::new(BreakerPolicy { failures: 3, open: OPEN }), Instant::now())
    }

    fn fail(breakers: &Breakers, kind: FailureKind, now: Instant) {
        breakers.on_failure("m", &Failure::new(kind, ""), now);
    }

    #[test]
    fn a_circuit_opens_after_failures_in_a_row_and_lets_one_probe_through_at_a_time() {
        let (breakers, now) = breakers();
        for _ in 0..2 {
            fail(&breakers, FailureKind::Server, now);
            assert_eq!(breakers.enter("m", now), Ok(()));
        }
        fail(&breakers, FailureKind::Overloaded, now);
        assert_eq!(breakers.enter("m", now), Err(Open { last: FailureKind::Overloaded, wait: OPEN }));
        assert_eq!(breakers.enter("another", now), Ok(()));

        let later = now + OPEN;
        assert_eq!(breakers.enter("m", later), Ok(()), "the probe");
        assert!(breakers.enter("m", later).is_err(), "while the probe is under way");
        fail(&breakers, FailureKind::Server, later);
        assert!(breakers.enter("m", later + OPEN / 2).is_err());
        assert_eq!(breakers.enter("m", later + OPEN), Ok(()));
        breakers.on_success("m");
        fail(&breakers, FailureKind::Server, later + OPEN);
        assert_eq!(breakers.enter("m", later + OPEN), Ok(()), "one failure after a success");
    }

    #[test]
    fn a_success_between_failures_keeps_the_circuit_closed() {
        let (breakers, now) = breakers();
        for _ in 0..10 {
            fail(&breakers, FailureKind::Server, now);
            fail(&breakers, FailureKind::Server, now);
            breakers.on_success("m");
        }
        assert_eq!(breakers.look("m", now), Ok(()));
    }

    #[test]
    fn what_a_request_does_wrong_is_not_the_fault_of_the_target() {
        let (breakers, now) = breakers();
        for kind in [FailureKind::InvalidRequest, FailureKind::ContentFilter, FailureKind::ContextLength] {
            for _ in 0..5 {
                fail(&breakers, kind, now);
            }
        }
        assert_eq!(breakers.look("m", now), Ok(()));
    }

    #[test]
    fn a_provider_that_says_when_to_come_back_is_left_alone_until_then_but_not_for_ever() {
        let (breakers, now) = breakers();
        let limited = |wait| Failure { retry_after: Some(wait), ..Failure::new(FailureKind::RateLimited, "") };
        breakers.on_failure("m", &limited(Duration::from_secs(2)), now);
        assert!(breakers.look("m", now + Duration::from_secs(1)).is_err());
        assert_eq!(breakers.look("m", now + Duration::from_secs(2)), Ok(()));
        // A probe that is told to wait again waits as long as it is told, no longer.
        let later = now + Duration::from_secs(2);
        assert_eq!(breakers.enter("m", later), Ok(()));
        assert!(breakers.enter("m", later).is_err());
        breakers.on_failure("m", &limited(Duration::from_secs(2)), later);
        assert!(breakers.look("m", later + Duration::from_secs(1)).is_err());
        assert_eq!(breakers.look("m", later + Duration::from_secs(2)), Ok(()));
        breakers.on_success("m");
        breakers.on_failure("m", &limited(Duration::MAX), now);
        assert_eq!(breakers.look("m", now + OPEN_MAX), Ok(()));
    }
}

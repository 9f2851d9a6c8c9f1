//! An answer that goes on after its provider broke off, if another one says the same.
//!
//! The next target is asked from the start, and what it says is held back until it has said all that the client has seen,
//! letter by letter. Then its answer goes on in place of the one that was cut. At the first letter that differs, the
//! client is told of the failure, as without a rescue: an answer is never stitched together from two that disagree, and
//! no model gets words put into its mouth.

use std::sync::Arc;

use crate::{
    answer::Answer,
    attempt::Attempt,
    catalog::Model,
    driver::{Call, Driver, Round},
    event::Event,
    failure::{Failure, FailureKind},
};

/// The longest text that is said again.
const SAID_BYTES_MAX: usize = 256 * 1024;

/// An [`Answer`] that is rescued once, if the request asks for the same text each time: a temperature of zero, or a seed.
pub struct Rescue<'a> {
    driver: &'a Driver,
    call: &'a Call,
    answer: Answer,
    /// The text that the client has seen.
    said: String,
    is_possible: bool,
}

impl<'a> Rescue<'a> {
    /// Watches over `answer`, which `driver` gave for `call`.
    #[must_use]
    pub fn new(driver: &'a Driver, call: &'a Call, answer: Answer) -> Self {
        let sampling = &call.request.sampling;
        let is_possible = sampling.temperature == Some(0.0) || sampling.seed.is_some();
        Self { driver, call, answer, said: String::new(), is_possible }
    }

    /// The attempt that speaks now.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        self.answer.attempt()
    }

    /// As [`Answer::next`].
    pub async fn next(&mut self) -> Option<Result<Event, Failure>> {
        let failure = match self.answer.next().await? {
            Ok(event) => {
                self.on_event(&event);
                return Some(Ok(event));
            }
            Err(failure) => failure,
        };
        if !self.is_possible || !is_worth_it(failure.kind) {
            return Some(Err(failure));
        }
        self.is_possible = false;
        match self.say_again().await {
            Some(next) => Some(Ok(next)),
            None => Some(Err(failure)),
        }
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Text(text) if self.said.len() + text.len() <= SAID_BYTES_MAX => {
                if self.is_possible {
                    self.said.push_str(text);
                }
            }
            Event::Started { .. } | Event::Usage(_) => {}
            // Thoughts and calls would have to be said again as well, and there is no telling whether they mean the same.
            _ => self.is_possible = false,
        }
    }

    /// What another answer says after all that was said; it has taken the place of the one that was cut.
    async fn say_again(&mut self) -> Option<Event> {
        let cut = self.answer.attempt();
        let targets = targets_after(&self.call.targets, &cut.model);
        let round = Round { targets: &targets, after: cut.number, deadline: self.answer.deadline(), is_rescue: true };
        // Boxed: it is rare, and large.
        let mut answer = Box::pin(self.driver.ask(self.call, round)).await.ok()?;
        let mut again = String::new();
        let next = loop {
            match answer.next().await?.ok()? {
                Event::Text(text) => again.push_str(&text),
                Event::Started { .. } | Event::Usage(_) => continue,
                end @ Event::Finish(_) if again == self.said => break end,
                _ => return None,
            }
            let both = again.len().min(self.said.len());
            if again.as_bytes().get(..both) != self.said.as_bytes().get(..both) {
                return None;
            }
            if again.len() > self.said.len() {
                break Event::Text(again.get(self.said.len()..)?.to_owned());
            }
        };
        self.answer = answer;
        Some(next)
    }
}

/// The targets after the one that was cut; the same one again, if it was the last.
fn targets_after(targets: &[Arc<Model>], cut: &Arc<Model>) -> Vec<Arc<Model>> {
    let place = targets.iter().position(|target| Arc::ptr_eq(target, cut)).unwrap_or(0);
    let after = targets.get(place + 1..).unwrap_or_default();
    if after.is_empty() { vec![Arc::clone(cut)] } else { after.to_vec() }
}

fn is_worth_it(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Cut
            | FailureKind::Stalled
            | FailureKind::Server
            | FailureKind::Overloaded
            | FailureKind::RateLimited
            | FailureKind::Malformed
    )
}

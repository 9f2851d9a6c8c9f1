//! `churn`: sessions come, subscribe and leave, hundreds a second, while others stay and are measured.

use std::{sync::Arc, time::Duration};

use super::{Load, SNAPSHOT};
use crate::{
    LoadError,
    report::Report,
    session::Channels,
    swarm::Manner,
    trial::{Progress, Trial},
};

/// Visitors on their way at once; more would only measure this client.
const VISITORS_MAX: usize = 2_000;

/// Opens visitors at a steady rate.
pub(super) struct Visitors {
    group: usize,
    channels: Arc<Channels>,
    per_second: u32,
    sent: u64,
}

impl Visitors {
    pub(super) fn new(group: usize, channels: Arc<Channels>, per_second: u32) -> Self {
        Self { group, channels, per_second, sent: 0 }
    }

    /// How many were opened.
    pub(super) fn wanted(&self) -> u64 {
        self.sent
    }

    /// Opens those that are due.
    pub(super) fn turn(&mut self, trial: &mut Trial<'_>, passed: Duration) {
        let due = (passed.as_secs_f64() * f64::from(self.per_second)) as u64;
        while self.sent < due && trial.swarm.opening() < VISITORS_MAX {
            self.sent += 1;
            trial.swarm.open(self.group, &self.channels, Manner { is_visitor: true, ..Manner::default() });
        }
    }
}

pub(super) fn run(load: &Load, per_second: u32, progress: Progress<'_>) -> Result<Report, LoadError> {
    let mut trial = Trial::start("churn", load, &[], progress)?;
    let healthy = trial.swarm.group(trial.spacing())?;
    let group = trial.swarm.group(trial.spacing())?;
    let channels = load.same();
    trial.fill(healthy, load.connections, |_| Arc::clone(&channels))?;
    trial.warm_up()?;
    let before = trial.server.usage();
    let alone = trial.measure("without visitors", healthy, load.time(), |_, _| Ok(()))?;
    let mut visitors = Visitors::new(group, load.set(0, load.channels, SNAPSHOT), per_second);
    let visited = trial.measure(&format!("{per_second} visitors/s"), healthy, load.time(), |trial, passed| {
        visitors.turn(trial, passed);
        Ok(())
    })?;
    let seconds = visited.seconds;
    trial.report.phases.extend([alone, visited]);
    trial.settle(0)?;
    // The server ends connections that said goodbye; descriptors are free soon after.
    trial.turn_for("waiting for the last", Duration::from_secs(1), |_, _| Ok(()))?;
    let visits = trial.swarm.visits();
    let wanted = visitors.wanted();
    trial.report.number("visits_per_second", visits as f64 / seconds);
    let found = format!("{visits} of {wanted}");
    trial.report.check("every visitor had its snapshots", visits == wanted && wanted > 0, found);
    let faults = trial.swarm.tally(group).map(|tally| (tally.counts.holes, tally.counts.faults, tally.closes.clone()));
    let is_fine = faults.as_ref().is_some_and(|(holes, faults, closes)| holes + faults == 0 && closes.is_empty());
    trial.report.check("no visitor is refused or misses a number", is_fine, format!("{faults:?}"));
    if let (Some(before), Some(after)) = (before, trial.server.usage()) {
        let (before, after) = (before.descriptors, after.descriptors);
        trial.report.check("no descriptor leaks", after <= before + 8, format!("{before} before, {after} after"));
    }
    trial.check_candles()?;
    trial.check_group("those who stay", healthy);
    Ok(trial.report)
}

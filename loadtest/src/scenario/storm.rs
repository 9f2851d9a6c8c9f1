//! `reconnect-storm`: all sessions are cut at once and come back with `since`; some others are left in peace.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Load;
use crate::{
    LoadError,
    report::Report,
    trial::{Progress, Trial},
};

/// Sessions that stay, whatever happens to the others.
const UNDISTURBED: usize = 50;
/// Sets of channels: sessions of one set share them.
const SETS: usize = 8;
/// How long the cut sessions stay away.
const AWAY: Duration = Duration::from_millis(300);

pub(super) fn run(load: &Load, progress: Progress<'_>) -> Result<Report, LoadError> {
    let mut trial = Trial::start("reconnect-storm", load, &[], progress)?;
    let peace = trial.swarm.group(trial.spacing())?;
    let storm = trial.swarm.group(trial.spacing())?;
    let sets: Vec<_> = (0..SETS.min(load.symbols as usize)).map(|at| load.set(at, load.channels, 1)).collect();
    let set = |at: usize| sets.get(at % sets.len().max(1)).map_or_else(|| load.same(), Arc::clone);
    let same = load.same();
    trial.fill(peace, UNDISTURBED, |_| Arc::clone(&same))?;
    for index in 0..load.connections {
        trial.swarm.open(storm, &set(index), crate::swarm::Manner::default());
    }
    trial.settle(load.connections)?;
    trial.warm_up()?;
    let before = trial.measure("undisturbed, before", peace, load.time(), |_, _| Ok(()))?;
    let first = trial.swarm.tally(storm).map(|tally| tally.counts).unwrap_or_default();
    let dropped = trial.swarm.drop_group(storm);
    let cut = dropped.len();
    trial.turn_for("all are cut", AWAY, |_, _| Ok(()))?;
    trial.swarm.reopen(storm, dropped);
    let start = Instant::now();
    let mut back = None;
    let during = trial.measure("undisturbed, in the storm", peace, load.time(), |trial, _| {
        if back.is_none() && trial.swarm.opening() == 0 {
            back = Some(start.elapsed());
        }
        Ok(())
    })?;
    trial.settle(cut)?;
    let back = back.unwrap_or_else(|| start.elapsed());
    let after = trial.measure("undisturbed, after", peace, load.time(), |_, _| Ok(()))?;
    trial.report.phases.extend([before, during, after]);
    trial.report.number("all_back_ms", back.as_secs_f64() * 1e3);
    let now = trial.swarm.tally(storm).map(|tally| tally.counts.since(&first)).unwrap_or_default();
    let wanted = (cut * load.channels) as u64;
    trial.report.number("sessions_cut", cut as f64);
    let found = format!("{} of {wanted} channels of {cut} sessions", now.recovered);
    trial.report.check("all go on where they left off", cut == load.connections && now.recovered == wanted, found);
    trial.check_candles()?;
    trial.check_group("the undisturbed", peace);
    trial.check_group("those who came back", storm);
    Ok(trial.report)
}

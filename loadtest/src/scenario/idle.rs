//! `idle`: many sessions on a quiet market, and what one of them costs the server with one channel and with many.

use std::{sync::Arc, time::Duration};

use super::Load;
use crate::{
    LoadError,
    report::Report,
    trial::{Progress, Trial},
};

/// The channels of a session in the second part.
const MANY: usize = 50;
/// Between the last session and the look at the memory.
const REST: Duration = Duration::from_secs(1);

pub(super) fn run(load: &Load, progress: Progress<'_>) -> Result<Report, LoadError> {
    let mut report = Report::default();
    for channels in [1, MANY] {
        let load = Load { channels, symbols: load.symbols.max(3), ..load.clone() };
        let mut part = one(&load, progress)?;
        report.scenario = part.scenario;
        report.settings = part.settings;
        report.phases.append(&mut part.phases);
        report.checks.append(&mut part.checks);
        report.numbers.append(&mut part.numbers);
    }
    Ok(report)
}

fn one(load: &Load, progress: Progress<'_>) -> Result<Report, LoadError> {
    let mut trial = Trial::start("idle", load, &[], progress)?;
    let group = trial.swarm.group(trial.spacing())?;
    let channels = load.set(0, load.channels, 1);
    // The first session makes the channels: what they cost is not counted as the others' memory.
    trial.fill(group, 1, |_| Arc::clone(&channels))?;
    trial.warm_up()?;
    let before = trial.server.usage();
    let start = std::time::Instant::now();
    for _ in 0..load.connections {
        trial.swarm.open(group, &channels, crate::swarm::Manner::default());
    }
    trial.settle(load.connections)?;
    trial.report.number(
        &format!("opened_per_second_{}_channels", load.channels),
        load.connections as f64 / start.elapsed().as_secs_f64(),
    );
    trial.turn_for("resting", REST, |_, _| Ok(()))?;
    let after = trial.server.usage();
    let name = format!("{} x {} channels", load.connections, load.channels);
    let phase = trial.measure(&name, group, load.time(), |_, _| Ok(()))?;
    let live = phase.sessions;
    trial.report.phases.push(phase);
    if let (Some(before), Some(after)) = (before, after) {
        let grown = after.private_bytes.saturating_sub(before.private_bytes);
        let each = grown as f64 / load.connections as f64;
        trial.report.number(&format!("bytes_per_session_{}_channels", load.channels), each);
    }
    let found = format!("{live} of {} after {} s", load.connections + 1, load.seconds);
    trial.report.check(&format!("{} channels: all stay open", load.channels), live == load.connections + 1, found);
    let holes = trial.swarm.tally(group).map_or(0, |tally| tally.counts.holes + tally.counts.faults);
    trial.report.check(&format!("{} channels: no number is missing", load.channels), holes == 0, format!("{holes}"));
    Ok(trial.report)
}

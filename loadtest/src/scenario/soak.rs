//! `soak`: steady load, visitors and lazy sessions together for long; memory and descriptors must stay where they are.
//!
//! What a server keeps of a channel fills up first: 4,096 trades and 1,024 events. Growth counts after a third of the
//! run, and the usual rate fills both within seconds.

use std::{sync::Arc, time::Duration};

use super::{Load, churn::Visitors};
use crate::{
    LoadError,
    report::Report,
    swarm::Manner,
    trial::{Progress, Trial},
};

/// Visitors a second.
const VISITORS: u32 = 20;
/// One of so many reads only now and then.
const LAZY_ONE_IN: usize = 20;
/// A lazy session reads for a second, then does not for two: long enough to wait, too short to be closed.
const LAZY: (u64, u64) = (1, 3);
/// Small enough to be full while they do not read. A window of a few KiB would not open again in time.
const LAZY_RECEIVE_BYTES: usize = 64 * 1024;
/// Growth below this is the allocator's business, however short the run.
const GROWTH_NOISE_KIB: f64 = 2_048.0;
const SAMPLE: Duration = Duration::from_millis(500);
/// Descriptors that may be on their way.
const DESCRIPTORS_SLACK: u64 = 8;

/// Kibibytes a minute by which `samples` of (seconds, bytes) rise: the slope of least squares.
fn growth(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (time, bytes) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let over: f64 = samples.iter().map(|(at, value)| (at - time) * (value - bytes)).sum();
    let under: f64 = samples.iter().map(|(at, _)| (at - time).powi(2)).sum();
    if under > 0.0 { over / under * 60.0 / 1024.0 } else { 0.0 }
}

pub(super) fn run(load: &Load, growth_kib: i64, progress: Progress<'_>) -> Result<Report, LoadError> {
    let mut trial = Trial::start("soak", load, &[], progress)?;
    let healthy = trial.swarm.group(trial.spacing())?;
    let lazy = trial.swarm.group(trial.spacing())?;
    let visiting = trial.swarm.group(trial.spacing())?;
    let channels = load.same();
    trial.fill(healthy, load.connections, |_| Arc::clone(&channels))?;
    let lazy_count = (load.connections / LAZY_ONE_IN).max(1);
    for _ in 0..lazy_count {
        trial.swarm.open(lazy, &channels, Manner { receive_bytes: Some(LAZY_RECEIVE_BYTES), ..Manner::default() });
    }
    trial.settle(lazy_count)?;
    trial.warm_up()?;
    let before = trial.server.usage();
    let mut visitors = Visitors::new(visiting, Arc::clone(&channels), VISITORS);
    let (mut samples, mut next) = (Vec::new(), Duration::ZERO);
    let phase = trial.measure("soak", healthy, load.time(), |trial, passed| {
        visitors.turn(trial, passed);
        trial.swarm.set_reading(lazy, passed.as_secs() % LAZY.1 < LAZY.0);
        if passed >= next {
            next = passed + SAMPLE;
            samples.extend(trial.server.usage().map(|usage| (passed.as_secs_f64(), usage.private_bytes as f64)));
        }
        Ok(())
    })?;
    trial.report.phases.push(phase);
    trial.swarm.set_reading(lazy, true);
    trial.settle(0)?;
    trial.turn_for("waiting for the last", Duration::from_secs(2), |_, _| Ok(()))?;
    let settled = samples.get(samples.len() / 3..).unwrap_or_default();
    let rises = growth(settled);
    if let (Some((from, first)), Some((to, last))) = (settled.first(), settled.last()) {
        trial.report.number("memory_growth_kib_per_minute", rises);
        let minutes = (to - from) / 60.0;
        let bound = (growth_kib as f64 * minutes).max(GROWTH_NOISE_KIB);
        let (first, last) = (first / 1048576.0, last / 1048576.0);
        let found = format!(
            "{:.0} KiB in {minutes:.1} minutes ({first:.1} to {last:.1} MiB), {bound:.0} are allowed",
            rises * minutes
        );
        trial.report.check("memory is flat", rises * minutes <= bound, found);
    }
    if let (Some(before), Some(after)) = (before, trial.server.usage()) {
        let (before, after) = (before.descriptors, after.descriptors);
        let found = format!("{before} before, {after} after");
        trial.report.check("no descriptor leaks", after <= before + DESCRIPTORS_SLACK, found);
    }
    let (visits, wanted) = (trial.swarm.visits(), visitors.wanted());
    trial.report.check("every visitor had its snapshots", visits == wanted, format!("{visits} of {wanted}"));
    trial.check_candles()?;
    trial.check_group("those who read", healthy);
    if let Some(tally) = trial.swarm.tally(lazy) {
        let (holes, closes) = (tally.counts.holes, tally.closes.clone());
        trial.report.check(
            "those who read now and then: no number is missing untold",
            holes == 0,
            format!("{holes}, closes {closes:?}"),
        );
    }
    Ok(trial.report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line_through_the_samples() {
        let samples: Vec<_> = (0..20)
            .map(|at| (f64::from(at), f64::from(at) * 1024.0 + if at % 2 == 0 { 50.0 } else { -50.0 }))
            .collect();
        assert!((growth(&samples) - 60.0).abs() < 1.0, "{}", growth(&samples));
        assert_eq!(growth(&[]), 0.0);
    }
}

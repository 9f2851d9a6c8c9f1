//! One stretch after another: `fanout`, `many-channels`, `burst`, `follow`.

use std::{sync::Arc, time::Duration};

use super::{Load, Pace};
use crate::{
    LoadError,
    report::{Phase, Report, duration, grouped},
    session::Channels,
    tally::Spacing,
    trial::{Progress, Trial},
};

/// How much faster each step of a search is, in tenths.
const STEP_TENTHS: u64 = 16;
const STEPS_MAX: usize = 40;
/// Halvings between the last good and the first bad rate.
const HALVINGS: usize = 4;
/// Faster than any market is simulated.
const RATE_MAX: u64 = 4_000_000;
/// Between steps, so that one does not pay for the one before.
const PAUSE: Duration = Duration::from_millis(500);
const CALM: Duration = Duration::from_secs(3);
/// A saturated server delivers no more than this part more at the next rate.
const GAIN_PERCENT: f64 = 5.0;
/// The newest candle waits so long where nothing keeps up any more.
const LOST_US: u64 = 2_000_000;
/// Sets of channels in `many-channels`.
const SETS_MAX: usize = 4096;

pub(super) fn fanout(load: &Load, pace: Pace, progress: Progress<'_>) -> Result<Report, LoadError> {
    let mut trial = Trial::start("fanout", load, &[], progress)?;
    if pace != Pace::Fixed && !trial.server.is_own() {
        return Err(LoadError::NotOwn("a search for the highest rate"));
    }
    trial.may_lose = pace != Pace::Fixed;
    let group = trial.swarm.group(trial.spacing())?;
    let channels = load.same();
    trial.fill(group, load.connections, |_| Arc::clone(&channels))?;
    match pace {
        Pace::Fixed => {
            trial.warm_up()?;
            let phase = trial.measure(&shape(load), group, load.time(), |_, _| Ok(()))?;
            trial.report.phases.push(phase);
        }
        Pace::Saturate => saturate(&mut trial, load, group)?,
        Pace::Ramp { p99_us } => ramp(&mut trial, load, group, p99_us)?,
    }
    finish(trial, group)
}

pub(super) fn many_channels(load: &Load, progress: Progress<'_>) -> Result<Report, LoadError> {
    let mut trial = Trial::start("many-channels", load, &[], progress)?;
    let group = trial.swarm.group(trial.spacing())?;
    // Steps that share no factor with the number of channels reach every first channel.
    let sets: Vec<_> = (0..load.connections.min(SETS_MAX)).map(|at| load.set(at * 7, load.channels, 1)).collect();
    trial
        .fill(group, load.connections, |at| sets.get(at % sets.len().max(1)).map_or_else(|| load.same(), Arc::clone))?;
    trial.warm_up()?;
    let phase = trial.measure(&shape(load), group, load.time(), |_, _| Ok(()))?;
    trial.report.phases.push(phase);
    finish(trial, group)
}

pub(super) fn burst(load: &Load, progress: Progress<'_>) -> Result<Report, LoadError> {
    let mut trial = Trial::start("burst", load, &["--profile".to_owned(), "recorded".to_owned()], progress)?;
    // Recorded trades have no fixed distance: those of the `trades` channels are counted one by one.
    trial.rate = None;
    let group = trial.swarm.group(Spacing::Free)?;
    let channels = load.same();
    trial.fill(group, load.connections, |_| Arc::clone(&channels))?;
    // The loudest second of the recording is near its start: sessions are open before it comes round.
    trial.server.set_profile("recorded")?;
    let phase = trial.measure(&shape(load), group, load.time(), |_, _| Ok(()))?;
    trial.report.phases.push(phase);
    finish(trial, group)
}

pub(super) fn follow(load: &Load, names: &[String], progress: Progress<'_>) -> Result<Report, LoadError> {
    let mut trial = Trial::start("follow", load, &[], progress)?;
    let group = trial.swarm.group(Spacing::Free)?;
    let channels = Channels::new(names.iter().cloned(), super::SNAPSHOT);
    trial.fill(group, load.connections, |_| Arc::clone(&channels))?;
    let name = format!("{} x {} channels", load.connections, names.len());
    let phase = trial.measure(&name, group, load.time(), |_, _| Ok(()))?;
    trial.report.phases.push(phase);
    finish(trial, group)
}

fn shape(load: &Load) -> String {
    format!("{} x {} channels", load.connections, load.channels)
}

fn finish(mut trial: Trial<'_>, group: usize) -> Result<Report, LoadError> {
    trial.check_candles()?;
    trial.check_group("sessions", group);
    Ok(trial.report)
}

/// One step of a search.
fn step(trial: &mut Trial<'_>, load: &Load, group: usize, rate: u64) -> Result<Phase, LoadError> {
    trial.set_rate(100)?;
    trial.turn_for("between steps", PAUSE, |_, _| Ok(()))?;
    trial.set_rate(u32::try_from(rate).unwrap_or(u32::MAX))?;
    trial.warm_up()?;
    let name = format!("{} at {}/s", shape(load), grouped(rate as f64));
    let phase = trial.measure(&name, group, load.time(), |_, _| Ok(()))?;
    trial.report.phases.push(phase.clone());
    Ok(phase)
}

/// Lets a market that fell behind catch up: candles that closed without their last trades are corrected until then.
fn calm_down(trial: &mut Trial<'_>) -> Result<(), LoadError> {
    trial.set_rate(100)?;
    trial.turn_for("calming down", CALM, |_, _| Ok(()))
}

fn saturate(trial: &mut Trial<'_>, load: &Load, group: usize) -> Result<(), LoadError> {
    let (mut rate, mut best) = (u64::from(load.rate.max(1)), 0.0_f64);
    for _ in 0..STEPS_MAX {
        let phase = step(trial, load, group, rate)?;
        let has_gained = phase.events_per_second > best * (1.0 + GAIN_PERCENT / 100.0);
        best = best.max(phase.events_per_second);
        if !has_gained || phase.latency_us.p50 > LOST_US || rate >= RATE_MAX {
            break;
        }
        rate = (rate * 2).min(RATE_MAX);
    }
    calm_down(trial)?;
    trial.report.number("events_per_second_max", best);
    Ok(())
}

/// Whether a step kept within the bound: few records mean that the newest trades did not come at all.
fn is_within(phase: &Phase, load: &Load, p99_us: u64) -> bool {
    let rate = f64::from(phase.rate.unwrap_or(0)) / f64::from(load.symbols.max(1));
    let due = rate * phase.seconds * (load.channels * load.connections) as f64;
    phase.latency_us.count as f64 > due / 2.0 && phase.latency_us.p99 <= p99_us
}

fn ramp(trial: &mut Trial<'_>, load: &Load, group: usize, p99_us: u64) -> Result<(), LoadError> {
    let (mut good, mut bad) = (0, None);
    let mut rate = u64::from(load.rate.max(1));
    for _ in 0..STEPS_MAX {
        if !is_within(&step(trial, load, group, rate)?, load, p99_us) {
            bad = Some(rate);
            break;
        }
        good = rate;
        if rate >= RATE_MAX {
            break;
        }
        rate = (rate * STEP_TENTHS / 10).clamp(rate + 1, RATE_MAX);
    }
    for _ in 0..HALVINGS {
        let Some(above) = bad.filter(|above| *above > good + 1) else { break };
        let middle = (good + above) / 2;
        if is_within(&step(trial, load, group, middle)?, load, p99_us) { good = middle } else { bad = Some(middle) }
    }
    calm_down(trial)?;
    trial.report.number("trades_per_second_max", good as f64);
    let found = format!("{} trades/s with p99 up to {}", grouped(good as f64), duration(p99_us));
    trial.report.check("a rate keeps within the bound", good > 0, found);
    Ok(())
}

//! `slow`: a tenth of the sessions stops reading. Their states are conflated, then a `gap` tells what they lost, then
//! they are closed with 4408; nobody else notices.

use std::{sync::Arc, time::Duration};

use super::Load;
use crate::{
    LoadError,
    report::Report,
    swarm::Manner,
    trial::{Progress, Trial},
};

/// One of so many is slow.
const SLOW_ONE_IN: usize = 10;
/// What may wait for one session in a server of our own: little, so that it is full soon.
const OUTBOX_BYTES: u64 = 64 * 1024;
/// And little in the kernel, on both sides.
const RECEIVE_BYTES: usize = 4096;
const SEND_BUFFER_BYTES: u64 = 32 * 1024;
/// How long they read again after the first stop, to be told what they missed.
const RELIEF: Duration = Duration::from_millis(1_500);
/// After the deadline the server looks within a second, and keeps the socket for five: they read in between.
const AFTER_DEADLINE: Duration = Duration::from_millis(1_500);
/// How often they try to be closed.
const TRIES: u32 = 2;
/// What a slow session may cost beyond its outbox: a chunk on its way, its tables, what the allocator keeps.
const OVERHEAD_BYTES: u64 = 256 * 1024;
const SLACK_BYTES: u64 = 32 << 20;

/// When slow sessions read and when they do not.
struct Moods {
    deadline: Duration,
}

impl Moods {
    /// A stop that ends before the deadline, and a rest.
    fn first(&self) -> Duration {
        self.deadline.mul_f64(0.75)
    }

    /// A stop beyond the deadline.
    fn again(&self) -> Duration {
        self.deadline + AFTER_DEADLINE
    }

    fn total(&self) -> Duration {
        self.first() + RELIEF + (self.again() + Duration::from_millis(500)) * TRIES
    }

    /// Whether they read at that time.
    fn is_reading(&self, passed: Duration) -> bool {
        let Some(rest) = passed.checked_sub(self.first()) else { return false };
        let Some(rest) = rest.checked_sub(RELIEF) else { return true };
        let round = self.again() + Duration::from_millis(500);
        let within = Duration::from_nanos((rest.as_nanos() % round.as_nanos().max(1)) as u64);
        within >= self.again()
    }
}

pub(super) fn run(
    load: &Load,
    ratio_percent: u64,
    deadline_ms: u64,
    progress: Progress<'_>,
) -> Result<Report, LoadError> {
    let arguments = [
        ("--outbox-bytes", OUTBOX_BYTES),
        ("--send-buffer-bytes", SEND_BUFFER_BYTES),
        ("--write-deadline-ms", deadline_ms),
    ];
    let arguments: Vec<_> =
        arguments.iter().flat_map(|(name, value)| [(*name).to_owned(), value.to_string()]).collect();
    let mut trial = Trial::start("slow", load, &arguments, progress)?;
    let healthy = trial.swarm.group(trial.spacing())?;
    let slow = trial.swarm.group(trial.spacing())?;
    let channels = load.same();
    let count = (load.connections / SLOW_ONE_IN).max(1);
    trial.fill(healthy, load.connections - count, |_| Arc::clone(&channels))?;
    trial.warm_up()?;
    let moods = Moods { deadline: Duration::from_millis(deadline_ms) };
    let without = trial.measure("without slow ones", healthy, load.time(), |_, _| Ok(()))?;
    let before = trial.server.usage();
    for _ in 0..count {
        trial.swarm.open(slow, &channels, Manner { receive_bytes: Some(RECEIVE_BYTES), ..Manner::default() });
    }
    trial.settle(count)?;
    let time = load.time().max(moods.total());
    let (mut peak, mut next) = (0, Duration::ZERO);
    let with =
        trial.measure(&format!("{count} of {} read nothing", load.connections), healthy, time, |trial, passed| {
            let is_over =
                trial.swarm.tally(slow).is_some_and(|tally| tally.closes.values().sum::<u64>() == count as u64);
            trial.swarm.set_reading(slow, is_over || moods.is_reading(passed));
            if passed >= next {
                next = passed + Duration::from_millis(200);
                peak = peak.max(trial.server.usage().map_or(0, |usage| usage.private_bytes));
            }
            Ok(())
        })?;
    let (p99_with, p99_without) = (with.latency_us.p99.max(1), without.latency_us.p99.max(1));
    trial.report.phases.extend([without, with]);
    let ratio = p99_with * 100 / p99_without;
    trial.report.number("p99_ratio", ratio as f64 / 100.0);
    let found = format!("{:.2} times, with {p99_with} µs, without {p99_without} µs", ratio as f64 / 100.0);
    trial.report.check("the p99 of the others stays", ratio <= ratio_percent, found);
    if let Some(before) = before {
        let bound = count as u64 * (2 * OUTBOX_BYTES + OVERHEAD_BYTES) + SLACK_BYTES;
        let grown = peak.saturating_sub(before.private_bytes);
        trial.report.number("memory_growth_peak_bytes", grown as f64);
        trial.report.check("memory is bounded", grown <= bound, format!("{grown} of {bound} bytes at the peak"));
    }
    trial.check_candles()?;
    trial.check_group("the others", healthy);
    let Some((counts, closes)) = trial.swarm.tally(slow).map(|tally| (tally.counts, tally.closes.clone())) else {
        return Ok(trial.report);
    };
    let closed = closes.get(&4408).copied().unwrap_or(0);
    trial.report.number("slow_conflated", counts.skipped as f64);
    trial.report.number("slow_gaps", counts.gaps as f64);
    trial.report.number("slow_lost", counts.lost as f64);
    trial.report.number("slow_closed_4408", closed as f64);
    trial.report.check("slow ones: states are conflated", counts.skipped > 0, format!("{} skipped", counts.skipped));
    trial.report.check(
        "slow ones: a gap tells of the loss",
        counts.gaps > 0,
        format!("{} gaps, {} lost", counts.gaps, counts.lost),
    );
    trial.report.check("slow ones: no number is missing untold", counts.holes == 0, format!("{}", counts.holes));
    let found = format!("{closed} of {count} with 4408; all closes {closes:?}");
    trial.report.check("slow ones: closed with 4408", closed == count as u64, found);
    Ok(trial.report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_sessions_read_once_before_the_deadline_and_once_after() {
        let moods = Moods { deadline: Duration::from_secs(4) };
        let read = |ms| moods.is_reading(Duration::from_millis(ms));
        assert!(!read(0) && !read(2_900) && read(3_100) && read(4_400));
        assert!(!read(4_600) && !read(9_900), "longer than the deadline");
        assert!(read(10_100) && !read(10_600));
        assert!(moods.total() < Duration::from_secs(30));
    }
}

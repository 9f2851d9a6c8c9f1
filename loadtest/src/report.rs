//! What a run found: phases with numbers, checks with a sentence each; as a table and as JSON.

use std::{collections::BTreeMap, fmt};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{process::Usage, tally::Counts};

/// The percentiles of a curve: a tenth of the way to the next nine each, up to five nines.
const NINES: u32 = 5;

/// Microseconds at the usual quantiles.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// How many were recorded.
    pub count: u64,
    /// Half were quicker.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// The slowest.
    pub max: u64,
}

impl Latency {
    /// Of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        let (p50, p90, p99, p999) = (at(0.5), at(0.9), at(0.99), at(0.999));
        Self { count: histogram.len(), p50, p90, p99, p999, max: histogram.max() }
    }
}

/// A stretch of time in which one thing was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Phase {
    /// What was done.
    pub name: String,
    /// For how long.
    pub seconds: f64,
    /// Trades a second that the market was told to make; none if it was not ours.
    pub rate: Option<u32>,
    /// Sessions that were live.
    pub sessions: usize,
    /// What the measured sessions saw.
    pub counts: Counts,
    /// Events a second.
    pub events_per_second: f64,
    /// From when a trade was due to its receipt.
    pub latency_us: Latency,
    /// `(percentile, microseconds)`.
    pub curve: Vec<(f64, u64)>,
    /// The server at the end.
    pub server: Option<Usage>,
    /// Processors that the server kept busy.
    pub server_cores: Option<f64>,
    /// Microseconds of the server's processor time per event that any session received.
    pub server_us_per_event: Option<f64>,
    /// Processors that this client kept busy: near one, the client is measured and not the server.
    pub client_cores: Option<f64>,
}

/// The points of a latency plot.
pub fn curve(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    let steps = (0..=10 * NINES).map(|step| 1.0 - 0.1_f64.powf(f64::from(step) / 10.0));
    let enough = 1.0 - 1.0 / (histogram.len().max(1) as f64);
    let quantiles = steps.take_while(|quantile| *quantile <= enough);
    quantiles.map(|quantile| (quantile * 100.0, histogram.value_at_quantile(quantile))).collect()
}

/// Something that must hold.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Its name.
    pub name: String,
    /// Whether it held.
    pub ok: bool,
    /// What was found, in a sentence.
    pub found: String,
}

/// A whole run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Which scenario.
    pub scenario: String,
    /// Its settings.
    pub settings: serde_json::Value,
    /// What was measured.
    pub phases: Vec<Phase>,
    /// What must hold.
    pub checks: Vec<Check>,
    /// Numbers of this scenario alone.
    pub numbers: BTreeMap<String, f64>,
}

impl Report {
    /// Adds a check.
    pub fn check(&mut self, name: &str, ok: bool, found: impl Into<String>) {
        self.checks.push(Check { name: name.to_owned(), ok, found: found.into() });
    }

    /// Adds a number.
    pub fn number(&mut self, name: &str, value: f64) {
        self.numbers.insert(name.to_owned(), value);
    }

    /// The checks that failed, as one sentence; nothing if all held.
    pub fn failure(&self) -> Option<String> {
        let failed: Vec<_> = self.checks.iter().filter(|check| !check.ok).collect();
        let text = |check: &&Check| format!("{}: {}", check.name, check.found);
        (!failed.is_empty()).then(|| failed.iter().map(text).collect::<Vec<_>>().join("; "))
    }
}

/// Microseconds as people read them.
pub fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..100_000 => format!("{:.2} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// A number in groups of three digits.
pub fn grouped(value: f64) -> String {
    if value.abs() < 100.0 && value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !out.ends_with('-') {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.phases.iter().map(|phase| phase.name.chars().count()).max().unwrap_or(0).max(8);
        writeln!(
            f,
            "{:<width$} {:>8} {:>9} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
            self.scenario,
            "sessions",
            "trades/s",
            "events/s",
            "ev/read",
            "p50",
            "p90",
            "p99",
            "p99.9",
            "max",
            "µs/event",
            "client"
        )?;
        for phase in &self.phases {
            let Latency { p50, p90, p99, p999, max, count } = phase.latency_us;
            let time = |us| if count == 0 { "-".to_owned() } else { duration(us) };
            let rate = phase.rate.map_or_else(|| "-".to_owned(), |rate| grouped(f64::from(rate)));
            let per_read = phase.counts.events as f64 / phase.counts.reads.max(1) as f64;
            let share = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
            writeln!(
                f,
                "{:<width$} {:>8} {rate:>9} {:>11} {per_read:>9.1} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7}",
                phase.name,
                phase.sessions,
                grouped(phase.events_per_second),
                time(p50),
                time(p90),
                time(p99),
                time(p999),
                time(max),
                share(phase.server_us_per_event),
                share(phase.client_cores),
            )?;
        }
        for (name, value) in &self.numbers {
            writeln!(f, "{:<44} {:>14}", name.replace('_', " "), grouped(*value))?;
        }
        for check in &self.checks {
            writeln!(f, "{} {}: {}", if check.ok { "ok  " } else { "FAIL" }, check.name, check.found)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!(
            [grouped(1_234_567.4), grouped(-1_234.0), grouped(0.0), grouped(1.256)],
            ["1 234 567", "-1 234", "0", "1.26"]
        );
        assert_eq!(
            [duration(7), duration(1_500), duration(250_000), duration(2_000_000)],
            ["7 µs", "1.50 ms", "250 ms", "2.00 s"]
        );
    }

    #[test]
    fn a_curve_rises_and_stops_where_there_are_too_few_values() {
        let mut histogram = Histogram::new(3).unwrap();
        (1..=1_000).for_each(|value| histogram.record(value).unwrap());
        let curve = curve(&histogram);
        assert!(curve.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        let last = curve.last().unwrap();
        assert!((99.0..=99.91).contains(&last.0), "{last:?}");
    }

    #[test]
    fn only_failed_checks_are_told_at_the_end() {
        let mut report = Report::default();
        report.check("holes", true, "none");
        assert_eq!(report.failure(), None);
        report.check("memory", false, "it grew");
        assert_eq!(report.failure().as_deref(), Some("memory: it grew"));
    }
}

//! What our server must reach: ratios from one run, never absolute numbers.

use anyhow::Context;

use bench::spread::Spread;

use crate::{
    peer::KANDLE,
    plan::Bench,
    sample::Sample,
    shape::{Pace, Shape},
};

/// The shapes that are judged.
pub(crate) const SHAPES: &[&str] = &["W1", "W8", "W64", "B10", "B50"];
/// The least deliveries a second, as a share of those of another server, by shape.
const OF_RAW: [f64; 5] = [0.85, 0.9, 1.0, 0.9, 1.0];
const OF_UWS: [f64; 5] = [0.95, 0.95, 1.0, 0.95, 1.5];
const OF_CENTRIFUGE: [f64; 5] = [1.8, 3.0, 3.7, 3.5, 7.5];
/// The rate at which processor time is compared.
const CPU_RATE: f64 = 500_000.0;
const CPU_OF_RAW_MAX: f64 = 1.0;
const P99_OF_RAW_MAX: f64 = 1.25;
/// Bytes of an idle session with so many channels.
const IDLE_BYTES_MAX: [(usize, f64); 2] = [(1, 1500.0), (50, 3000.0)];
/// A busy machine is not the server's fault: a check asks for this share of a budget.
const CHECK: f64 = 0.75;

/// One budget and what came of it.
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) must: String,
    pub(crate) is: Spread,
    pub(crate) is_met: bool,
}

impl Verdict {
    fn least(what: String, must: f64, is: Spread) -> Self {
        Self { what, must: format!("≥ {must}"), is, is_met: is.median >= must }
    }

    fn most(what: String, must: f64, is: Spread) -> Self {
        Self { what, must: format!("≤ {must}"), is, is_met: is.median <= must }
    }
}

/// Every budget that this run has numbers for.
pub(crate) fn verdicts(bench: &Bench) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (name, must) in SHAPES.iter().zip(OF_RAW) {
        let is = name.parse().ok().and_then(|shape| Spread::of(ratios(bench, KANDLE, &shape)));
        verdicts.extend(is.map(|is| Verdict::least(format!("{name} against raw"), must, is)));
    }
    for (name, must) in SHAPES.iter().zip(OF_UWS) {
        let is = against(bench, &["uws"], name);
        verdicts.extend(is.map(|is| Verdict::least(format!("{name} against uWebSockets, deferred"), must, is)));
    }
    for (name, must) in SHAPES.iter().zip(OF_CENTRIFUGE) {
        let is = against(bench, &["centrifuge", "centrifuge-1ms"], name);
        verdicts.extend(is.map(|is| Verdict::least(format!("{name} against Centrifuge, better setting"), must, is)));
    }
    let mut open: Vec<Shape> = Vec::new();
    for record in &bench.records {
        if matches!(record.shape.pace, Pace::Open(_)) && !open.contains(&record.shape) {
            open.push(record.shape);
        }
    }
    for shape in open {
        let ratio = |quantity: fn(&Sample) -> f64| {
            Spread::of(bench.trials(KANDLE, &shape).into_iter().map(|(_, trial)| trial.ratio(quantity)))
        };
        if shape.pace == Pace::Open(CPU_RATE) {
            let is = ratio(|sample| sample.server_ns_per_delivery);
            verdicts
                .extend(is.map(|is| Verdict::most(format!("server CPU, {shape}, against raw"), CPU_OF_RAW_MAX, is)));
        } else {
            let is = ratio(|sample| sample.latency_ns[1] as f64);
            verdicts.extend(is.map(|is| Verdict::most(format!("p99, {shape}, against raw"), P99_OF_RAW_MAX, is)));
        }
    }
    for (channels, must) in IDLE_BYTES_MAX {
        for idle in bench.idle.iter().filter(|idle| idle.server == KANDLE && idle.channels == channels) {
            let is = idle.bytes_per_session.as_ref().ok().and_then(|bytes| Spread::of([*bytes]));
            let what = format!("bytes per idle session, {} sessions × {channels}", idle.sessions);
            verdicts.extend(is.map(|is| Verdict::most(what, must, is)));
        }
    }
    verdicts
}

/// Whether a short check of a busy machine passes: everything came, and no ratio is far below its budget.
pub(crate) fn is_checked(bench: &Bench) -> bool {
    let mut is_checked = true;
    for record in &bench.records {
        match &record.trial {
            Ok(trial) if trial.sample.is_valid() => {}
            Ok(trial) => {
                eprintln!("{} on {}: {:?}", record.server, record.shape, trial.sample);
                is_checked = false;
            }
            Err(error) => {
                eprintln!("{} on {}: {error}", record.server, record.shape);
                is_checked = false;
            }
        }
    }
    for (name, must) in SHAPES.iter().zip(OF_RAW) {
        let Some(is) = name.parse().ok().and_then(|shape| Spread::of(ratios(bench, KANDLE, &shape))) else { continue };
        if is.median < must * CHECK {
            eprintln!("{name}: {:.2} of raw, below {:.2}", is.median, must * CHECK);
            is_checked = false;
        }
    }
    is_checked
}

/// Deliveries a second of the open shapes: the rate for processor time, a quarter and half of what raw did on B10.
pub(crate) fn rates(bench: &Bench) -> anyhow::Result<[f64; 3]> {
    let raw =
        Spread::of(bench.raw(&"B10".parse()?, |sample| sample.deliveries_per_s)).context("raw was not measured")?;
    // Whole thousands, so that the name of a shape tells all of it.
    let share = |of: f64| (raw.median * of / 1e3).round() * 1e3;
    Ok([CPU_RATE, share(0.25), share(0.5)])
}

fn ratios(bench: &Bench, server: &str, shape: &Shape) -> Vec<f64> {
    let trials = bench.trials(server, shape).into_iter();
    trials.map(|(_, trial)| trial.ratio(|sample| sample.deliveries_per_s)).collect()
}

/// Ours against the best of these, round by round, each by its own ratio to raw.
fn against(bench: &Bench, others: &[&'static str], shape: &str) -> Option<Spread> {
    let shape = shape.parse().ok()?;
    let rate = |sample: &Sample| sample.deliveries_per_s;
    let of = |other: &&'static str| Some((*other, Spread::of(ratios(bench, other, &shape))?.median));
    let (best, _) = others.iter().filter_map(of).max_by(|a, b| a.1.total_cmp(&b.1))?;
    let ours = bench.trials(KANDLE, &shape);
    let pairs = bench.trials(best, &shape).into_iter().filter_map(|(round, other)| {
        let (_, our) = ours.iter().find(|(at, _)| *at == round)?;
        Some(our.ratio(rate) / other.ratio(rate))
    });
    Spread::of(pairs)
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use super::*;
    use crate::{
        load::Span,
        peer::Peers,
        plan::{Record, Trial},
    };

    fn bench(runs: &[(&'static str, &str, Sample)]) -> Bench {
        let peers = Peers { folder: PathBuf::new(), sources: PathBuf::new(), backend: None };
        let span = Span { warm_up: Duration::ZERO, measured: Duration::ZERO };
        let mut bench = Bench::new(peers, Vec::new(), span, 1);
        for (server, shape, sample) in runs {
            let raw = share(1.0);
            let trial = Ok(Trial { before: raw, sample: *sample, after: raw });
            bench.records.push(Record { server, shape: shape.parse().unwrap(), round: 0, trial });
        }
        bench
    }

    /// A run at this share of raw's rate.
    fn share(of: f64) -> Sample {
        Sample { deliveries_per_s: of * 1_200_000.0, ..Sample::default() }
    }

    #[test]
    fn a_check_fails_below_three_quarters_of_a_budget_or_when_an_event_is_lost() {
        assert!(is_checked(&bench(&[(KANDLE, "W1", share(0.64)), (KANDLE, "W64", share(0.76))])));
        assert!(!is_checked(&bench(&[(KANDLE, "W1", share(0.63))])));
        assert!(!is_checked(&bench(&[(KANDLE, "W1", Sample { lost: 1, ..share(1.0) })])));
        let mut failed = bench(&[(KANDLE, "W1", share(1.0))]);
        failed.records[0].trial = Err("did not start".to_owned());
        assert!(!is_checked(&failed));
    }

    #[test]
    fn ours_is_judged_against_the_better_setting_of_a_peer() {
        let runs =
            [(KANDLE, "W8", share(0.96)), ("centrifuge", "W8", share(0.2)), ("centrifuge-1ms", "W8", share(0.3))];
        let verdicts = verdicts(&bench(&runs));
        let found: Vec<_> =
            verdicts.iter().map(|verdict| ((verdict.is.median * 100.0).round() as u32, verdict.is_met)).collect();
        assert_eq!(found, [(96, true), (320, true)]);
    }

    #[test]
    fn rates_are_shares_of_what_raw_did() {
        let bench = bench(&[(KANDLE, "B10", share(1.0))]);
        assert!(rates(&bench).is_ok_and(|rates| rates == [CPU_RATE, 300_000.0, 600_000.0]));
        assert!(rates(&self::bench(&[])).is_err());
    }
}

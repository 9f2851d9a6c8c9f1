//! Bars that any build of any machine clears: ours beside the provider alone.

use std::time::Duration;

use anyhow::ensure;

use crate::{
    load::{Sample, Span},
    plan::{self, Depth, KANDLE, Places, SHAPES},
    report::{added, spread, tables},
};

const DEPTH: Depth = Depth {
    rounds: 2,
    span: Span { warm_up: Duration::from_millis(300), measured: Duration::from_millis(800) },
    has_peers: false,
};
/// The budget is 1 ms; a check runs on busy machines and slow disks.
const ADDED_P50_MS_MAX: f64 = 5.0;
/// Of the calls and of the pieces that the provider alone gives.
const CALLS_SHARE_MIN: f64 = 0.01;
const PIECES_SHARE_MIN: f64 = 0.05;

/// Measures for less than a minute.
///
/// # Errors
/// What is under its bar.
pub(crate) async fn run(places: &Places) -> anyhow::Result<()> {
    let records = plan::run(places, DEPTH, &SHAPES).await?;
    print!("{}", tables(&records, &[], &[]));
    // One caller waits for the disk twice in a call: that is judged by its time, below.
    for shape in SHAPES.iter().filter(|shape| shape.callers > 1) {
        let (rate, bar): (fn(&Sample) -> f64, _) = if shape.ask.is_stream() {
            (|sample| sample.pieces_per_s, PIECES_SHARE_MIN)
        } else {
            (|sample| sample.calls_per_s, CALLS_SHARE_MIN)
        };
        let share = spread(&records, KANDLE, shape, |record| {
            let [before, after] = &record.direct;
            rate(&record.sample) / ((rate(before) + rate(after)) / 2.0).max(1.0)
        });
        let share = share.map_or(0.0, |share| share.median);
        ensure!(share >= bar, "{}: {share:.3} of the provider alone, and not {bar}", shape.name);
    }
    let [one, ..] = &SHAPES;
    let added = spread(&records, KANDLE, one, |record| added(record, |sample| sample.p50_us / 1e3));
    let added = added.map_or(f64::MAX, |added| added.median);
    ensure!(added <= ADDED_P50_MS_MAX, "a call takes {added:.2} ms more, and not {ADDED_P50_MS_MAX}");
    Ok(())
}

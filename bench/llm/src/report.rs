//! The tables, as Markdown.

use std::fmt::Write;

use bench::spread::Spread;

use crate::{
    engine::{Beside, Phase},
    idle::Idle,
    load::{Sample, Shape},
    peers::Peer,
    plan::{KANDLE, Record, SHAPES},
};

/// What the runs of `name` with `shape` came to.
pub(crate) fn spread(records: &[Record], name: &str, shape: &Shape, value: impl Fn(&Record) -> f64) -> Option<Spread> {
    let mine = records.iter().filter(|record| record.name == name && record.shape == *shape);
    Spread::of(mine.map(value))
}

/// A gateway's time less that of the provider alone, around it.
pub(crate) fn added(record: &Record, value: fn(&Sample) -> f64) -> f64 {
    let [before, after] = &record.direct;
    value(&record.sample) - (value(before) + value(after)) / 2.0
}

/// A value of ours over that of `name` in the same round.
pub(crate) fn ratio(records: &[Record], name: &str, shape: &Shape, value: fn(&Sample) -> f64) -> Option<Spread> {
    let of = |name: &str, round: usize| {
        let mut mine = records.iter().filter(|record| record.shape == *shape && record.round == round);
        mine.find(|record| record.name == name).map(|record| value(&record.sample))
    };
    let rounds = records.iter().map(|record| record.round).max()? + 1;
    Spread::of((0..rounds).filter_map(|round| Some(of(KANDLE, round)? / of(name, round)?.max(f64::MIN_POSITIVE))))
}

/// All that was measured.
pub(crate) fn tables(records: &[Record], idle: &[Idle], phases: &[Phase]) -> String {
    let mut out = String::new();
    if !records.is_empty() {
        wholes(&mut out, records);
        streams(&mut out, records);
        ratios(&mut out, records);
    }
    if !idle.is_empty() {
        let _ = writeln!(out, "\n### 1,000 idle streams\n");
        line(&mut out, &["gateway", "resident MB", "growth by stream, kB"]);
        rule(&mut out, 3);
        for Idle { name, resident_bytes, per_stream } in idle {
            let (all, each) = (*resident_bytes as f64 / 1e6, *per_stream as f64 / 1e3);
            line(&mut out, &[name, &format!("{all:.1}"), &format!("{each:.1}")]);
        }
    }
    if !phases.is_empty() {
        engine(&mut out, phases);
    }
    out
}

fn wholes(out: &mut String, records: &[Record]) {
    let _ = writeln!(out, "### Whole answers: median [min–max] of the rounds\n");
    let columns =
        ["", "gateway", "calls/s", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms", "CPU µs/call", "cores"];
    line(out, &columns);
    rule(out, columns.len());
    for shape in measured(records).filter(|shape| !shape.ask.is_stream()) {
        direct(out, records, shape, |sample| sample.calls_per_s);
        for name in names() {
            let show = |value: fn(&Record) -> f64, digits| shown(spread(records, name, shape, value), digits);
            let cells = [
                show(|record| record.sample.calls_per_s, 0),
                show(|record| record.sample.p50_us / 1e3, 2),
                show(|record| record.sample.p99_us / 1e3, 2),
                show(|record| added(record, |sample| sample.p50_us / 1e3), 2),
                show(|record| added(record, |sample| sample.p99_us / 1e3), 2),
                show(|record| record.sample.cpu_us, 0),
                show(|record| record.sample.cores, 2),
            ];
            row(out, shape, name, &cells, records);
        }
    }
}

fn streams(out: &mut String, records: &[Record]) {
    let _ = writeln!(out, "\n### Streams of 1,000 pieces\n");
    line(out, &["", "gateway", "pieces/s", "cores"]);
    rule(out, 4);
    for shape in measured(records).filter(|shape| shape.ask.is_stream()) {
        direct(out, records, shape, |sample| sample.pieces_per_s);
        for name in names() {
            let show = |value: fn(&Record) -> f64, digits| shown(spread(records, name, shape, value), digits);
            let cells = [show(|record| record.sample.pieces_per_s, 0), show(|record| record.sample.cores, 2)];
            row(out, shape, name, &cells, records);
        }
    }
}

/// How late trades are, and how much later than with an idle gateway.
fn engine(out: &mut String, phases: &[Phase]) {
    let _ = writeln!(out, "\n### Trades beside the gateway, in one process\n");
    let columns = ["beside", "calls/s, pieces/s", "p50 ms", "p99 ms", "p99 idle ms", "p99 / idle"];
    line(out, &columns);
    rule(out, columns.len());
    for beside in Beside::ALL {
        let of = |value: fn(&Phase) -> f64, digits| {
            shown(Spread::of(phases.iter().filter(|phase| phase.beside == beside).map(value)), digits)
        };
        let cells = [
            of(|phase| phase.rate, 0),
            of(|phase| phase.late.p50_us / 1e3, 2),
            of(|phase| phase.late.p99_us / 1e3, 2),
            of(|phase| (phase.idle[0].p99_us + phase.idle[1].p99_us) / 2e3, 2),
            of(Phase::ratio, 2),
        ];
        line(out, &[beside.name()].into_iter().chain(cells.iter().map(String::as_str)).collect::<Vec<_>>());
    }
}

fn measured(records: &[Record]) -> impl Iterator<Item = &'static Shape> {
    SHAPES.iter().filter(|shape| records.iter().any(|record| record.shape == **shape))
}

fn ratios(out: &mut String, records: &[Record]) {
    let peers: Vec<_> =
        Peer::ALL.iter().filter(|peer| records.iter().any(|record| record.name == peer.name())).collect();
    if peers.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n### kandle over the others, in the same round\n");
    let names: Vec<_> = peers.iter().map(|peer| peer.name()).collect();
    line(out, &[&["calls/s, pieces/s"], names.as_slice()].concat());
    rule(out, names.len() + 1);
    for shape in measured(records) {
        let value: fn(&Sample) -> f64 =
            if shape.ask.is_stream() { |sample| sample.pieces_per_s } else { |sample| sample.calls_per_s };
        let cells: Vec<_> = names.iter().map(|name| shown(ratio(records, name, shape, value), 2)).collect();
        let cells: Vec<_> = [shape.name].into_iter().chain(cells.iter().map(String::as_str)).collect();
        line(out, &cells);
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    [KANDLE].into_iter().chain(Peer::ALL.map(Peer::name))
}

fn direct(out: &mut String, records: &[Record], shape: &Shape, value: fn(&Sample) -> f64) {
    let direct = |value: fn(&Sample) -> f64, digits| {
        let both = records.iter().filter(|record| record.shape == *shape).flat_map(|record| &record.direct);
        shown(Spread::of(both.map(value)), digits)
    };
    let mut cells = vec![shape.name.to_owned(), "none".to_owned(), direct(value, 0)];
    if !shape.ask.is_stream() {
        cells.extend([direct(|sample| sample.p50_us / 1e3, 2), direct(|sample| sample.p99_us / 1e3, 2)]);
        cells.extend(["–"; 3].map(str::to_owned));
    }
    cells.push("–".to_owned());
    line(out, &cells.iter().map(String::as_str).collect::<Vec<_>>());
}

fn row(out: &mut String, shape: &Shape, name: &str, cells: &[String], records: &[Record]) {
    if records.iter().any(|record| record.name == name && record.shape == *shape) {
        let cells: Vec<_> = [shape.name, name].into_iter().chain(cells.iter().map(String::as_str)).collect();
        line(out, &cells);
    }
}

fn shown(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| spread.show(digits))
}

pub(crate) fn line(out: &mut String, cells: &[&str]) {
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

pub(crate) fn rule(out: &mut String, columns: usize) {
    let _ = writeln!(out, "|{}", "---|".repeat(columns));
}

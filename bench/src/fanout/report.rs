//! The tables, as Markdown.

use std::fmt::Write;

use bench::spread::Spread;

use crate::{
    budget,
    peer::{RAW, SERVERS},
    plan::{Bench, Trial},
    sample::Sample,
    shape::{Pace, Shape},
};

/// All that was measured.
pub(crate) fn tables(bench: &Bench) -> String {
    let mut out = String::new();
    let shapes = shapes(bench);
    let (closed, open): (Vec<_>, Vec<_>) = shapes.iter().partition(|shape| matches!(shape.pace, Pace::Closed(_)));
    if !closed.is_empty() {
        heading(&mut out, "Deliveries a second, as a share of raw: median [min–max]");
        ratios(&mut out, bench, &closed, |sample| sample.deliveries_per_s, short);
    }
    if !open.is_empty() {
        heading(&mut out, "Server CPU per delivery at a fixed rate, as a share of raw: median [min–max]");
        ratios(&mut out, bench, &open, |sample| sample.server_ns_per_delivery, |ns| format!("{ns:.0} ns"));
        heading(&mut out, "p99 at a fixed rate, as a share of raw: median [min–max]");
        ratios(&mut out, bench, &open, |sample| sample.latency_ns[1] as f64, |ns| format!("{:.2} ms", ns / 1e6));
    }
    if !shapes.is_empty() {
        heading(&mut out, "In detail: medians of all runs");
        details(&mut out, bench, &shapes);
    }
    if !bench.idle.is_empty() {
        heading(&mut out, "Memory per idle session, bytes (growth of resident memory of the server)");
        idle(&mut out, bench);
    }
    let verdicts = budget::verdicts(bench);
    if !verdicts.is_empty() {
        heading(&mut out, "Budgets of kandle");
        line(&mut out, &["what", "must", "is", ""].map(str::to_owned));
        rule(&mut out, 4);
        for verdict in verdicts {
            let mark = if verdict.is_met { "met" } else { "**missed**" }.to_owned();
            line(&mut out, &[verdict.what, verdict.must, spread(verdict.is), mark]);
        }
    }
    notes(&mut out, bench);
    out
}

/// In the order of their first run.
fn shapes(bench: &Bench) -> Vec<Shape> {
    let mut shapes = Vec::new();
    for record in &bench.records {
        if !shapes.contains(&record.shape) {
            shapes.push(record.shape);
        }
    }
    shapes
}

/// Ratios of a quantity; raw itself is shown as `show` writes it.
fn ratios(out: &mut String, bench: &Bench, shapes: &[&Shape], quantity: fn(&Sample) -> f64, show: fn(f64) -> String) {
    let names = shapes.iter().map(ToString::to_string);
    line(out, &["server".to_owned()].into_iter().chain(names).collect::<Vec<_>>());
    rule(out, shapes.len() + 1);
    let raw = shapes.iter().map(|shape| {
        Spread::of(bench.raw(shape, quantity)).map_or_else(String::new, |raw| format!("1 = {}", show(raw.median)))
    });
    line(out, &[RAW.to_owned()].into_iter().chain(raw).collect::<Vec<_>>());
    for server in SERVERS.iter().filter(|server| bench.records.iter().any(|record| record.server == server.name)) {
        let cells = shapes.iter().map(|shape| {
            let trials = bench.trials(server.name, shape);
            let is_valid = trials.iter().all(|(_, trial)| trial.sample.is_valid());
            let Some(is) = Spread::of(trials.iter().map(|(_, trial)| trial.ratio(quantity))) else {
                return "–".to_owned();
            };
            if is_valid { spread(is) } else { format!("{} (!)", spread(is)) }
        });
        line(out, &[server.name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>());
    }
}

fn details(out: &mut String, bench: &Bench, shapes: &[Shape]) {
    let columns = [
        "shape",
        "server",
        "deliveries/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "server ns/delivery",
        "server CPU",
        "frames/read",
        "bytes/delivery",
        "client CPU",
        "foreign CPU",
        "lost",
        "disordered",
        "closed",
    ];
    line(out, &columns.map(str::to_owned));
    rule(out, columns.len());
    for shape in shapes {
        for server in SERVERS {
            let samples: Vec<&Sample> = if server.name == RAW {
                let trials = bench.records.iter().filter(|record| record.shape == *shape);
                let trials = trials.filter_map(|record| record.trial.as_ref().ok());
                trials.flat_map(|trial: &Trial| [&trial.before, &trial.after]).collect()
            } else {
                bench.trials(server.name, shape).into_iter().map(|(_, trial)| &trial.sample).collect()
            };
            if !samples.is_empty() {
                line(out, &detail(shape, server.name, &samples));
            }
        }
    }
}

fn detail(shape: &Shape, server: &str, samples: &[&Sample]) -> Vec<String> {
    let median = |quantity: fn(&Sample) -> f64| {
        Spread::of(samples.iter().map(|sample| quantity(sample))).map_or(0.0, |spread| spread.median)
    };
    let sum = |quantity: fn(&Sample) -> u64| samples.iter().map(|sample| quantity(sample)).sum::<u64>().to_string();
    vec![
        shape.to_string(),
        server.to_owned(),
        short(median(|sample| sample.deliveries_per_s)),
        format!("{:.2}", median(|sample| sample.latency_ns[0] as f64 / 1e6)),
        format!("{:.2}", median(|sample| sample.latency_ns[1] as f64 / 1e6)),
        format!("{:.2}", median(|sample| sample.latency_ns[2] as f64 / 1e6)),
        format!("{:.0}", median(|sample| sample.server_ns_per_delivery)),
        format!("{:.2}", median(|sample| sample.server_cpu)),
        format!("{:.1}", median(|sample| sample.frames_per_read)),
        format!("{:.0}", median(|sample| sample.bytes_per_delivery)),
        format!("{:.2}", median(|sample| sample.client_cpu)),
        format!("{:.2}", median(|sample| sample.foreign_cpu)),
        sum(|sample| sample.lost),
        sum(|sample| sample.disordered),
        sum(|sample| sample.closed),
    ]
}

fn idle(out: &mut String, bench: &Bench) {
    let mut sizes = Vec::new();
    for idle in &bench.idle {
        if !sizes.contains(&(idle.sessions, idle.channels)) {
            sizes.push((idle.sessions, idle.channels));
        }
    }
    let names = sizes.iter().map(|(sessions, channels)| format!("{sessions} × {channels}"));
    line(out, &["server".to_owned()].into_iter().chain(names).collect::<Vec<_>>());
    rule(out, sizes.len() + 1);
    for server in SERVERS {
        let cells: Vec<_> = sizes
            .iter()
            .map(|size| {
                let is =
                    |idle: &&crate::plan::Idle| idle.server == server.name && (idle.sessions, idle.channels) == *size;
                let bytes = bench.idle.iter().find(is).and_then(|idle| idle.bytes_per_session.as_ref().ok());
                bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.0}"))
            })
            .collect();
        if cells.iter().any(|cell| cell != "–") {
            line(out, &[server.name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>());
        }
    }
}

/// What the names mean, and what did not go as it should.
fn notes(out: &mut String, bench: &Bench) {
    out.push('\n');
    for server in SERVERS {
        if server.name == RAW || bench.servers.iter().any(|chosen| chosen.name == server.name) {
            let _ = writeln!(out, "- {}: {}", server.name, server.about);
        }
    }
    for record in &bench.records {
        if let Err(error) = &record.trial {
            let _ = writeln!(out, "- no result of {} on {}: {error}", record.server, record.shape);
        }
    }
    for idle in &bench.idle {
        if let Err(error) = &idle.bytes_per_session {
            let _ = writeln!(out, "- no memory of {} with {} × {}: {error}", idle.server, idle.sessions, idle.channels);
        }
    }
    if bench.unsteady > 0 {
        let _ = writeln!(out, "- {} brackets stayed unsteady: their raw runs differ by more than 25 %", bench.unsteady);
    }
}

fn heading(out: &mut String, text: &str) {
    let gap = if out.is_empty() { "" } else { "\n" };
    let _ = writeln!(out, "{gap}### {text}\n");
}

fn line(out: &mut String, cells: &[String]) {
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn rule(out: &mut String, columns: usize) {
    let _ = writeln!(out, "|{}", "---|".repeat(columns));
}

fn spread(spread: Spread) -> String {
    spread.show(if spread.median >= 100.0 { 0 } else { 2 })
}

/// Three digits and a unit.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 1e4 => format!("{:.0} k", value / 1e3),
        value => format!("{value:.0}"),
    }
}

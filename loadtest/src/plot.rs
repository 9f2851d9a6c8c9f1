//! Latency by percentile as an SVG: one curve per phase, both axes logarithmic, so that the tail is as wide as the rest.

use std::fmt::Write;

use crate::report::{Phase, Report, duration};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 540.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 36.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 64.0;
/// How wide the names of the phases are.
const LEGEND: f64 = 380.0;
/// Colours that are told apart by most eyes, also by those that see red and green alike.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5b5b5b"];
/// Percentiles that are named on the axis.
const TICKS: [f64; 6] = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99];

/// The place of values on the page.
struct Scale {
    /// Logarithms of the lowest and highest microseconds.
    low: f64,
    high: f64,
    nines: f64,
}

impl Scale {
    fn of(phases: &[&Phase]) -> Self {
        let points = || phases.iter().flat_map(|phase| &phase.curve);
        let lowest = points().map(|(_, us)| *us).min().unwrap_or(1).max(1) as f64;
        let highest = points().map(|(_, us)| *us).max().unwrap_or(10).max(2) as f64;
        let nines = points().map(|(percentile, _)| nines(*percentile)).fold(1.0, f64::max);
        Self { low: lowest.log10().floor(), high: (highest.log10() + 0.02).ceil(), nines: nines.max(2.0) }
    }

    fn x(&self, percentile: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * nines(percentile) / self.nines
    }

    fn y(&self, us: f64) -> f64 {
        let share = (us.max(1.0).log10() - self.low) / (self.high - self.low).max(1.0);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    }
}

/// 0 for 0 %, 1 for 90 %, 2 for 99 %.
fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).max(1e-9).log10()
}

/// The picture of a report.
pub fn svg(report: &Report) -> String {
    let phases: Vec<_> = report.phases.iter().filter(|phase| phase.curve.len() > 1).collect();
    let scale = Scale::of(&phases);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, report, &phases, &scale);
    out
}

fn write(out: &mut String, report: &Report, phases: &[&Phase], scale: &Scale) -> std::fmt::Result {
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="Inter, Helvetica, Arial, sans-serif" font-size="13" fill="#333">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
<text x="{LEFT}" y="34" font-size="20" font-weight="600" fill="#111">kandle loadtest {}</text>
<text x="{LEFT}" y="56" fill="#777">from when a trade was due to when a client had read it, by percentile</text>"##,
        escape(&report.scenario)
    )?;
    grid(out, scale)?;
    for (phase, colour) in phases.iter().zip(COLOURS.iter().cycle()) {
        let points: Vec<_> = phase
            .curve
            .iter()
            .map(|(percentile, us)| format!("{:.1},{:.1}", scale.x(*percentile), scale.y(*us as f64)))
            .collect();
        writeln!(
            out,
            r##"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-linejoin="round" stroke-linecap="round"/>"##,
            points.join(" ")
        )?;
    }
    legend(out, phases)?;
    writeln!(out, "</svg>")
}

fn grid(out: &mut String, scale: &Scale) -> std::fmt::Result {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut exponent = scale.low;
    while exponent <= scale.high {
        let us = 10_f64.powf(exponent);
        let y = scale.y(us);
        writeln!(out, r##"<line x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}" stroke="#ddd"/>"##)?;
        let label = duration(us as u64).replace(".00", "");
        writeln!(
            out,
            r##"<text x="{}" y="{:.1}" text-anchor="end" fill="#666">{label}</text>"##,
            LEFT - 10.0,
            y + 4.5
        )?;
        if exponent < scale.high {
            for part in 2..10 {
                let y = scale.y(us * f64::from(part));
                writeln!(out, r##"<line x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}" stroke="#f4f4f4"/>"##)?;
            }
        }
        exponent += 1.0;
    }
    for tick in TICKS.iter().filter(|tick| nines(**tick) <= scale.nines + 1e-6) {
        let x = scale.x(*tick);
        writeln!(out, r##"<line x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{bottom}" stroke="#e4e4e4"/>"##)?;
        writeln!(out, r##"<text x="{x:.1}" y="{}" text-anchor="middle" fill="#666">{tick}%</text>"##, bottom + 22.0)?;
    }
    writeln!(
        out,
        r##"<text x="{}" y="{}" text-anchor="middle" fill="#777">percentile</text>"##,
        (LEFT + right) / 2.0,
        bottom + 46.0
    )
}

fn legend(out: &mut String, phases: &[&Phase]) -> std::fmt::Result {
    // Curves rise to the right, so below them there is room.
    let height = 20.0 * phases.len() as f64 + 12.0;
    let (left, top) = (WIDTH - RIGHT - 16.0 - LEGEND, HEIGHT - BOTTOM - 14.0 - height);
    writeln!(
        out,
        r##"<rect x="{left}" y="{top}" width="{LEGEND}" height="{height}" rx="6" fill="#fff" fill-opacity="0.88" stroke="#e4e4e4"/>"##
    )?;
    for (row, (phase, colour)) in phases.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let (x, y) = (left + 14.0, top + 16.0 + 20.0 * row as f64);
        writeln!(
            out,
            r##"<line x1="{x}" x2="{}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3" stroke-linecap="round"/>"##,
            x + 22.0
        )?;
        writeln!(
            out,
            r##"<text x="{}" y="{}">{}  <tspan fill="#777">p99 {}</tspan></text>"##,
            x + 32.0,
            y + 4.5,
            escape(&phase.name),
            duration(phase.latency_us.p99)
        )?;
    }
    Ok(())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_its_curve_and_its_name_on_the_page() {
        let phase = |name: &str, us| Phase {
            name: name.into(),
            curve: vec![(0.0, us), (50.0, us * 2), (99.0, us * 40)],
            ..Phase::default()
        };
        let phases = vec![phase("a < b", 100), phase("slow", 900), Phase::default()];
        let text = svg(&Report { scenario: "fanout".into(), phases, ..Report::default() });
        assert_eq!(text.matches("<polyline").count(), 2, "a phase without events has none");
        assert!(text.contains("a &lt; b") && text.trim_end().ends_with("</svg>"));
        assert!(!text.contains("NaN") && !text.contains("inf"));
        assert!(svg(&Report::default()).contains("</svg>"));
    }
}

//! A server, the sessions on it, and the phases in which they are measured.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    LoadError,
    clock::now_us,
    process::usage,
    report::{Latency, Phase, Report, curve},
    scenario::Load,
    server::Server,
    session::Channels,
    swarm::{Manner, Swarm},
    tally::Spacing,
};

/// How long a turn waits for readiness.
const TURN: Duration = Duration::from_millis(5);
/// Before a measurement, so that the first second's effects are over.
const WARM_UP: Duration = Duration::from_millis(1_000);
/// How often progress is told.
const TELL: Duration = Duration::from_millis(100);
/// Sessions whose candles are compared at the end.
const MIRRORS_MAX: usize = 64;

/// Tells how far a run is: what it does, and the share that is done.
pub type Progress<'a> = &'a mut dyn FnMut(&str, f64);

/// See the module.
pub(crate) struct Trial<'a> {
    pub(crate) server: Server,
    pub(crate) swarm: Swarm,
    pub(crate) report: Report,
    pub(crate) rate: Option<u32>,
    /// Whether the server is driven beyond what it can do: it then leaves events out, and must tell.
    pub(crate) may_lose: bool,
    load: &'a Load,
    progress: Progress<'a>,
    mirrored: HashSet<usize>,
}

impl<'a> Trial<'a> {
    /// Starts the server, or finds it. `arguments` are those of a server of our own.
    pub(crate) fn start(
        scenario: &str,
        load: &'a Load,
        arguments: &[String],
        progress: Progress<'a>,
    ) -> Result<Self, LoadError> {
        let (symbols, rate) = (load.symbols.to_string(), load.rate.to_string());
        let channels = load.channels.max(50).to_string();
        let mut all = vec!["--symbols", &symbols, "--rate", &rate, "--channels-per-connection", &channels];
        all.extend(arguments.iter().map(String::as_str));
        let all: Vec<_> = all.into_iter().map(str::to_owned).collect();
        progress("starting the server", 0.0);
        let server = Server::start(&load.place, &all)?;
        let swarm = Swarm::new(server.address, &server.key)?;
        let rate = server.is_own().then_some(load.rate);
        let mut report = Report { scenario: scenario.to_owned(), ..Report::default() };
        report.settings = serde_json::json!({
            "connections": load.connections, "channels": load.channels, "symbols": load.symbols,
            "rate": rate, "seconds": load.seconds, "server": all,
        });
        Ok(Self { server, swarm, report, rate, may_lose: false, load, progress, mirrored: HashSet::new() })
    }

    /// The distance of a symbol's trades if the market is steady and ours.
    pub(crate) fn spacing(&self) -> Spacing {
        let of = |rate: u32| u64::from(self.load.symbols) * 1_000_000 / u64::from(rate.max(1));
        self.rate.map_or(Spacing::Free, |rate| Spacing::Every(of(rate)))
    }

    /// Sets the market's rate, and what the groups know of it.
    pub(crate) fn set_rate(&mut self, rate: u32) -> Result<(), LoadError> {
        self.server.set_rate(rate)?;
        self.rate = Some(rate);
        let spacing = self.spacing();
        for group in 0..self.swarm.tallies().len() {
            if let Some(tally) = self.swarm.tally_mut(group) {
                tally.spacing = spacing;
            }
        }
        Ok(())
    }

    /// Opens `count` sessions in `group` and waits for them. The first on each set of channels keeps its candles.
    pub(crate) fn fill(
        &mut self,
        group: usize,
        count: usize,
        mut channels: impl FnMut(usize) -> Arc<Channels>,
    ) -> Result<(), LoadError> {
        for index in 0..count {
            let channels = channels(index);
            let is_mirror = self.mirrored.len() < MIRRORS_MAX && self.mirrored.insert(Arc::as_ptr(&channels) as usize);
            self.swarm.open(group, &channels, Manner { is_mirror, ..Manner::default() });
        }
        self.settle(count)
    }

    /// Waits until all that was asked for is live.
    pub(crate) fn settle(&mut self, count: usize) -> Result<(), LoadError> {
        let within = self.load.open_within;
        let (progress, mut next) = (&mut self.progress, Instant::now());
        self.swarm.settle(within, |swarm| {
            if Instant::now() >= next {
                next = Instant::now() + TELL;
                let left = swarm.opening();
                progress(&format!("opening {count} sessions"), 1.0 - left as f64 / count.max(1) as f64);
            }
        })
    }

    /// Turns for that long; `each` is called about every five milliseconds with the time since the start.
    pub(crate) fn turn_for(
        &mut self,
        what: &str,
        time: Duration,
        mut each: impl FnMut(&mut Self, Duration) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let start = Instant::now();
        let mut next = Duration::ZERO;
        loop {
            let passed = start.elapsed();
            if passed >= time {
                return Ok(());
            }
            if passed >= next {
                next = passed + TELL;
                (self.progress)(what, passed.as_secs_f64() / time.as_secs_f64());
            }
            each(self, passed)?;
            self.swarm.turn(TURN.min(time - passed))?;
        }
    }

    /// Lets the first effects pass.
    pub(crate) fn warm_up(&mut self) -> Result<(), LoadError> {
        self.turn_for("warming up", WARM_UP, |_, _| Ok(()))
    }

    /// Measures a group for that long while `each` goes on.
    pub(crate) fn measure(
        &mut self,
        name: &str,
        group: usize,
        time: Duration,
        each: impl FnMut(&mut Self, Duration) -> Result<(), LoadError>,
    ) -> Result<Phase, LoadError> {
        if let Some(tally) = self.swarm.tally_mut(group) {
            tally.begin(now_us());
        }
        let counts = self.swarm.tally(group).map(|tally| tally.counts).unwrap_or_default();
        let all = |swarm: &Swarm| swarm.tallies().iter().map(|tally| tally.counts.events).sum::<u64>();
        let (own, all_before) = (std::process::id(), all(&self.swarm));
        let (server, client, start) = (self.server.usage(), usage(own), Instant::now());
        self.turn_for(name, time, each)?;
        let seconds = start.elapsed().as_secs_f64();
        let after = self.server.usage();
        let cores = |before: u64, after: u64| after.saturating_sub(before) as f64 / 1e9 / seconds;
        let client_cores = client.zip(usage(own)).map(|(before, after)| cores(before.cpu_ns, after.cpu_ns));
        let server_cores = server.zip(after).map(|(before, after)| cores(before.cpu_ns, after.cpu_ns));
        let mut phase = Phase { name: name.to_owned(), seconds, rate: self.rate, ..Phase::default() };
        if let Some(tally) = self.swarm.tally_mut(group) {
            tally.end();
            phase.counts = tally.counts.since(&counts);
            phase.latency_us = Latency::of(&tally.latency);
            phase.curve = curve(&tally.latency);
        }
        phase.sessions = self.swarm.live();
        phase.events_per_second = phase.counts.events as f64 / seconds;
        (phase.server, phase.server_cores, phase.client_cores) = (after, server_cores, client_cores);
        let events = all(&self.swarm) - all_before;
        phase.server_us_per_event =
            server_cores.filter(|_| events > 0).map(|cores| cores * seconds * 1e6 / events as f64);
        Ok(phase)
    }

    /// Checks what must hold of a group that reads: no hole, no loss, nobody closed.
    pub(crate) fn check_group(&mut self, name: &str, group: usize) {
        let Some(tally) = self.swarm.tally(group) else { return };
        let (counts, closes) = (tally.counts, tally.closes.clone());
        let first = tally.faults.first().cloned().unwrap_or_default();
        let holes = format!("{} of {} events {first}", counts.holes, counts.events);
        self.report.check(&format!("{name}: no number is missing"), counts.holes == 0, holes);
        if counts.faults > 0 {
            self.report.check(
                &format!("{name}: frames are as documented"),
                false,
                format!("{} are not: {first}", counts.faults),
            );
        }
        let lost = format!("{} events, {} fresh snapshots", counts.lost, counts.resets);
        if !self.may_lose {
            self.report.check(&format!("{name}: nothing is lost"), counts.lost + counts.resets == 0, lost);
        }
        self.report.check(&format!("{name}: nobody is closed"), closes.is_empty(), format!("{closes:?}"));
        self.report.check(&format!("{name}: events came"), counts.events > 0, format!("{}", counts.events));
    }

    /// Compares candles with the server's.
    pub(crate) fn check_candles(&mut self) -> Result<(), LoadError> {
        (self.progress)("comparing candles", 1.0);
        let compared = self.swarm.compare()?;
        if compared.candles > 0 {
            let first = compared.differences.first().cloned().unwrap_or_default();
            let found = format!("{} compared, {} differ {first}", compared.candles, compared.differences.len());
            let name = "snapshot and events give the server's candles";
            self.report.check(name, compared.differences.is_empty(), found);
        }
        Ok(())
    }
}

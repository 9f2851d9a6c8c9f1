//! Runs servers and shapes in turn, each run between two of raw, and keeps what they came to.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    bracket::Bracket,
    host,
    load::{Load, Span},
    peer::{Peers, Running, Server},
    sample::Sample,
    shape::{Pace, Shape},
};

/// How long a server may rest before its memory is read.
const REST: Duration = Duration::from_millis(1500);

/// A run and the raw runs around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    pub(crate) before: Sample,
    pub(crate) sample: Sample,
    pub(crate) after: Sample,
}

impl Trial {
    /// A quantity of the run against that of raw around it.
    pub(crate) fn ratio(&self, quantity: impl Fn(&Sample) -> f64) -> f64 {
        let [before, rate, after] = [&self.before, &self.sample, &self.after].map(quantity);
        Bracket { before, rate, after }.ratio()
    }

    fn bracket(&self) -> Bracket {
        let [before, rate, after] = [&self.before, &self.sample, &self.after].map(|sample| sample.deliveries_per_s);
        Bracket { before, rate, after }
    }
}

/// A trial of one server and shape, or why there is none.
pub(crate) struct Record {
    pub(crate) server: &'static str,
    pub(crate) shape: Shape,
    pub(crate) round: usize,
    pub(crate) trial: Result<Trial, String>,
}

/// Resident memory per idle session.
pub(crate) struct Idle {
    pub(crate) server: &'static str,
    pub(crate) sessions: usize,
    pub(crate) channels: usize,
    pub(crate) bytes_per_session: Result<f64, String>,
}

/// See the module.
pub(crate) struct Bench {
    pub(crate) peers: Peers,
    pub(crate) servers: Vec<Server>,
    pub(crate) span: Span,
    /// How often a bracket is tried until its two raw runs agree.
    pub(crate) attempts: usize,
    pub(crate) records: Vec<Record>,
    pub(crate) idle: Vec<Idle>,
    /// Brackets whose raw runs never agreed; the closest attempt was kept.
    pub(crate) unsteady: usize,
}

impl Bench {
    pub(crate) fn new(peers: Peers, servers: Vec<Server>, span: Span, attempts: usize) -> Self {
        Self { peers, servers, span, attempts, records: Vec::new(), idle: Vec::new(), unsteady: 0 }
    }

    /// All servers on all shapes, `rounds` times over, each time in another order.
    pub(crate) fn compare(&mut self, shapes: &[Shape], rounds: usize) -> anyhow::Result<()> {
        // A server that cannot do a shape is not asked again.
        let mut failed = BTreeSet::new();
        for round in 0..rounds {
            for shape in shapes {
                let mut raw = None;
                for at in 0..self.servers.len() {
                    let server = self.servers[(at + round) % self.servers.len()];
                    if failed.contains(&(server.name, shape.to_string())) {
                        continue;
                    }
                    let trial = self.bracket(&server, *shape, &mut raw)?;
                    match &trial {
                        Ok(trial) => eprintln!(
                            "round {} of {rounds}: {} on {shape}: {:.0} k/s, {:.2} of raw",
                            round + 1,
                            server.name,
                            trial.sample.deliveries_per_s / 1e3,
                            trial.bracket().ratio()
                        ),
                        Err(error) => {
                            eprintln!("{} on {shape}: {error}", server.name);
                            failed.insert((server.name, shape.to_string()));
                        }
                    }
                    self.records.push(Record { server: server.name, shape: *shape, round, trial });
                }
            }
        }
        Ok(())
    }

    /// Raw, the server, raw; the raw run before is the one after the last server, if there is one.
    fn bracket(
        &mut self,
        server: &Server,
        shape: Shape,
        raw: &mut Option<Sample>,
    ) -> anyhow::Result<Result<Trial, String>> {
        let mut best: Option<Trial> = None;
        for _ in 0..self.attempts {
            let before = match raw.take() {
                Some(before) => before,
                None => self.measure(&Server::raw(), shape)?,
            };
            let sample = match self.measure(server, shape) {
                Ok(sample) => sample,
                Err(error) => {
                    *raw = Some(before);
                    return Ok(Err(format!("{error:#}")));
                }
            };
            let after = self.measure(&Server::raw(), shape)?;
            *raw = Some(after);
            let trial = Trial { before, sample, after };
            if best.is_none_or(|best| trial.bracket().drift() < best.bracket().drift()) {
                best = Some(trial);
            }
            if trial.bracket().is_steady() {
                break;
            }
        }
        self.unsteady += usize::from(best.is_some_and(|best| !best.bracket().is_steady()));
        Ok(best.ok_or_else(|| "no attempt".to_owned()))
    }

    /// One run: a fresh server, fresh sessions.
    fn measure(&self, server: &Server, shape: Shape) -> anyhow::Result<Sample> {
        let running = Running::start(server, &self.peers)?;
        let mut load = Load::connect(server.dialect, running.address, running.publish, running.process(), shape)?;
        let sample = load.run(self.span)?;
        if let Pace::Open(intended) = shape.pace {
            let reached = sample.deliveries_per_s / intended;
            anyhow::ensure!(reached > 0.95, "reached {:.0} % of the rate", reached * 100.0);
        }
        Ok(sample)
    }

    /// Growth of resident memory per session that is subscribed and idle.
    pub(crate) fn idle(&mut self, sessions: usize, channels: usize) {
        for server in [&[Server::raw()], self.servers.as_slice()].concat() {
            let grown = self.grown(&server, sessions, channels).map_err(|error| format!("{error:#}"));
            match &grown {
                Ok(bytes) => eprintln!("{}, {sessions} idle sessions x {channels}: {bytes:.0} bytes each", server.name),
                Err(error) => eprintln!("{}, {sessions} idle sessions x {channels}: {error}", server.name),
            }
            self.idle.push(Idle { server: server.name, sessions, channels, bytes_per_session: grown });
        }
    }

    fn grown(&self, server: &Server, sessions: usize, channels: usize) -> anyhow::Result<f64> {
        let running = Running::start(server, &self.peers)?;
        let before = host::resident_bytes(running.process())?;
        // The rate is of no account: nothing is published but the first events.
        let shape = Shape::open(sessions, channels, 1.0);
        let mut load = Load::connect(server.dialect, running.address, running.publish, running.process(), shape)?;
        load.rest(REST)?;
        let after = host::resident_bytes(running.process())?;
        Ok(after.saturating_sub(before) as f64 / sessions as f64)
    }

    /// The trials of a server on a shape, with their rounds.
    pub(crate) fn trials(&self, server: &str, shape: &Shape) -> Vec<(usize, &Trial)> {
        let of = |record: &&Record| record.server == server && record.shape == *shape;
        self.records.iter().filter(of).filter_map(|record| Some((record.round, record.trial.as_ref().ok()?))).collect()
    }

    /// Deliveries a second of raw on a shape, over all its runs.
    pub(crate) fn raw(&self, shape: &Shape, quantity: impl Fn(&Sample) -> f64) -> Vec<f64> {
        let trials =
            self.records.iter().filter(|record| record.shape == *shape).filter_map(|record| record.trial.as_ref().ok());
        trials.flat_map(|trial| [quantity(&trial.before), quantity(&trial.after)]).collect()
    }
}

//! A load-test client: many connections, every event checked, latency by histogram.
//!
//! `session` (one connection) → `run` (all of them for a bounded time) → `Report`. It stops by itself, and it only goes
//! to loopback unless told otherwise.

mod clock;
mod session;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

pub use session::{LoadError, Tally};

/// The most connections of one run.
pub const CONNECTIONS_MAX: usize = 20_000;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub address: SocketAddr,
    /// The key to connect with; it must allow that many connections.
    pub key: String,
    /// How many connections to open.
    pub connections: usize,
    /// What each of them subscribes to.
    pub channels: Vec<String>,
    /// How long to listen once all are connected.
    pub listen: Duration,
    /// Whether an address beyond loopback is meant.
    pub allow_remote: bool,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// Connections that were open to the end.
    pub connections: usize,
    /// Connections that failed, with the first reason.
    pub failed: (usize, Option<String>),
    /// How long was listened.
    pub seconds: u64,
    /// Events received by all.
    pub events: u64,
    /// Events that the server told to have skipped or lost.
    pub told: u64,
    /// Numbers missing in a channel without a word of the server: must be zero.
    pub holes: u64,
    /// Bytes of JSON received.
    pub bytes: u64,
    /// Milliseconds from the event's `ts` to its receipt, on one clock.
    pub latency_ms: Histogram<u64>,
}

/// Runs the plan.
///
/// # Errors
/// [`LoadError`] if the plan is out of bounds or nobody could connect.
pub async fn run(plan: Plan) -> Result<Report, LoadError> {
    if !plan.allow_remote && !plan.address.ip().is_loopback() {
        return Err(LoadError::Remote(plan.address));
    }
    if plan.connections == 0 || plan.connections > CONNECTIONS_MAX {
        return Err(LoadError::Connections(plan.connections));
    }
    let plan = Arc::new(plan);
    let mut tasks = JoinSet::new();
    for index in 0..plan.connections {
        tasks.spawn(session::follow(Arc::clone(&plan)));
        if index % 64 == 63 {
            // Opens about ten thousand a second at the most, so that the server's queue of new connections lasts.
            tokio::time::sleep(Duration::from_millis(6)).await;
        }
    }
    let mut all = Tally::new()?;
    let (mut connections, mut failed) = (0, (0, None));
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(tally)) => {
                connections += 1;
                all.add(&tally)?;
            }
            Ok(Err(error)) => {
                failed.0 += 1;
                failed.1.get_or_insert_with(|| error.to_string());
            }
            Err(error) => {
                failed.0 += 1;
                failed.1.get_or_insert_with(|| error.to_string());
            }
        }
    }
    if connections == 0 {
        return Err(LoadError::Nobody(failed.1.unwrap_or_default()));
    }
    let Tally { events, told, holes, bytes, latency_ms, .. } = all;
    let seconds = plan.listen.as_secs().max(1);
    Ok(Report { connections, failed, seconds, events, told, holes, bytes, latency_ms })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "connections      {:>12}", self.connections)?;
        if let (count @ 1.., Some(reason)) = (self.failed.0, &self.failed.1) {
            writeln!(f, "failed           {count:>12}  {reason}")?;
        }
        writeln!(f, "events           {:>12}  {} a second", self.events, self.events / self.seconds)?;
        writeln!(f, "bytes            {:>12}", self.bytes)?;
        writeln!(f, "told as skipped  {:>12}", self.told)?;
        writeln!(f, "holes            {:>12}  must be 0", self.holes)?;
        let at = |quantile| self.latency_ms.value_at_quantile(quantile);
        write!(
            f,
            "latency ms       p50 {}  p99 {}  p99.9 {}  max {}",
            at(0.5),
            at(0.99),
            at(0.999),
            self.latency_ms.max()
        )
    }
}

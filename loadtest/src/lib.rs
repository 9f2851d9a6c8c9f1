//! A load test: many sessions on one thread, every frame checked, latency from when a trade was due.
//!
//! `wire` (WebSocket) and `scan` (events) → `tally` (what a group saw) and `mirror` (its candles) → `session` (one
//! connection) → `swarm` (all of them) → `trial` (a server, a swarm, measured phases) → `scenario` → `report`, `plot`.
//! It stops by itself, and goes beyond loopback only if told to.

pub mod clock;
mod mirror;
pub mod plot;
pub mod process;
pub mod report;
mod scan;
pub mod scenario;
pub mod server;
mod session;
mod swarm;
mod tally;
mod trial;
mod wire;

use std::{io, net::SocketAddr, time::Duration};

pub use scenario::{Load, Pace, Scenario, run};
pub use trial::Progress;

/// The most sessions of one run.
pub const CONNECTIONS_MAX: usize = 60_000;

/// Why a run could not be made. What it found to be wrong is in its report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The address is not on this machine.
    #[error("{0} is not on loopback: give --allow-remote if that machine is yours")]
    Remote(SocketAddr),
    /// None, or too many.
    #[error("{0} connections: between 1 and {max} can be opened", max = CONNECTIONS_MAX)]
    Connections(usize),
    /// More channels than there are.
    #[error("{channels} channels of {symbols} symbols: each symbol has {KINDS}", KINDS = scenario::KINDS.len())]
    Channels {
        /// How many were asked for.
        channels: usize,
        /// Of how many symbols.
        symbols: usize,
    },
    /// Not all sessions became live.
    #[error("{left} sessions were not open within {within:?}: {reason}")]
    Opening {
        /// How many.
        left: usize,
        /// How long was waited.
        within: Duration,
        /// The first reason that is known.
        reason: String,
    },
    /// A socket could not be opened.
    #[error("cannot connect; is the limit of open files (ulimit -n) high enough?")]
    Connect(#[source] io::Error),
    /// The event loop.
    #[error("cannot wait for sockets")]
    Poll(#[from] io::Error),
    /// The child.
    #[error("the server of this test failed")]
    Child(#[source] io::Error),
    /// The child said something else than where it is.
    #[error("the server of this test did not start: {0:?}")]
    Silent(String),
    /// The answers to the last question did not come.
    #[error("the server did not send its candles at the end")]
    Comparison,
    /// A histogram refused its bounds.
    #[error("a latency histogram cannot be made")]
    Histogram,
    /// This needs a server of its own.
    #[error("{0} sets the market's rate, so it needs a server of its own: leave --address out")]
    NotOwn(&'static str),
}

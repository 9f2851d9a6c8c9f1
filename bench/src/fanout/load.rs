//! The client: one thread, one epoll, every session's bytes scanned for ids. It also publishes.

use std::{
    io::{self, Read},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use mio::{Events, Interest, Poll, Token};

use crate::{
    connection::{self, Publisher},
    dialect::Dialect,
    host,
    sample::{Counts, Sample},
    scan::{Key, Scanner},
    shape::{Pace, Shape},
    tally::Tally,
};

const READ_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 1024;
/// How long all sessions may take until each has every channel.
const JOIN_MAX: Duration = Duration::from_secs(60);
/// A round of which nothing came for so long has reached whom it could.
const JOIN_QUIET: Duration = Duration::from_millis(300);
const DRAIN_MAX: Duration = Duration::from_secs(1);
const PUBLISHER: Token = Token(usize::MAX);

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

struct Session {
    socket: mio::net::TcpStream,
    scanner: Scanner,
    is_open: bool,
}

/// See the module.
pub(crate) struct Load {
    poll: Poll,
    events: Events,
    key: Key,
    shape: Shape,
    sessions: Vec<Session>,
    publisher: Publisher,
    tally: Tally,
    buffer: Vec<u8>,
    start: Instant,
    reads: u64,
    bytes: u64,
    closed: u64,
    server: u32,
}

impl Load {
    /// Opens all sessions of a shape, and the publisher; returns once each session has received an event on each channel.
    pub(crate) fn connect(
        dialect: Dialect,
        address: SocketAddr,
        publish: Option<SocketAddr>,
        server: u32,
        shape: Shape,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut sessions = Vec::with_capacity(shape.sessions);
        for number in 0..shape.sessions {
            let socket = connection::session(dialect, address, shape.channels);
            let mut socket = socket.with_context(|| format!("session {number}"))?;
            poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
            sessions.push(Session { socket, scanner: Scanner::default(), is_open: true });
        }
        let mut publisher = Publisher::connect(dialect, address, publish)?;
        poll.registry().register(&mut publisher.socket, PUBLISHER, Interest::READABLE | Interest::WRITABLE)?;
        let mut load = Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            key: Key::new(),
            shape,
            sessions,
            publisher,
            tally: Tally::new(shape.sessions, shape.channels)?,
            buffer: vec![0; READ_BYTES],
            start: Instant::now(),
            reads: 0,
            bytes: 0,
            closed: 0,
            server,
        };
        load.join()?;
        Ok(load)
    }

    /// Publishes rounds until one reaches every session on every channel: the next when nothing more comes of the last.
    fn join(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + JOIN_MAX;
        loop {
            self.publish(self.now_ns())?;
            let (mut delivered, mut moved_at) = (self.tally.delivered(), Instant::now());
            while !self.tally.is_newest_complete() && moved_at.elapsed() < JOIN_QUIET {
                self.turn(Duration::from_millis(10))?;
                if self.tally.delivered() > delivered {
                    (delivered, moved_at) = (self.tally.delivered(), Instant::now());
                }
                ensure!(self.closed == 0, "{} sessions were closed", self.closed);
                ensure!(Instant::now() < until, "not every session received its channels");
            }
            if self.tally.is_newest_complete() {
                break;
            }
        }
        self.tally.settle();
        Ok(())
    }

    /// Runs the shape's pace: warms up, measures, lets the rest arrive.
    pub(crate) fn run(&mut self, span: Span) -> anyhow::Result<Sample> {
        let mut next_ns = self.now_ns();
        let measure_at = next_ns + span.warm_up.as_nanos() as u64;
        let end_at = measure_at + span.measured.as_nanos() as u64;
        let mut before = None;
        loop {
            let now = self.now_ns();
            if before.is_none() && now >= measure_at {
                before = Some(self.counts()?);
                self.tally.time(true);
            }
            if now >= end_at {
                break;
            }
            let wait = self.keep_pace(now, &mut next_ns)?;
            self.turn(wait.min(Duration::from_nanos(end_at - now)))?;
            ensure!(self.closed < self.sessions.len() as u64, "every session was closed");
        }
        let after = self.counts()?;
        self.tally.time(false);
        let until = Instant::now() + DRAIN_MAX;
        while self.tally.outstanding() > 0 && self.closed == 0 && Instant::now() < until {
            self.turn(Duration::from_millis(10))?;
        }
        Ok(Sample::between(&before.context("no time was measured")?, &after, &self.tally, self.closed))
    }

    /// Lets a server rest, so that what only a burst needed can be given back.
    pub(crate) fn rest(&mut self, span: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + span;
        while Instant::now() < until {
            self.turn(Duration::from_millis(50))?;
        }
        ensure!(self.closed == 0, "{} idle sessions were closed", self.closed);
        Ok(())
    }

    /// Publishes what is due, and tells how long nothing else will be.
    fn keep_pace(&mut self, now: u64, next_ns: &mut u64) -> anyhow::Result<Duration> {
        match self.shape.pace {
            Pace::Closed(window) => {
                while self.tally.outstanding() < window {
                    self.publish(now)?;
                }
                Ok(Duration::from_millis(20))
            }
            Pace::Open(deliveries_per_s) => {
                let gap = (self.shape.round() as f64 / deliveries_per_s * 1e9) as u64;
                while *next_ns <= now && !self.tally.is_full() {
                    self.publish(*next_ns)?;
                    *next_ns += gap.max(1);
                }
                // The kernel rounds a wait up to milliseconds: the last one is spent polling.
                Ok(Duration::from_millis(next_ns.saturating_sub(now) / 1_000_000))
            }
        }
    }

    fn publish(&mut self, intended_ns: u64) -> anyhow::Result<()> {
        let round = self.tally.begin(intended_ns);
        for channel in 0..self.shape.channels {
            self.publisher.publish(channel, round);
        }
        Ok(())
    }

    /// Sends what is published, then reads whatever is there, waiting at most so long for the first.
    fn turn(&mut self, wait: Duration) -> anyhow::Result<()> {
        self.publisher.flush()?;
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &self.events {
            if event.token() == PUBLISHER {
                self.publisher.discard(&mut self.buffer)?;
                continue;
            }
            let Token(number) = event.token();
            let Some(session) = self.sessions.get_mut(number).filter(|session| session.is_open) else { continue };
            loop {
                let count = match session.socket.read(&mut self.buffer) {
                    Ok(count) if count > 0 => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    end => {
                        if self.closed == 0 {
                            eprintln!("session {number} was closed: {end:?}");
                        }
                        session.is_open = false;
                        self.closed += 1;
                        break;
                    }
                };
                self.reads += 1;
                self.bytes += count as u64;
                let (now, tally) = (self.start.elapsed().as_nanos() as u64, &mut self.tally);
                session.scanner.scan(&self.key, &self.buffer[..count], |id| tally.on_id(number, id, now));
                // A short read has emptied the socket: epoll tells of what comes after it.
                if count < READ_BYTES {
                    break;
                }
            }
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn counts(&self) -> io::Result<Counts> {
        Ok(Counts {
            at_ns: self.now_ns(),
            delivered: self.tally.delivered(),
            reads: self.reads,
            bytes: self.bytes,
            server_ns: host::run_ns(self.server)?,
            client_ns: host::own_run_ns()?,
            busy_ns: host::busy_ns()?,
        })
    }
}

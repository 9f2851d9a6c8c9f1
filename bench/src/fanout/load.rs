//! The client: one thread, one epoll, every session's bytes scanned for ids. It also publishes.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use mio::{Events, Interest, Poll, Token};

use crate::{
    dialect::Dialect,
    host,
    scan::{Key, Scanner},
    shape::{Pace, Shape},
    tally::Tally,
};

const READ_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 1024;
const HEAD_BYTES_MAX: usize = 8192;
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long all sessions may take until each has every channel.
const JOIN_MAX: Duration = Duration::from_secs(60);
/// How long a round of a joining client is waited for.
const JOIN_ROUND: Duration = Duration::from_millis(300);
const DRAIN_MAX: Duration = Duration::from_secs(1);
const PUBLISHER: Token = Token(usize::MAX);

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What was counted between two moments, or up to one.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    at_ns: u64,
    delivered: u64,
    reads: u64,
    bytes: u64,
    server_ns: u64,
    client_ns: u64,
    busy_ns: u64,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) deliveries_per_s: f64,
    /// p50, p99, p99.9 in nanoseconds from the intended publication.
    pub(crate) latency_ns: [u64; 3],
    pub(crate) server_ns_per_delivery: f64,
    /// Cores.
    pub(crate) server_cpu: f64,
    pub(crate) client_cpu: f64,
    pub(crate) foreign_cpu: f64,
    pub(crate) frames_per_read: f64,
    pub(crate) bytes_per_delivery: f64,
    /// Never came; came out of order or twice; connections that were closed.
    pub(crate) lost: u64,
    pub(crate) disordered: u64,
    pub(crate) closed: u64,
}

impl Sample {
    /// Whether everything came, once and in order.
    pub(crate) fn is_valid(&self) -> bool {
        self.lost == 0 && self.disordered == 0 && self.closed == 0
    }
}

struct Session {
    socket: mio::net::TcpStream,
    scanner: Scanner,
    is_open: bool,
}

struct Publisher {
    socket: mio::net::TcpStream,
    dialect: Dialect,
    pending: Vec<u8>,
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
        let follow = dialect.follow(shape.channels);
        let mut sessions = Vec::with_capacity(shape.sessions);
        for number in 0..shape.sessions {
            let mut socket = open(dialect, address).with_context(|| format!("session {number}"))?;
            socket.write_all(&follow)?;
            let mut socket = nonblocking(socket)?;
            poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
            sessions.push(Session { socket, scanner: Scanner::default(), is_open: true });
        }
        let mut socket = match publish {
            Some(address) => TcpStream::connect(address)?,
            None => open(dialect, address)?,
        };
        socket.write_all(&dialect.greet())?;
        let mut socket = nonblocking(socket)?;
        poll.registry().register(&mut socket, PUBLISHER, Interest::READABLE | Interest::WRITABLE)?;
        let mut load = Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            key: Key::new(),
            shape,
            sessions,
            publisher: Publisher { socket, dialect, pending: Vec::new() },
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

    /// Publishes rounds until one reaches every session on every channel.
    fn join(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + JOIN_MAX;
        loop {
            self.publish(self.now_ns())?;
            let round_until = Instant::now() + JOIN_ROUND;
            while !self.tally.is_newest_complete() && Instant::now() < round_until {
                self.turn(Duration::from_millis(10))?;
            }
            if self.tally.is_newest_complete() {
                break;
            }
            ensure!(self.closed == 0, "{} sessions were closed", self.closed);
            ensure!(Instant::now() < until, "{} deliveries were missing when joining", self.tally.missing());
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
        Ok(self.sample(&before.context("no time was measured")?, &after))
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
            self.publisher.dialect.publish(channel, round, &mut self.publisher.pending);
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
                    _ => {
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

    fn sample(&self, before: &Counts, after: &Counts) -> Sample {
        let span = (after.at_ns - before.at_ns).max(1) as f64;
        let deliveries = (after.delivered - before.delivered) as f64;
        let each = deliveries.max(1.0);
        let (server, client) = (after.server_ns - before.server_ns, after.client_ns - before.client_ns);
        let foreign = (after.busy_ns - before.busy_ns).saturating_sub(server + client);
        Sample {
            deliveries_per_s: deliveries / span * 1e9,
            latency_ns: [0.5, 0.99, 0.999].map(|quantile| self.tally.latency(quantile)),
            server_ns_per_delivery: server as f64 / each,
            server_cpu: server as f64 / span,
            client_cpu: client as f64 / span,
            foreign_cpu: foreign as f64 / span,
            frames_per_read: deliveries / (after.reads - before.reads).max(1) as f64,
            bytes_per_delivery: (after.bytes - before.bytes) as f64 / each,
            lost: self.tally.missing(),
            disordered: self.tally.disordered(),
            closed: self.closed,
        }
    }
}

impl Publisher {
    fn flush(&mut self) -> anyhow::Result<()> {
        while !self.pending.is_empty() {
            match self.socket.write(&self.pending) {
                Ok(0) => bail!("the publisher's connection was closed"),
                Ok(count) => drop(self.pending.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("publishing"),
            }
        }
        Ok(())
    }

    /// Answers to publications are of no interest.
    fn discard(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => bail!("the publisher's connection was closed"),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("publisher"),
            }
        }
    }
}

/// A connection whose WebSocket is open; what follows the answer's head has no event in it yet.
fn open(dialect: Dialect, address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    socket.set_write_timeout(Some(ANSWER_MAX))?;
    socket.write_all(&dialect.opening())?;
    let (mut head, mut part) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = socket.read(&mut part)?;
        ensure!(count > 0 && head.len() < HEAD_BYTES_MAX, "no answer to the handshake");
        head.extend_from_slice(&part[..count]);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "refused: {}", String::from_utf8_lossy(&head));
    Ok(socket)
}

fn nonblocking(socket: TcpStream) -> io::Result<mio::net::TcpStream> {
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(mio::net::TcpStream::from_std(socket))
}

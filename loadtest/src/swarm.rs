//! All sessions on one thread: one `epoll`, one buffer, no task per connection. Opening is paced, waiting is bounded.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use slab::Slab;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    LoadError,
    mirror::Comparison,
    session::{BUFFER_BYTES, Channels, Outcome, Session, Stage, Tracks},
    tally::{Spacing, Tally},
    wire,
};

/// Sessions between their first packet and their last snapshot: less than a server's backlog.
const OPENING_MAX: usize = 512;
/// New connections of one turn, so that those that are open are read in between.
const CONNECTS_MAX: usize = 64;
const EVENTS_MAX: usize = 1024;
/// Sessions whose candles are compared at the most.
const MIRRORS_MAX: usize = 64;
/// How long answers to the last question may take.
const COMPARE_WITHIN: Duration = Duration::from_secs(10);

/// EINPROGRESS, which has no stable [`io::ErrorKind`].
const IN_PROGRESS: i32 = if cfg!(target_os = "linux") { 115 } else { 36 };

/// How a session is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// Its receive buffer, if it will stop reading at times: small, so that the server feels it soon.
    pub(crate) receive_bytes: Option<usize>,
    /// It leaves as soon as it has all snapshots.
    pub(crate) is_visitor: bool,
    /// It keeps its candles, to be compared.
    pub(crate) is_mirror: bool,
}

/// A session to open.
struct Wish {
    group: usize,
    channels: Arc<Channels>,
    manner: Manner,
    since: Option<Tracks>,
}

/// Sessions that were dropped and may come back.
pub(crate) struct Dropped(Vec<(Arc<Channels>, Tracks)>);

impl Dropped {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// See the module.
pub(crate) struct Swarm {
    address: SocketAddr,
    request: Vec<u8>,
    poll: Poll,
    events: Events,
    sessions: Slab<Session>,
    /// By number of the group.
    tallies: Vec<Tally>,
    wishes: VecDeque<Wish>,
    opening: usize,
    buffer: Vec<u8>,
    /// Sessions that may have more to read.
    ready: Vec<usize>,
    /// Visitors that had all their snapshots.
    visits: u64,
}

impl Swarm {
    /// No session yet.
    ///
    /// # Errors
    /// If there is no `epoll`.
    pub(crate) fn new(address: SocketAddr, key: &str) -> Result<Self, LoadError> {
        Ok(Self {
            address,
            request: wire::request(address, key),
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            sessions: Slab::new(),
            tallies: Vec::new(),
            wishes: VecDeque::new(),
            opening: 0,
            buffer: vec![0; BUFFER_BYTES],
            ready: Vec::new(),
            visits: 0,
        })
    }

    /// A new group of sessions; its number.
    ///
    /// # Errors
    /// Never in practice: the bounds of its histogram are constant.
    pub(crate) fn group(&mut self, spacing: Spacing) -> Result<usize, LoadError> {
        let mut tally = Tally::new().map_err(|_| LoadError::Histogram)?;
        tally.spacing = spacing;
        self.tallies.push(tally);
        Ok(self.tallies.len() - 1)
    }

    /// What a group saw.
    pub(crate) fn tally(&self, group: usize) -> Option<&Tally> {
        self.tallies.get(group)
    }

    /// The same, to start and end a measurement.
    pub(crate) fn tally_mut(&mut self, group: usize) -> Option<&mut Tally> {
        self.tallies.get_mut(group)
    }

    /// All groups.
    pub(crate) fn tallies(&self) -> &[Tally] {
        &self.tallies
    }

    /// Puts a session in the queue of those to open.
    pub(crate) fn open(&mut self, group: usize, channels: &Arc<Channels>, manner: Manner) {
        self.wishes.push_back(Wish { group, channels: Arc::clone(channels), manner, since: None });
    }

    /// Puts dropped sessions in the queue, to go on from where they left off.
    pub(crate) fn reopen(&mut self, group: usize, dropped: Dropped) {
        let wish = |(channels, tracks)| Wish { group, channels, manner: Manner::default(), since: Some(tracks) };
        self.wishes.extend(dropped.0.into_iter().map(wish));
    }

    /// How many sessions are on their way to be live.
    pub(crate) fn opening(&self) -> usize {
        self.wishes.len() + self.opening
    }

    /// How many sessions are live, of all groups.
    pub(crate) fn live(&self) -> usize {
        self.sessions.iter().filter(|(_, session)| session.stage == Stage::Live).count()
    }

    /// Visitors that had all their snapshots and left.
    pub(crate) fn visits(&self) -> u64 {
        self.visits
    }

    /// Cuts all sessions of a group at once, without a goodbye.
    pub(crate) fn drop_group(&mut self, group: usize) -> Dropped {
        let keys: Vec<_> = self.sessions.iter().filter(|(_, one)| one.group == group).map(|(key, _)| key).collect();
        let mut dropped = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(mut session) = self.remove(key) {
                dropped.push((Arc::clone(&session.channels), std::mem::take(&mut session.tracks)));
            }
        }
        Dropped(dropped)
    }

    /// Lets the sessions of a group read, or stop reading.
    pub(crate) fn set_reading(&mut self, group: usize, is_reading: bool) {
        for (key, session) in self.sessions.iter_mut().filter(|(_, session)| session.group == group) {
            if is_reading && !session.is_reading {
                self.ready.push(key);
            }
            session.is_reading = is_reading;
        }
    }

    /// Turns until all that was asked for is live.
    ///
    /// # Errors
    /// [`LoadError::Opening`] if not all are within that time, with the first reason.
    pub(crate) fn settle(&mut self, within: Duration, mut tick: impl FnMut(&Self)) -> Result<(), LoadError> {
        let end = Instant::now() + within;
        // What went wrong before does not keep others from opening.
        let troubles = |swarm: &Self| {
            let of = |tally: &Tally| tally.counts.faults + tally.closes.values().sum::<u64>();
            swarm.tallies.iter().map(of).sum::<u64>()
        };
        let before = troubles(self);
        while self.opening() > 0 {
            self.turn(Duration::from_millis(10))?;
            tick(self);
            if Instant::now() > end || troubles(self) > before {
                let fault = self.tallies.iter().find_map(|tally| tally.faults.last().cloned());
                let closed = self.tallies.iter().find_map(|tally| tally.closes.keys().next_back().copied());
                let reason = fault.or_else(|| closed.map(|code| format!("the server closed with {code}")));
                let (left, reason) = (self.opening(), reason.unwrap_or_else(|| "too slow".to_owned()));
                return Err(LoadError::Opening { left, within, reason });
            }
        }
        Ok(())
    }

    /// Waits for readiness, at most so long, and lets every ready session have its turn.
    ///
    /// # Errors
    /// If the system fails to poll or to open a socket.
    pub(crate) fn turn(&mut self, timeout: Duration) -> Result<(), LoadError> {
        self.connect()?;
        let is_busy = !self.ready.is_empty() || (!self.wishes.is_empty() && self.opening < OPENING_MAX);
        let timeout = if is_busy { Duration::ZERO } else { timeout };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let mut ready = std::mem::take(&mut self.ready);
        ready.extend(self.events.iter().map(|event| event.token().0));
        ready.sort_unstable();
        ready.dedup();
        for key in ready {
            self.on_ready(key);
        }
        Ok(())
    }

    fn on_ready(&mut self, key: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(tally) = self.tallies.get_mut(session.group) else { return };
        let before = session.stage;
        let mut outcome = session.turn(&mut self.buffer, tally);
        if before == Stage::Opening && session.stage != before {
            self.opening = self.opening.saturating_sub(1);
        }
        if session.stage == Stage::Live && session.is_visitor {
            self.visits += 1;
            session.leave();
            outcome = session.turn(&mut self.buffer, tally);
        }
        match outcome {
            Outcome::Idle => {}
            Outcome::More => self.ready.push(key),
            Outcome::Ended => _ = self.remove(key),
        }
    }

    fn remove(&mut self, key: usize) -> Option<Session> {
        let mut session = self.sessions.try_remove(key)?;
        if session.stage == Stage::Opening {
            self.opening = self.opening.saturating_sub(1);
        }
        // It is closed right behind this, and the kernel forgets it then in any case.
        let _ = self.poll.registry().deregister(session.socket());
        Some(session)
    }

    fn connect(&mut self) -> Result<(), LoadError> {
        for _ in 0..CONNECTS_MAX {
            if self.opening >= OPENING_MAX {
                return Ok(());
            }
            let Some(wish) = self.wishes.pop_front() else { return Ok(()) };
            let socket = socket(self.address, wish.manner.receive_bytes).map_err(LoadError::Connect)?;
            let mut session = Session::new(socket, wish.group, wish.channels, self.request.clone());
            session.is_visitor = wish.manner.is_visitor;
            if wish.manner.is_mirror {
                session.mirror();
            }
            if let Some(tracks) = wish.since {
                session.resume(tracks);
            }
            let entry = self.sessions.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(session.socket(), Token(entry.key()), interest)?;
            entry.insert(session);
            self.opening += 1;
        }
        Ok(())
    }

    /// Compares the candles that some sessions hold with the server's own.
    ///
    /// # Errors
    /// If the answers do not come in time.
    pub(crate) fn compare(&mut self) -> Result<Comparison, LoadError> {
        let mirrors = self.sessions.iter().filter(|(_, one)| one.has_mirror() && one.stage == Stage::Live);
        let keys: Vec<_> = mirrors.map(|(key, _)| key).take(MIRRORS_MAX).collect();
        for key in &keys {
            if let Some(session) = self.sessions.get_mut(*key) {
                session.ask_to_compare();
                self.ready.push(*key);
            }
        }
        let end = Instant::now() + COMPARE_WITHIN;
        let mut all = Comparison::default();
        for key in keys {
            while let Some(session) = self.sessions.get(key) {
                if let Some(one) = session.comparison() {
                    all.candles += one.candles;
                    all.differences.extend(one.differences.iter().cloned());
                    break;
                }
                if Instant::now() > end {
                    return Err(LoadError::Comparison);
                }
                self.turn(Duration::from_millis(10))?;
            }
        }
        Ok(all)
    }
}

fn socket(address: SocketAddr, receive_bytes: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = receive_bytes {
        // Before the connection: its window is agreed on then.
        socket.set_recv_buffer_size(bytes)?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        // The connection is under way.
        Err(error) if error.raw_os_error() == Some(IN_PROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

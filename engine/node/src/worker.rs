//! A worker thread: owns sockets and who follows what. Drain, then emit, then flush: one write per session and turn.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use engine::{
    channel::ChannelId,
    market::Directory,
    message::{Input, SessionId, WorkerId},
};
use mio::{Events, Poll, Token, Waker};
use slab::Slab;

use crate::{
    answer::{Answer, WelcomeLimits},
    auth::Authenticator,
    clock::Clock,
    codec::Decoder,
    config::{Io, NodeConfig},
    deflate::Inflater,
    flush::Batch,
    link::{Inbox, WorkerLink, WorkerMessage},
    metrics::Metrics,
    place::settle_in,
    sender::ShardSender,
    session::{NewSession, Sending, Session},
    socket::Socket,
    table::Table,
    transmit::{Transmitter, transmitter},
    turn::{Item, Turn},
    wire::Framer,
};

const WAKE: Token = Token(usize::MAX);
const EVENTS_MAX: usize = 1024;
/// Messages of its queue that a worker takes in one turn.
const MESSAGES_MAX: usize = 256;
const READ_BYTES: usize = 64 * 1024;
/// How often it is asked whether a key has changed.
const LOOK: i64 = 250_000_000;
const SECOND: i64 = 1_000_000_000;
/// The reason of close code 1012.
const RESTART: &str = "server restarts; reconnect with since";
/// With more inputs than this before full shards, clients are not read.
const DEFERRED_MAX: usize = 4096;

/// What all workers share.
pub(crate) struct Context {
    pub(crate) config: NodeConfig,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    /// Whether every socket is a TLS one.
    pub(crate) is_tls: bool,
    pub(crate) shards: ShardSender,
}

/// Sessions that read a channel again because frames were dropped on the way.
pub(crate) struct Reread {
    pub(crate) sessions: Vec<SessionId>,
}

/// See the module.
pub(crate) struct Worker {
    pub(crate) number: WorkerId,
    pub(crate) context: Arc<Context>,
    pub(crate) poll: Poll,
    inbox: Inbox,
    pub(crate) link: WorkerLink,
    pub(crate) sessions: Slab<Session>,
    pub(crate) table: Table,
    pub(crate) sending: Sending,
    pub(crate) framer: Framer,
    pub(crate) inflater: Inflater,
    /// Inputs that a full shard did not take yet.
    pub(crate) deferred: VecDeque<Input>,
    /// States that wait for their pace: when, whose, of which channel.
    pub(crate) timers: BinaryHeap<Reverse<(i64, SessionId, u32)>>,
    pub(crate) rereads: HashMap<SessionId, Reread>,
    /// Sessions that may have more to read.
    unread: VecDeque<SessionId>,
    pub(crate) now: i64,
    next_second: i64,
    next_look: i64,
    /// Changes of keys that were looked at.
    pub(crate) key_changes: u64,
    pub(crate) generation: u64,
    stop_at: Option<i64>,
    pub(crate) batch: Batch,
    pub(crate) transmitter: Box<dyn Transmitter>,
    pub(crate) read_buffer: Vec<u8>,
    /// Bytes in all outboxes, as last told to the gauge.
    pub(crate) told_outbox: i64,
}

/// The place of a session in the slab.
pub(crate) fn key_of(id: SessionId) -> usize {
    (id & u64::from(u32::MAX)) as usize
}

impl Worker {
    /// Starts a worker's thread.
    pub(crate) fn spawn(
        number: WorkerId,
        context: Arc<Context>,
        core: Option<core_affinity::CoreId>,
    ) -> io::Result<(WorkerLink, JoinHandle<()>)> {
        let poll = Poll::new()?;
        let (link, inbox) = WorkerLink::new(
            Waker::new(poll.registry(), WAKE)?,
            context.config.worker_messages_max,
            context.config.limits.connections,
        );
        let table = Table::new(ChannelId::count(&context.directory));
        let worker = Self {
            number,
            context,
            poll,
            inbox,
            link: link.clone(),
            sessions: Slab::new(),
            table,
            sending: Sending { turn: Turn::new(), dirty: Vec::new() },
            framer: Framer::default(),
            inflater: Inflater::default(),
            deferred: VecDeque::new(),
            timers: BinaryHeap::new(),
            rereads: HashMap::new(),
            unread: VecDeque::new(),
            now: 0,
            next_second: 0,
            next_look: 0,
            key_changes: 0,
            generation: 0,
            stop_at: None,
            batch: Batch::default(),
            transmitter: transmitter(Io::Epoll),
            read_buffer: vec![0; READ_BYTES],
            told_outbox: 0,
        };
        let handle = thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            settle_in(core);
            worker.run();
        })?;
        Ok((link, handle))
    }

    fn run(mut self) {
        self.transmitter = transmitter(self.context.config.io);
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let timeout = self.timeout();
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "a worker cannot poll");
                return;
            }
            self.now = self.context.clock.now().0;
            self.link.on_awake();
            self.read_sockets(&events);
            self.read_queue();
            self.fire_timers();
            self.flush();
            self.send_deferred();
            if self.now >= self.next_second {
                self.next_second = self.now + SECOND;
                self.on_second();
                self.flush();
            }
            if self.now >= self.next_look {
                self.next_look = self.now + LOOK;
                self.look_at_keys();
            }
            if self.stop_at.is_some_and(|until| self.sessions.is_empty() || self.now >= until) {
                let keys: Vec<_> = self.sessions.iter().map(|(key, _)| key).collect();
                keys.into_iter().for_each(|key| self.drop_session(key));
                return;
            }
        }
    }

    fn timeout(&self) -> Duration {
        if !self.unread.is_empty() && self.deferred.len() < DEFERRED_MAX {
            return Duration::ZERO;
        }
        if !self.inbox.is_empty() {
            return Duration::ZERO;
        }
        let mut until = self.next_second.min(self.next_look);
        if let Some(Reverse((due, ..))) = self.timers.peek() {
            until = until.min(*due);
        }
        if !self.deferred.is_empty() || self.stop_at.is_some() {
            until = until.min(self.now + 5_000_000);
        }
        let wait = until.saturating_sub(self.context.clock.now().0);
        // Rounded up: a timer that fires a little late fires once.
        Duration::from_nanos(u64::try_from(wait).unwrap_or(0)) + Duration::from_micros(100)
    }

    fn read_sockets(&mut self, events: &Events) {
        for event in events {
            let Token(key) = event.token();
            let Some(session) = self.sessions.get(key) else { continue };
            let id = session.id;
            if event.is_writable() && session.is_waiting() {
                self.drain(key);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.unread.push_back(id);
            }
        }
        for _ in 0..self.unread.len() {
            if self.deferred.len() >= DEFERRED_MAX {
                return;
            }
            let Some(id) = self.unread.pop_front() else { return };
            let is_same = self.sessions.get(key_of(id)).is_some_and(|session| session.id == id);
            if is_same && self.read(key_of(id)) {
                self.unread.push_back(id);
            }
        }
    }

    fn read_queue(&mut self) {
        for _ in 0..MESSAGES_MAX {
            let Ok(new) = self.inbox.sockets.try_recv() else { break };
            self.connect(*new);
        }
        for _ in 0..MESSAGES_MAX {
            let Ok(message) = self.inbox.messages.try_recv() else { return };
            match message {
                WorkerMessage::Batch { deliveries, dropped } => {
                    deliveries.into_iter().for_each(|delivery| self.on_delivery(delivery));
                    dropped.into_iter().for_each(|(channel, form, seq)| self.on_dropped(channel, form, seq));
                }
                WorkerMessage::Shutdown { until } => {
                    self.stop_at = Some(until);
                    let keys: Vec<_> = self.sessions.iter().map(|(key, _)| key).collect();
                    keys.into_iter().for_each(|key| self.close(key, 1012, RESTART));
                }
            }
        }
    }

    fn connect(&mut self, new: NewSession) {
        let mut socket = Socket::new(new.socket, new.secure);
        let place = self.sessions.vacant_entry();
        let key = place.key();
        if let Err(error) = socket.watch(self.poll.registry(), Token(key)) {
            tracing::warn!(%error, "cannot watch a socket");
            self.link.on_closed();
            return;
        }
        self.generation += 1;
        let id = self.generation << 32 | key as u64;
        place.insert(Session {
            id,
            socket,
            form: new.form,
            wire: new.wire,
            node: new.wire.root(),
            decoder: Decoder::default(),
            subscriptions: Vec::new(),
            paced: Vec::new(),
            outbox: None,
            wishes: VecDeque::new(),
            in_flight: 0,
            permit: Some(new.permit),
            alive_at: self.now,
            pinged_at: self.now,
            faults: 0,
            closing: None,
            _slot: new.slot,
        });
        self.context.metrics.connections.inc();
        self.welcome(key, id, new.connections);
        self.on_bytes(key, &new.early);
        self.unread.push_back(id);
        if self.stop_at.is_some() {
            self.close(key, 1012, RESTART);
        }
    }

    fn welcome(&mut self, key: usize, id: SessionId, connections: u32) {
        let config = &self.context.config;
        let answer = Answer::Welcome {
            connection_id: format!("{:x}-{}-{id:x}", config.epoch, self.number),
            server_time: self.now.div_euclid(1_000_000),
            epoch: format!("{:x}", config.epoch),
            limits: WelcomeLimits { connections, channels: config.limits.channels_per_connection },
            ping_interval_ms: config.ping_interval_ms,
        };
        self.send_control(key, answer.frame());
    }

    /// Sends an answer, a ping or a close frame to one session.
    pub(crate) fn send_control(&mut self, key: usize, bytes: impl Into<bytes::Bytes>) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.send_own(key as u32, Item::control(bytes), &mut self.sending, &self.context.directory);
        }
    }

    /// Gives an input to its shard, in order, as soon as the shard takes it.
    pub(crate) fn tell_shard(&mut self, input: Input) {
        self.deferred.push_back(input);
    }

    fn send_deferred(&mut self) {
        while let Some(input) = self.deferred.pop_front() {
            match self.context.shards.try_send(input) {
                Ok(None) => {}
                Ok(Some(input)) => {
                    self.deferred.push_front(input);
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

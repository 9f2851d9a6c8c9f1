//! The raw limit: one thread, one epoll, nothing but bytes. What a framework, a protocol or an engine costs shows against it.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;

use crate::wire::{Hangup, Inbound, Reader, server_frame};

const LISTENER: Token = Token(usize::MAX);
const EVENTS_MAX: usize = 1024;
const READ_BYTES: usize = 64 * 1024;
/// Bytes that may wait for one connection.
const PENDING_BYTES_MAX: usize = 64 << 20;
/// After so long without anything to do, buffers are given back.
const IDLE: Duration = Duration::from_millis(100);

/// When pending bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Flush {
    /// Once per connection and wake-up.
    Batch,
    /// Once per delivery, as a contrast.
    Each,
}

struct Connection {
    socket: TcpStream,
    reader: Reader,
    pending: Vec<u8>,
    is_dirty: bool,
}

struct Raw {
    poll: Poll,
    flush: Flush,
    connections: Slab<Connection>,
    followers: HashMap<Vec<u8>, Vec<usize>>,
    dirty: Vec<usize>,
    frame: Vec<u8>,
    buffer: Vec<u8>,
}

/// Serves until the process is ended.
pub(crate) fn serve(address: SocketAddr, flush: Flush) -> anyhow::Result<()> {
    let poll = Poll::new()?;
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut raw = Raw {
        poll,
        flush,
        connections: Slab::new(),
        followers: HashMap::new(),
        dirty: Vec::new(),
        frame: Vec::new(),
        buffer: vec![0; READ_BYTES],
    };
    let mut events = Events::with_capacity(EVENTS_MAX);
    loop {
        match raw.poll.poll(&mut events, Some(IDLE)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        }
        if events.is_empty() {
            raw.connections.iter_mut().for_each(|(_, connection)| connection.pending.shrink_to_fit());
        }
        for event in &events {
            match event.token() {
                LISTENER => raw.accept(&listener)?,
                Token(key) => {
                    if event.is_writable() {
                        raw.write(key);
                    }
                    if event.is_readable() && raw.read(key).is_err() {
                        raw.drop(key);
                    }
                }
            }
        }
        let mut dirty = std::mem::take(&mut raw.dirty);
        dirty.drain(..).for_each(|key| raw.write(key));
        raw.dirty = dirty;
    }
}

impl Raw {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let mut socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nodelay(true)?;
            let place = self.connections.vacant_entry();
            self.poll.registry().register(&mut socket, Token(place.key()), Interest::READABLE | Interest::WRITABLE)?;
            place.insert(Connection { socket, reader: Reader::default(), pending: Vec::new(), is_dirty: false });
        }
    }

    fn read(&mut self, key: usize) -> Result<(), Hangup> {
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
            let count = match connection.socket.read(&mut self.buffer) {
                Ok(count) if count > 0 => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                _ => return Err(Hangup),
            };
            connection.reader.push(&self.buffer[..count]);
            while let Some(connection) = self.connections.get_mut(key)
                && let Some(inbound) = connection.reader.next()?
            {
                match inbound {
                    Inbound::Open(answer) => {
                        connection.pending.extend_from_slice(&answer);
                        self.write(key);
                    }
                    Inbound::Subscribe(channel) => self.followers.entry(channel).or_default().push(key),
                    Inbound::Publish(channel, payload) => self.publish(&channel, &payload),
                }
            }
            if count < READ_BYTES {
                return Ok(());
            }
        }
    }

    /// The hot loop: the frame is encoded once and copied to each follower.
    fn publish(&mut self, channel: &[u8], payload: &[u8]) {
        self.frame.clear();
        server_frame(&mut self.frame, payload);
        let Some(followers) = self.followers.get(channel) else { return };
        for key in followers {
            let Some(connection) = self.connections.get_mut(*key) else { continue };
            connection.pending.extend_from_slice(&self.frame);
            if self.flush == Flush::Each {
                write(connection);
            } else if !connection.is_dirty {
                connection.is_dirty = true;
                self.dirty.push(*key);
            }
        }
    }

    fn write(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.is_dirty = false;
            write(connection);
        }
    }

    fn drop(&mut self, key: usize) {
        self.connections.try_remove(key);
        self.followers.values_mut().for_each(|keys| keys.retain(|follower| *follower != key));
    }
}

/// Writes what is pending; the rest waits until the socket is writable. Errors show when it is read.
fn write(connection: &mut Connection) {
    while !connection.pending.is_empty() {
        match connection.socket.write(&connection.pending) {
            Ok(count) if count == connection.pending.len() => connection.pending.clear(),
            Ok(count) => drop(connection.pending.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                if connection.pending.len() > PENDING_BYTES_MAX {
                    connection.pending = Vec::new();
                }
                return;
            }
        }
    }
}

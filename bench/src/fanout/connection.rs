//! Connections to a server: those of sessions, and the one that publishes.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use crate::dialect::Dialect;

const HEAD_BYTES_MAX: usize = 8192;
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Sends publications in a server's dialect.
pub(crate) struct Publisher {
    pub(crate) socket: mio::net::TcpStream,
    dialect: Dialect,
    pending: Vec<u8>,
}

impl Publisher {
    /// Publishes at `entry` if events enter at a port of their own, at `address` otherwise.
    pub(crate) fn connect(dialect: Dialect, address: SocketAddr, entry: Option<SocketAddr>) -> anyhow::Result<Self> {
        let mut socket = match entry {
            Some(entry) => TcpStream::connect(entry)?,
            None => open(dialect, address)?,
        };
        socket.write_all(&dialect.greet())?;
        Ok(Self { socket: nonblocking(socket)?, dialect, pending: Vec::new() })
    }

    /// Takes in the event of a round on a channel; it goes with the next flush.
    pub(crate) fn publish(&mut self, channel: usize, round: u32) {
        self.dialect.publish(channel, round, &mut self.pending);
    }

    /// Sends as much as the socket takes.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
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
    pub(crate) fn discard(&mut self, buffer: &mut [u8]) -> anyhow::Result<()> {
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

/// A connection that follows the first `channels` channels.
pub(crate) fn session(dialect: Dialect, address: SocketAddr, channels: usize) -> anyhow::Result<mio::net::TcpStream> {
    let mut socket = open(dialect, address)?;
    socket.write_all(&dialect.follow(channels))?;
    Ok(nonblocking(socket)?)
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

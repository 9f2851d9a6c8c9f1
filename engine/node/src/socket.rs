//! The socket of a session: what a worker may do with it, without waiting.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
};

use mio::{Interest, Registry, Token, net::TcpStream};

use crate::tls::Secure;

/// See the module.
pub(crate) struct Socket {
    stream: TcpStream,
    /// Set if the client speaks TLS.
    secure: Option<Secure>,
}

impl Socket {
    /// Takes a socket that does not block.
    pub(crate) fn new(socket: std::net::TcpStream, secure: Option<Secure>) -> Self {
        Self { stream: TcpStream::from_std(socket), secure }
    }

    /// Asks to be told, once each, when it can be read or written again.
    pub(crate) fn watch(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Ends what [`Socket::watch`] began.
    pub(crate) fn forget(&mut self, registry: &Registry) {
        // Closing the socket takes it out of the poll as well.
        let _ = registry.deregister(&mut self.stream);
    }

    /// Reads once.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.secure {
            None => self.stream.read(buffer),
            Some(secure) => secure.read(&mut self.stream, buffer),
        }
    }

    /// Writes once; zero if the socket is full.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if let Some(secure) = &mut self.secure {
            return secure.write(&mut self.stream, bytes);
        }
        loop {
            match self.stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Writes what is encrypted already.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(secure) = &mut self.secure {
            secure.flush(&mut self.stream)?;
        }
        Ok(())
    }

    /// Whether encrypted bytes wait.
    pub(crate) fn has_pending(&self) -> bool {
        self.secure.as_ref().is_some_and(Secure::has_pending)
    }

    /// Where a batch sends to, if the client does not speak TLS.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Tells the client that nothing more comes.
    pub(crate) fn shut(&mut self) {
        if let Some(secure) = &mut self.secure {
            secure.shut(&mut self.stream);
        }
        // A client that is gone already makes this fail; its socket is dropped soon.
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

//! How a turn's bytes reach the sockets: a system call each, or one for many where the kernel has a ring.

use std::io;

use socket2::SockRef;
use uring::{Send, SendRing, Taken};

use crate::config::Io;

/// Sends without waiting.
pub(crate) trait Transmitter: std::marker::Send {
    /// Sends each and sets `taken`, in the same order, to what its socket took, or why it took nothing.
    fn send_all(&mut self, sends: &[Send<'_>], taken: &mut Vec<Taken>);
}

/// The transmitter that is asked for; must be called on the thread that uses it.
pub(crate) fn transmitter(io: Io) -> Box<dyn Transmitter> {
    if io == Io::Epoll {
        return Box::new(Calls);
    }
    match SendRing::probe() {
        Ok(ring) => Box::new(Ring(Some(ring))),
        Err(error) => {
            if io == Io::Uring {
                tracing::warn!(%error, "no io_uring here (kernel before 6.1, or forbidden); each send is a call of its own");
            }
            Box::new(Calls)
        }
    }
}

/// A system call for each send.
struct Calls;

impl Transmitter for Calls {
    fn send_all(&mut self, sends: &[Send<'_>], taken: &mut Vec<Taken>) {
        taken.extend(sends.iter().map(send));
    }
}

fn send(send: &Send<'_>) -> Taken {
    loop {
        match SockRef::from(&send.socket).send(send.bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            taken => return taken,
        }
    }
}

/// For fewer sends a ring would save less than three system calls.
const WORTH_A_RING: usize = 4;

/// One system call for up to [`uring::SENDS_MAX`] sends, until the ring breaks.
struct Ring(Option<SendRing>);

impl Transmitter for Ring {
    fn send_all(&mut self, sends: &[Send<'_>], taken: &mut Vec<Taken>) {
        let Some(ring) = &mut self.0 else { return Calls.send_all(sends, taken) };
        if sends.len() < WORTH_A_RING {
            return Calls.send_all(sends, taken);
        }
        if let Err(error) = ring.send_all(sends, taken) {
            tracing::error!(%error, "io_uring failed; the sessions of this batch are closed, others go on without it");
            self.0 = None;
            // What they were sent is not known, so they cannot go on; their clients come back and resume.
            taken.resize_with(sends.len(), || Err(io::ErrorKind::BrokenPipe.into()));
        }
    }
}

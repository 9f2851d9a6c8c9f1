//! Many sends in one system call, through Linux's `io_uring`: a safe face for the only `unsafe` code of the project.
//!
//! A worker that writes to a thousand sockets makes a thousand system calls; here it makes one for each
//! [`SENDS_MAX`]. What that gains stands with its numbers in `bench/README.md`. [`SendRing::probe`] fails where the
//! kernel has no ring or does not allow it, as many containers do, and then plain writes serve. Beside it,
//! [`take_short_turns`] gets a thread in sooner.

#[cfg(target_os = "linux")]
mod ring;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere.rs"]
mod ring;
mod turns;

use std::{io, os::fd::BorrowedFd};

pub use ring::SendRing;
pub use turns::take_short_turns;

/// Sends that go into one system call.
pub const SENDS_MAX: usize = 1024;

/// Bytes for one socket.
#[derive(Clone, Copy, Debug)]
pub struct Send<'a> {
    /// The socket; it must not block for what is sent to it, and does not, whatever its own mode is.
    pub socket: BorrowedFd<'a>,
    /// What it is sent; not empty.
    pub bytes: &'a [u8],
}

/// How many bytes a socket took, as `write` would say: `WouldBlock` if it was full.
pub type Taken = io::Result<usize>;

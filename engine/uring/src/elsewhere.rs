//! Where there is no `io_uring`.

use std::io;

use crate::{Send, Taken};

/// Cannot be made here.
#[derive(Debug)]
pub enum SendRing {}

impl SendRing {
    /// Always fails.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn probe() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn send_all(&mut self, _: &[Send<'_>], _: &mut Vec<Taken>) -> io::Result<()> {
        match *self {}
    }
}

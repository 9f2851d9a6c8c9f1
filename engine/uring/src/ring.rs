//! The ring itself.

use std::{fmt, io, os::fd::AsRawFd};

use io_uring::{IoUring, opcode, types};
use libc::{EAGAIN, EBUSY, EINTR, MSG_DONTWAIT, MSG_NOSIGNAL};

use crate::{SENDS_MAX, Send, Taken};

/// System calls in a row that may fail to take a single send before the ring is given up.
const STALLS_MAX: u32 = 1000;

/// Sends for one thread: the one that made it.
pub struct SendRing {
    /// Nothing once it has failed: entries that the kernel never saw may still lie in it.
    ring: Option<IoUring>,
}

impl fmt::Debug for SendRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendRing")
    }
}

impl SendRing {
    /// Makes a ring; it must be used on this thread only.
    ///
    /// # Errors
    /// The kernel knows no such ring (before 6.1), or does not allow it.
    pub fn probe() -> io::Result<Self> {
        let entries = u32::try_from(SENDS_MAX).map_err(io::Error::other)?;
        // One thread submits and reaps; completions are run when it asks for them, not by interrupting it.
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(entries)?;
        Ok(Self { ring: Some(ring) })
    }

    /// Sends each and appends to `taken`, in the same order, how much its socket took. Waits for none of them.
    ///
    /// # Errors
    /// The ring is broken and must not be used again; sends without an entry in `taken` may or may not have gone.
    pub fn send_all(&mut self, sends: &[Send<'_>], taken: &mut Vec<Taken>) -> io::Result<()> {
        sends.chunks(SENDS_MAX).try_for_each(|chunk| self.send_chunk(chunk, taken))
    }

    fn send_chunk(&mut self, sends: &[Send<'_>], taken: &mut Vec<Taken>) -> io::Result<()> {
        let Some(mut ring) = self.ring.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let start = taken.len();
        taken.extend(sends.iter().map(|_| Err(io::ErrorKind::WouldBlock.into())));
        let result = exchange(&mut ring, sends, taken.get_mut(start..).unwrap_or_default());
        match result {
            Ok(()) => self.ring = Some(ring),
            Err(_) => taken.truncate(start),
        }
        result
    }
}

/// Carries out all `sends`. After an error the ring must be dropped.
fn exchange(ring: &mut IoUring, sends: &[Send<'_>], taken: &mut [Taken]) -> io::Result<()> {
    let mut queue = ring.submission();
    for (index, send) in sends.iter().enumerate() {
        let length = u32::try_from(send.bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(types::Fd(send.socket.as_raw_fd()), send.bytes.as_ptr(), length)
            .flags(MSG_DONTWAIT | MSG_NOSIGNAL)
            .build()
            .user_data(index as u64);
        // SAFETY: the bytes and the socket are borrowed until this function returns, and the kernel looks at neither
        // after that. If it returns `Ok`, every completion was reaped, so the kernel is done with them. If it returns an
        // error, an entry may still lie in the queue, but the caller drops the ring, so the kernel never sees it; and one
        // that the kernel took was carried out within that very call, because MSG_DONTWAIT forbids it to put a send off.
        unsafe { queue.push(&entry) }.map_err(io::Error::other)?;
    }
    drop(queue);
    let mut open = sends.len();
    let mut stalls = 0;
    while open > 0 {
        match ring.submitter().submit_and_wait(open) {
            Ok(_) => {}
            // A signal came, or the kernel is short of memory for a moment: what was not taken is asked again.
            Err(error) if matches!(error.raw_os_error(), Some(EINTR | EAGAIN | EBUSY)) => {}
            Err(error) => return Err(error),
        }
        let before = open;
        for done in ring.completion() {
            open = open.saturating_sub(1);
            if let Some(place) = usize::try_from(done.user_data()).ok().and_then(|at| taken.get_mut(at)) {
                *place = usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()));
            }
        }
        stalls = if open == before { stalls + 1 } else { 0 };
        if stalls > STALLS_MAX {
            return Err(io::Error::other("the ring takes no sends"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
        os::fd::AsFd,
    };

    use super::*;

    /// A connection: what is sent, and what is read.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (sent, listener.accept().unwrap().0)
    }

    /// A ring, or nothing on a machine that does not allow one: then there is nothing to test.
    fn ring() -> Option<SendRing> {
        SendRing::probe().inspect_err(|error| eprintln!("no io_uring here: {error}")).ok()
    }

    #[test]
    fn each_socket_gets_its_bytes_in_order() {
        let Some(mut ring) = ring() else { return };
        let mut pairs: Vec<_> = (0..1100).map(|_| pair()).collect();
        let texts: Vec<String> = (0..pairs.len()).map(|index| format!("text {index};")).collect();
        let sends: Vec<_> = (pairs.iter().zip(&texts))
            .map(|((sent, _), text)| Send { socket: sent.as_fd(), bytes: text.as_bytes() })
            .collect();
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.clear();
            ring.send_all(&sends, &mut taken).unwrap();
            let counts: Vec<_> = taken.iter().map(|taken| *taken.as_ref().unwrap()).collect();
            assert_eq!(counts, texts.iter().map(String::len).collect::<Vec<_>>());
        }
        for ((sent, read), text) in pairs.drain(..).zip(&texts) {
            drop(sent);
            let (mut read, mut got) = (read, String::new());
            read.read_to_string(&mut got).unwrap();
            assert_eq!(got, text.repeat(3));
        }
    }

    #[test]
    fn a_full_socket_takes_a_part_and_then_would_block_and_a_closed_one_fails() {
        let Some(mut ring) = ring() else { return };
        let (full, _unread) = pair();
        let (open, _read) = pair();
        let (gone, read) = pair();
        drop(read);
        let large = vec![7_u8; 32 << 20];
        let mut taken = Vec::new();
        let sends = [
            Send { socket: full.as_fd(), bytes: &large },
            Send { socket: full.as_fd(), bytes: &large },
            Send { socket: open.as_fd(), bytes: b"on" },
        ];
        ring.send_all(&sends, &mut taken).unwrap();
        assert!(matches!(taken[0], Ok(count) if count > 0 && count < large.len()), "{taken:?}");
        assert_eq!(taken[1].as_ref().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(matches!(taken[2], Ok(2)), "{taken:?}");
        // The first send to a closed socket may still go out; what comes back of it makes the next one fail.
        let failed = (0..1000).any(|_| {
            taken.clear();
            ring.send_all(&[Send { socket: gone.as_fd(), bytes: b"x" }], &mut taken).unwrap();
            taken[0].is_err()
        });
        assert!(failed);
    }
}

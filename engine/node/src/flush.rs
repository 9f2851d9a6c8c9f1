//! The end of a worker's turn: one write per session, and what becomes of those that cannot take it.

use std::{io, mem};

use uring::{SENDS_MAX, Send, Taken};

use crate::{
    codec,
    metrics::Stage,
    outbox::{Counts, Outbox},
    session::Closing,
    turn::is_root,
    wire::{self, Cut},
    worker::Worker,
};

/// Bytes gathered before they are sent: small enough to stay in a core's cache.
const BATCH_BYTES: usize = 256 * 1024;

/// How long a closed session may take to read its close frame and answer; a slow one has to make room for it first.
const LINGER: i64 = 5_000_000_000;
/// Reads of one session before others have their turn.
const READS_MAX: usize = 4;

/// What goes out in one call: bytes that sessions share, and who is sent which of them.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each group's bytes may be cut; see [`wire::cut`].
    cuts: Vec<Cut>,
    writes: Vec<Write>,
    taken: Vec<Taken>,
}

/// The part of a batch's bytes that one session is sent: the messages of `node`.
struct Write {
    key: u32,
    node: u32,
    from: usize,
    to: usize,
    /// Where its cuts begin.
    cuts: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES || self.writes.len() >= SENDS_MAX
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.cuts.clear();
        self.writes.clear();
        self.taken.clear();
        if self.bytes.capacity() > 4 * BATCH_BYTES {
            self.bytes = Vec::new();
        }
    }
}

impl Worker {
    /// Writes what the turn has gathered. Sessions with the same messages share the gathered bytes.
    pub(crate) fn flush(&mut self) {
        let mut dirty = mem::take(&mut self.sending.dirty);
        let node_of = |key: &u32| self.sessions.get(*key as usize).map_or(0, |session| session.node);
        let mut order: Vec<(u32, u32)> = dirty.drain(..).map(|key| (node_of(&key), key)).collect();
        self.sending.dirty = dirty;
        order.sort_unstable();
        order.dedup();
        let mut batch = mem::take(&mut self.batch);
        let (mut path, mut broken) = (Vec::new(), Vec::new());
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            let Some((node, _)) = group.first().filter(|(node, _)| !is_root(*node)) else { continue };
            let (from, cuts) = (batch.bytes.len(), batch.cuts.len());
            let wire = self.sending.turn.path(*node, &mut path);
            self.framer.gather(wire, &path, &mut self.sending.turn, &mut batch.bytes, &mut batch.cuts);
            let to = batch.bytes.len();
            batch.writes.extend(group.iter().map(|(node, key)| Write { key: *key, node: *node, from, to, cuts }));
            if batch.is_full() {
                self.transmit(&mut batch, &mut broken);
            }
        }
        self.transmit(&mut batch, &mut broken);
        self.batch = batch;
        if let Some(encoded) = self.sending.turn.oldest_encode() {
            self.context.metrics.on_latency(Stage::Deliver, self.context.clock.now().0 - encoded);
        }
        self.sending.turn.clear();
        broken.into_iter().for_each(|key| self.drop_session(key));
        for (_, key) in order {
            self.after_write(key as usize);
        }
    }

    /// Sends a batch and empties it; whoever did not take all of it is given an outbox.
    fn transmit(&mut self, batch: &mut Batch, broken: &mut Vec<usize>) {
        if self.context.is_tls {
            self.transmit_sealed(batch);
        } else {
            let sends = batch.writes.iter().filter_map(|write| {
                let socket = self.sessions.get(write.key as usize)?.socket.as_fd();
                Some(Send { socket, bytes: batch.bytes.get(write.from..write.to)? })
            });
            self.transmitter.send_all(&sends.collect::<Vec<_>>(), &mut batch.taken);
        }
        let mut sent = 0;
        for (write, taken) in batch.writes.iter().zip(&batch.taken) {
            let key = write.key as usize;
            let Some(session) = self.sessions.get_mut(key) else { continue };
            session.node = session.wire.root();
            let count = match taken {
                Ok(count) => *count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => {
                    broken.push(key);
                    continue;
                }
            };
            sent += count as u64;
            if count < write.to - write.from {
                self.keep(write, batch, count);
            }
        }
        self.context.metrics.bytes.inc_by(sent);
        batch.clear();
    }

    /// Sends a batch to sockets that encrypt it for each client.
    fn transmit_sealed(&mut self, batch: &mut Batch) {
        for write in &batch.writes {
            let bytes = batch.bytes.get(write.from..write.to).unwrap_or_default();
            let session = self.sessions.get_mut(write.key as usize);
            batch.taken.push(session.map_or(Ok(0), |session| session.socket.write(bytes)));
        }
    }

    /// The socket took `count` bytes of a write: the rest goes to an outbox, message by message.
    fn keep(&mut self, write: &Write, batch: &Batch, count: usize) {
        let mut path = Vec::new();
        let wire = self.sending.turn.path(write.node, &mut path);
        let key = write.key as usize;
        let Some(session) = self.sessions.get_mut(key) else { return };
        let cuts = batch.cuts.get(write.cuts..).unwrap_or_default();
        let (end, messages) = wire::cut(wire, &path, &self.sending.turn, cuts, count);
        let begun = batch.bytes.get(write.from + count..write.from + end).unwrap_or_default();
        let mut outbox = Outbox::new(begun, self.context.config.limits.outbox_bytes, self.now);
        for item in path.iter().skip(messages).filter_map(|item| self.sending.turn.item(*item)) {
            outbox.push(item, &self.context.directory);
        }
        session.outbox = Some(Box::new(outbox));
        // The socket may have room again already, and then no event will tell.
        self.drain(key);
    }

    /// Writes an outbox as far as the socket takes it.
    pub(crate) fn drain(&mut self, key: usize) {
        let mut scratch = Vec::new();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Ok((written, counts)) = session.drain(self.now, &mut scratch, &mut self.framer, &self.context.directory)
        else {
            session.outbox = None;
            session.closing = Some(Closing { until: self.now, is_shut: true });
            return;
        };
        self.count(written, counts);
        self.after_write(key);
    }

    pub(crate) fn count(&self, written: u64, counts: Counts) {
        let metrics = &self.context.metrics;
        metrics.bytes.inc_by(written);
        metrics.conflated.inc_by(counts.conflated);
        metrics.events_lost.inc_by(counts.lost);
    }

    fn after_write(&mut self, key: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if let Some(closing) = &mut session.closing
            && session.outbox.is_none()
            && !session.socket.has_pending()
            && is_root(session.node)
            && !closing.is_shut
        {
            closing.is_shut = true;
            session.socket.shut();
        }
        self.ask_wishes(key);
    }

    /// Sends a close frame behind what is pending; the socket is dropped when the client answers, or after a while.
    pub(crate) fn close(&mut self, key: usize, code: u16, reason: &str) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.closing.is_some() {
            return;
        }
        session.closing = Some(Closing { until: self.now.saturating_add(LINGER), is_shut: false });
        session.permit = None;
        if code != 1000 {
            tracing::debug!(id = session.id, code, reason, "session closed");
        }
        self.leave_all(key);
        if let Some(session) = self.sessions.get_mut(key) {
            session.wishes.clear();
        }
        self.send_control(key, codec::close_frame(code, reason));
    }

    /// Reads a socket; true if there may be more.
    pub(crate) fn read(&mut self, key: usize) -> bool {
        let mut buffer = mem::take(&mut self.read_buffer);
        let mut may_have_more = true;
        for _ in 0..READS_MAX {
            let Some(session) = self.sessions.get_mut(key) else {
                may_have_more = false;
                break;
            };
            let outcome = session.socket.read(&mut buffer);
            match outcome {
                Ok(count) if count > 0 => {
                    session.alive_at = self.now;
                    self.on_bytes(key, buffer.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    may_have_more = false;
                    break;
                }
                _ => {
                    self.drop_session(key);
                    may_have_more = false;
                    break;
                }
            }
        }
        self.read_buffer = buffer;
        may_have_more
    }
}

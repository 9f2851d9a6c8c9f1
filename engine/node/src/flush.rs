//! The end of a worker's turn: one write per session, and what becomes of those that cannot take it.

use crate::{
    codec,
    metrics::Stage,
    outbox::{Counts, Outbox},
    session::Closing,
    turn::is_root,
    worker::Worker,
};

/// How long a closed session may take to read its close frame and answer.
const LINGER: i64 = 2_000_000_000;
/// Reads of one session before others have their turn.
const READS_MAX: usize = 4;

impl Worker {
    /// Writes what the turn has gathered. Sessions with the same messages share the gathered bytes.
    pub(crate) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.sending.dirty);
        let node_of = |key: &u32| self.sessions.get(*key as usize).map_or(0, |session| session.node);
        let mut order: Vec<(u32, u32)> = dirty.iter().map(|key| (node_of(key), *key)).collect();
        order.sort_unstable();
        order.dedup();
        let mut gathered = std::mem::take(&mut self.scratch);
        let (mut path, mut sent) = (Vec::new(), 0_u64);
        let mut broken = Vec::new();
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            let Some((node, _)) = group.first().filter(|(node, _)| !is_root(*node)) else { continue };
            let wire = self.sending.turn.path(*node, &mut path);
            gathered.clear();
            self.framer.gather(wire, &path, &self.sending.turn, &mut gathered);
            for (_, key) in group {
                let Some(session) = self.sessions.get_mut(*key as usize) else { continue };
                session.node = session.wire.root();
                match session.socket.write(&gathered) {
                    Ok(count) => {
                        sent += count as u64;
                        if count < gathered.len() {
                            self.keep(*key as usize, &path, &gathered, count);
                        }
                    }
                    Err(_) => broken.push(*key as usize),
                }
            }
        }
        let metrics = &self.context.metrics;
        metrics.bytes.inc_by(sent);
        if let Some(encoded) = self.sending.turn.oldest_encode() {
            metrics.on_latency(Stage::Deliver, self.context.clock.now().0 - encoded);
        }
        self.sending.turn.clear();
        if gathered.capacity() > 1 << 20 {
            gathered = Vec::new();
        }
        self.scratch = gathered;
        dirty.clear();
        self.sending.dirty = dirty;
        broken.into_iter().for_each(|key| self.drop_session(key));
        for (_, key) in order {
            self.after_write(key as usize);
        }
    }

    /// The socket took `count` bytes of a path: the rest goes to an outbox, message by message.
    fn keep(&mut self, key: usize, path: &[u32], gathered: &[u8], count: usize) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (end, messages) = self.framer.cut(session.wire, path, &self.sending.turn, count);
        let bound = self.context.config.limits.outbox_bytes;
        let mut outbox = Outbox::new(gathered.get(count..end).unwrap_or_default(), bound, self.now);
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
        let mut buffer = std::mem::take(&mut self.read_buffer);
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
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
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

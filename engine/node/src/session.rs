//! One client connection, as its worker holds it.

use std::{collections::VecDeque, io};

use bytes::Bytes;
use engine::{
    channel::ChannelId,
    frame::{Class, Form, Frame},
    market::Directory,
    message::{SessionId, Subscribe},
};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    auth::ConnectionPermit,
    codec::Decoder,
    outbox::{Counts, Outbox},
    socket::Socket,
    tls::Secure,
    turn::{Item, Turn, is_root},
    wire::{Framer, Wire},
};

/// A socket after its handshake, on the way to a worker.
pub(crate) struct NewSession {
    pub(crate) socket: std::net::TcpStream,
    /// Its TLS state, if clients connect by TLS.
    pub(crate) secure: Option<Secure>,
    /// What the client sent behind its handshake.
    pub(crate) early: Bytes,
    pub(crate) form: Form,
    pub(crate) wire: Wire,
    pub(crate) connections: u32,
    pub(crate) permit: ConnectionPermit,
    pub(crate) slot: OwnedSemaphorePermit,
}

/// A channel of the session and its place in the table.
#[derive(Clone, Copy)]
pub(crate) struct Subscription {
    pub(crate) channel: ChannelId,
    pub(crate) at: u32,
}

/// A channel whose states are conflated on purpose.
pub(crate) struct Paced {
    pub(crate) channel: ChannelId,
    pub(crate) rate_ms: u32,
    /// When the next state may go.
    due_at: i64,
    newest: Option<Frame>,
    /// The last event that went; none before the snapshot.
    last: Option<u64>,
}

impl Paced {
    pub(crate) fn new(channel: ChannelId, rate_ms: u32) -> Self {
        Self { channel, rate_ms, due_at: 0, newest: None, last: None }
    }

    /// What goes now, and when to come back for the rest.
    fn on_frame(&mut self, frame: Frame, now: i64) -> (Vec<Item>, Option<i64>) {
        let is_early = now < self.due_at;
        if frame.class == Class::State && is_early {
            let timer = self.newest.is_none().then_some(self.due_at);
            self.newest = Some(frame);
            return (Vec::new(), timer);
        }
        let before: Option<Item> = self.newest.take().map(|state| self.item(state));
        if frame.class == Class::State {
            self.due_at = now.saturating_add(i64::from(self.rate_ms) * 1_000_000);
        }
        let item = self.item(frame);
        (before.into_iter().chain([item]).collect(), None)
    }

    fn on_timer(&mut self, now: i64) -> Option<Item> {
        if now < self.due_at {
            return None;
        }
        let state = self.newest.take()?;
        self.due_at = now.saturating_add(i64::from(self.rate_ms) * 1_000_000);
        Some(self.item(state))
    }

    fn item(&mut self, frame: Frame) -> Item {
        let before = self.last.unwrap_or(frame.seq.saturating_sub(1));
        self.last = Some(frame.seq);
        if frame.data_at == 0 { Item::frame(frame) } else { Item::frame_after(frame, before) }
    }
}

/// How a session ends.
pub(crate) struct Closing {
    /// When the socket is dropped, whatever the client does.
    pub(crate) until: i64,
    /// Whether our side of the socket is shut.
    pub(crate) is_shut: bool,
}

/// See the module. Holds next to nothing while idle.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) socket: Socket,
    pub(crate) form: Form,
    pub(crate) wire: Wire,
    /// Its pending messages of this turn.
    pub(crate) node: u32,
    pub(crate) decoder: Decoder,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) paced: Vec<Paced>,
    pub(crate) outbox: Option<Box<Outbox>>,
    /// Subscriptions that wait until there is room for their snapshots.
    pub(crate) wishes: VecDeque<Subscribe>,
    /// Snapshots that are under way.
    pub(crate) in_flight: u32,
    /// Given back as soon as the session is being closed, so that its client may come again.
    pub(crate) permit: Option<ConnectionPermit>,
    pub(crate) alive_at: i64,
    pub(crate) pinged_at: i64,
    /// Messages that were not of this protocol.
    pub(crate) faults: u32,
    pub(crate) closing: Option<Closing>,
    pub(crate) _slot: OwnedSemaphorePermit,
}

/// What a worker gathers in a turn.
pub(crate) struct Sending {
    pub(crate) turn: Turn,
    /// Sessions with pending messages.
    pub(crate) dirty: Vec<u32>,
}

impl Session {
    /// Whether something waits for its socket.
    pub(crate) fn is_waiting(&self) -> bool {
        self.outbox.is_some() || self.socket.has_pending()
    }

    /// The place of its subscription to a channel.
    pub(crate) fn find(&self, channel: ChannelId) -> Option<usize> {
        self.subscriptions.iter().position(|entry| entry.channel == channel)
    }

    /// Sends it a message of this turn.
    #[inline]
    pub(crate) fn send(&mut self, key: u32, item: u32, sending: &mut Sending, directory: &Directory) {
        if let Some(outbox) = &mut self.outbox {
            if let Some(item) = sending.turn.item(item) {
                outbox.push(item, directory);
            }
            return;
        }
        if is_root(self.node) {
            sending.dirty.push(key);
        }
        self.node = sending.turn.step(self.node, item);
    }

    /// Sends a message that is for this session alone.
    pub(crate) fn send_own(&mut self, key: u32, item: Item, sending: &mut Sending, directory: &Directory) {
        let item = sending.turn.add(item);
        self.send(key, item, sending, directory);
    }

    /// Sends an event of a channel, at the pace that the client asked for. Returns when to come back, if something waits.
    pub(crate) fn send_paced(
        &mut self,
        key: u32,
        frame: &Frame,
        now: i64,
        sending: &mut Sending,
        directory: &Directory,
    ) -> Result<Option<i64>, NotPaced> {
        let Some(paced) = self.paced.iter_mut().find(|paced| paced.channel == frame.channel) else {
            return Err(NotPaced);
        };
        let (items, timer) = paced.on_frame(frame.clone(), now);
        for item in items {
            self.send_own(key, item, sending, directory);
        }
        Ok(timer)
    }

    /// Sends the state that waited for its pace.
    pub(crate) fn on_timer(
        &mut self,
        key: u32,
        channel: ChannelId,
        now: i64,
        sending: &mut Sending,
        directory: &Directory,
    ) {
        let due = self.paced.iter_mut().find(|paced| paced.channel == channel);
        if let Some(item) = due.and_then(|paced| paced.on_timer(now)) {
            self.send_own(key, item, sending, directory);
        }
    }

    /// A snapshot covers the channel up to `seq`: what waited for its pace is older.
    pub(crate) fn on_snapshot(&mut self, channel: ChannelId, seq: u64) {
        if let Some(paced) = self.paced.iter_mut().find(|paced| paced.channel == channel) {
            paced.newest = None;
            paced.last = Some(seq);
        }
    }

    /// Writes what waits until it is gone or the socket is full. Returns the bytes that went.
    ///
    /// # Errors
    /// The socket is broken.
    pub(crate) fn drain(
        &mut self,
        now: i64,
        scratch: &mut Vec<u8>,
        framer: &mut Framer,
        directory: &Directory,
    ) -> io::Result<(u64, Counts)> {
        let mut written = 0;
        self.socket.flush()?;
        let Some(outbox) = &mut self.outbox else { return Ok((0, Counts::default())) };
        while !outbox.is_empty() {
            scratch.clear();
            let begun = outbox.fill(scratch, directory);
            framer.reframe(self.wire, scratch, begun);
            let result = self.socket.write(scratch);
            let count = *result.as_ref().unwrap_or(&0);
            outbox.sent(scratch, count, now, directory);
            result?;
            written += count as u64;
            if count == 0 {
                break;
            }
        }
        let counts = outbox.take_counts();
        if outbox.is_empty() {
            self.outbox = None;
        }
        Ok((written, counts))
    }
}

/// The channel has no pace of its own.
pub(crate) struct NotPaced;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paced_channel_sends_its_newest_state_on_time_and_events_at_once() {
        let text = br#"{"op":"event","channel":"c","seq":1,"ts":1,"data":{}}"#;
        let bytes = engine::frame::text_frame(text);
        let data_at = 2 + text.windows(6).position(|part| part == b"\"data\"").unwrap() as u16;
        let frame = |seq, class| {
            let (channel, form, bytes) = (ChannelId(0), Form::Number, bytes.clone());
            Frame { channel, seq, class, form, ts_encode: 0, bytes, body_at: 2, data_at }
        };
        let mut paced = Paced::new(ChannelId(0), 1000);
        let second = 1_000_000_000;
        assert_eq!(paced.on_frame(frame(1, Class::State), second).0.len(), 1);
        assert_eq!(paced.on_frame(frame(2, Class::State), second + 1).1, Some(2 * second));
        assert_eq!(paced.on_frame(frame(3, Class::State), second + 2).1, None);
        assert!(paced.on_timer(second + 3).is_none());
        let late = paced.on_timer(2 * second).unwrap();
        assert!(String::from_utf8_lossy(&late.bytes).contains("\"skipped\":1,"));
        assert_eq!(paced.on_frame(frame(4, Class::State), 2 * second + 1).0.len(), 0);
        assert_eq!(paced.on_frame(frame(5, Class::Event), 2 * second + 2).0.len(), 2);
    }
}

//! What comes from the shards: frames to all followers, snapshots to one, holes to be read again.

use std::{cmp::Reverse, sync::Arc};

use bytes::Bytes;
use engine::{
    channel::ChannelId,
    frame::{Form, Frame},
    message::{Delivery, Input, Position, SessionId, Subscribe},
};

use crate::{
    table::{Fit, WAITING},
    turn::{Item, ItemKind},
    worker::{Reread, Worker, key_of},
};

/// Snapshots under way to one session at a time: the others wait for room.
const IN_FLIGHT_MAX: u32 = 4;
/// Marks a session number as that of a re-read.
const REREAD: u64 = 1 << 63;

impl Worker {
    pub(crate) fn on_delivery(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Frame(frame) => self.on_frame(&frame),
            Delivery::Snapshot { session, channel, form, seq, epoch, frames } => {
                let bytes = join(frames);
                if let Some(entry) = self.table.entry(channel, form) {
                    entry.epoch = epoch;
                }
                if session & REREAD == 0 {
                    if let Some(session) = self.session_of(session) {
                        session.in_flight = session.in_flight.saturating_sub(1);
                    }
                    self.on_snapshot(&[session], channel, form, seq, bytes);
                    self.ask_wishes(key_of(session));
                } else if let Some(reread) = self.rereads.remove(&session) {
                    self.on_snapshot(&reread.sessions, channel, form, seq, bytes);
                }
            }
        }
    }

    fn session_of(&mut self, id: SessionId) -> Option<&mut crate::session::Session> {
        self.sessions.get_mut(key_of(id)).filter(|session| session.id == id)
    }

    /// The hot loop: one step in the turn's tree per follower.
    fn on_frame(&mut self, frame: &Frame) {
        let Some(entry) = self.table.entry(frame.channel, frame.form) else { return };
        if entry.members.is_empty() {
            // Left in the same turn as it was asked for: the shard must not go on sending it.
            let (worker, channel, form) = (self.number, frame.channel, frame.form);
            self.tell_shard(Input::Unsubscribe { worker, channel, form });
            return;
        }
        let directory = &self.context.directory;
        let item = self.sending.turn.add(Item::frame(frame.clone()));
        let mut count = 0;
        let mut has_hole = false;
        for member in &mut entry.members {
            match member.advance(frame) {
                Fit::Next => {}
                Fit::Known => continue,
                Fit::Hole => {
                    has_hole = true;
                    continue;
                }
            }
            let Some(session) = self.sessions.get_mut(member.key as usize) else { continue };
            count += 1;
            if !session.paced.is_empty() {
                match session.send_paced(member.key, frame, self.now, &mut self.sending, directory) {
                    Ok(Some(due)) => self.timers.push(Reverse((due, session.id, frame.channel.0))),
                    Ok(None) => {}
                    Err(_) => session.send(member.key, item, &mut self.sending, directory),
                }
                continue;
            }
            session.send(member.key, item, &mut self.sending, directory);
        }
        self.context.metrics.deliveries.inc_by(count);
        if has_hole {
            self.on_dropped(frame.channel, frame.form, frame.seq);
        }
    }

    /// Frames up to `last` never came: those who are behind read the channel again, one answer for all at one position.
    pub(crate) fn on_dropped(&mut self, channel: ChannelId, form: Form, last: u64) {
        let number = self.number;
        let Some(entry) = self.table.entry(channel, form) else { return };
        let epoch = entry.epoch;
        let mut behind = Vec::new();
        for member in &mut entry.members {
            if member.seq < last
                && let Some(session) = self.sessions.get(member.key as usize)
            {
                behind.push((member.seq, session.id));
                member.seq = WAITING;
            }
        }
        behind.sort_unstable();
        for group in behind.chunk_by(|a, b| a.0 == b.0) {
            let Some((seq, _)) = group.first() else { continue };
            self.generation += 1;
            let tag = REREAD | self.generation;
            self.rereads.insert(tag, Reread { sessions: group.iter().map(|(_, id)| *id).collect() });
            let since = Some(Position { epoch, seq: *seq });
            let wish = Subscribe { worker: number, session: tag, channel, form, since, snapshot: 200, join: false };
            self.tell_shard(Input::Subscribe(wish));
        }
    }

    /// An answer: these sessions follow the channel from `seq` on.
    fn on_snapshot(&mut self, ids: &[SessionId], channel: ChannelId, form: Form, seq: u64, bytes: Bytes) {
        let item = self.sending.turn.add(Item { bytes, kind: ItemKind::Snapshot { channel, seq } });
        let directory = Arc::clone(&self.context.directory);
        for id in ids {
            let key = key_of(*id);
            let Some(session) = self.sessions.get_mut(key).filter(|session| session.id == *id) else { continue };
            let Some(place) = session.find(channel) else { continue };
            let at = session.subscriptions.get(place).map_or(0, |entry| entry.at);
            session.on_snapshot(channel, seq);
            session.send(key as u32, item, &mut self.sending, &directory);
            if let Some(member) = self.table.member(channel, form, at) {
                member.seq = seq;
            }
        }
    }

    /// Asks for the session's next snapshots as far as there is room for them.
    pub(crate) fn ask_wishes(&mut self, key: usize) {
        let room = self.context.config.limits.outbox_bytes / 4;
        let Some(session) = self.sessions.get_mut(key) else { return };
        while session.in_flight < IN_FLIGHT_MAX && session.outbox.as_ref().is_none_or(|outbox| outbox.bytes() <= room) {
            let Some(wish) = session.wishes.pop_front() else { return };
            session.in_flight += 1;
            self.deferred.push_back(Input::Subscribe(wish));
        }
    }

    pub(crate) fn fire_timers(&mut self) {
        while let Some(Reverse((due, id, channel))) = self.timers.peek().copied() {
            if due > self.now {
                return;
            }
            self.timers.pop();
            let key = key_of(id);
            if let Some(session) = self.sessions.get_mut(key).filter(|session| session.id == id) {
                let channel = ChannelId(channel);
                session.on_timer(key as u32, channel, self.now, &mut self.sending, &self.context.directory);
            }
        }
    }
}

/// One piece of bytes: a snapshot goes out whole.
fn join(mut frames: Vec<Bytes>) -> Bytes {
    if frames.len() == 1 {
        return frames.pop().unwrap_or_default();
    }
    frames.concat().into()
}

//! What comes from the shards: frames to all followers, snapshots to one, holes to be read again.

use std::{cmp::Reverse, collections::VecDeque, sync::Arc};

use bytes::Bytes;
use engine::{
    channel::ChannelId,
    frame::{Form, Frame},
    message::{Delivery, Input, Position, SessionId, Subscribe},
};

use crate::{
    table::{Fit, Member},
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
        match entry.advance(frame) {
            Fit::Next => {}
            Fit::Known => return,
            Fit::Hole => return self.on_dropped(frame.channel, frame.form, frame.seq),
        }
        let directory = &self.context.directory;
        let item = self.sending.turn.add(Item::frame(frame.clone()));
        let mut count = 0;
        for member in entry.members.iter().filter(|member| !member.is_waiting()) {
            let key = member.key();
            let Some(session) = self.sessions.get_mut(key as usize) else { continue };
            count += 1;
            if !session.paced.is_empty() {
                match session.send_paced(key, frame, self.now, &mut self.sending, directory) {
                    Ok(Some(due)) => self.timers.push(Reverse((due, session.id, frame.channel.0))),
                    Ok(None) => {}
                    Err(_) => session.send(key, item, &mut self.sending, directory),
                }
                continue;
            }
            session.send(key, item, &mut self.sending, directory);
        }
        self.context.metrics.deliveries.inc_by(count);
    }

    /// Frames up to `last` never came: those who were in step read the channel again, with one answer for all.
    pub(crate) fn on_dropped(&mut self, channel: ChannelId, form: Form, last: u64) {
        let worker = self.number;
        let Some(entry) = self.table.entry(channel, form) else { return };
        let since = Some(Position { epoch: entry.epoch, seq: entry.seq });
        let behind = entry.fall_behind(last).into_iter();
        let sessions: Vec<_> = behind.filter_map(|key| self.sessions.get(key as usize)).map(|known| known.id).collect();
        if sessions.is_empty() {
            return;
        }
        self.generation += 1;
        let session = REREAD | self.generation;
        self.rereads.insert(session, Reread { sessions });
        self.tell_shard(Input::Subscribe(Subscribe {
            worker,
            session,
            channel,
            form,
            since,
            snapshot: 200,
            join: false,
        }));
    }

    /// An answer: these sessions follow the channel from `seq` on.
    fn on_snapshot(&mut self, ids: &[SessionId], channel: ChannelId, form: Form, seq: u64, bytes: Bytes) {
        let item = self.sending.turn.add(Item { bytes, kind: ItemKind::Snapshot { channel, seq } });
        let directory = Arc::clone(&self.context.directory);
        let mut places = Vec::with_capacity(ids.len());
        for id in ids {
            let key = key_of(*id);
            let Some(session) = self.sessions.get_mut(key).filter(|session| session.id == *id) else { continue };
            let Some(subscription) = session.find(channel).and_then(|place| session.subscriptions.get(place)) else {
                continue;
            };
            places.push(subscription.at);
            session.on_snapshot(channel, seq);
            session.send(key as u32, item, &mut self.sending, &directory);
        }
        self.each_member(channel, form, &places, Member::wait);
        // Whoever is in step but not as far as this answer has missed something.
        self.on_dropped(channel, form, seq);
        if let Some(entry) = self.table.entry(channel, form).filter(|_| !places.is_empty()) {
            entry.seq = seq;
        }
        self.each_member(channel, form, &places, Member::step);
    }

    fn each_member(&mut self, channel: ChannelId, form: Form, places: &[u32], change: fn(&mut Member)) {
        for place in places {
            if let Some(member) = self.table.member(channel, form, *place) {
                change(member);
            }
        }
    }

    /// Asks for the session's next snapshots as far as there is room for them.
    pub(crate) fn ask_wishes(&mut self, key: usize) {
        let room = self.context.config.limits.outbox_bytes / 4;
        let Some(session) = self.sessions.get_mut(key) else { return };
        while session.in_flight < IN_FLIGHT_MAX && session.outbox.as_ref().is_none_or(|outbox| outbox.bytes() <= room) {
            let Some(wish) = session.wishes.pop_front() else {
                session.wishes = VecDeque::new();
                return;
            };
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

//! Ends of subscriptions and of sessions.

use engine::{channel::ChannelId, frame::Form, message::Input};

use crate::worker::Worker;

impl Worker {
    /// Ends all of a session's subscriptions.
    pub(crate) fn leave_all(&mut self, key: usize) {
        let Some(session) = self.sessions.get(key) else { return };
        let channels: Vec<_> = session.subscriptions.iter().map(|entry| entry.channel).collect();
        channels.into_iter().for_each(|channel| _ = self.leave(key, channel));
    }

    /// Ends one subscription; false if there was none.
    pub(crate) fn leave(&mut self, key: usize, channel: ChannelId) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        let Some(place) = session.find(channel) else { return false };
        let form = session.form;
        let subscription = session.subscriptions.swap_remove(place);
        session.paced.retain(|paced| paced.channel != channel);
        if let Some(outbox) = &mut session.outbox {
            outbox.leave(channel);
        }
        let asked = session.wishes.len();
        session.wishes.retain(|wish| wish.channel != channel || !wish.join);
        let is_joined = asked == session.wishes.len();
        if let Some(moved) = self.table.leave(channel, form, subscription.at) {
            self.moved(moved as usize, channel, subscription.at);
        }
        if is_joined {
            self.tell_shard(Input::Unsubscribe { worker: self.number, channel, form });
        }
        true
    }

    fn moved(&mut self, key: usize, channel: ChannelId, at: u32) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if let Some(place) = session.find(channel)
            && let Some(entry) = session.subscriptions.get_mut(place)
        {
            entry.at = at;
        }
    }

    /// Forgets a session whose socket is done.
    pub(crate) fn drop_session(&mut self, key: usize) {
        self.leave_all(key);
        let Some(mut session) = self.sessions.try_remove(key) else { return };
        session.socket.forget(self.poll.registry());
        self.context.metrics.connections.dec();
        self.link.on_closed();
    }

    /// The position of a session in a channel, if it has its snapshot.
    pub(crate) fn position(&mut self, key: usize, channel: ChannelId, form: Form) -> Option<u64> {
        let session = self.sessions.get(key)?;
        let at = session.subscriptions.get(session.find(channel)?)?.at;
        let entry = self.table.entry(channel, form)?;
        entry.members.get(at as usize).filter(|member| !member.is_waiting()).map(|_| entry.seq)
    }
}

//! Which sessions of a worker follow which channel, and how far each of them is.

use engine::{
    channel::ChannelId,
    frame::{Form, Frame},
};

/// Marks a member that waits for a snapshot: frames before it are not for this session.
const WAITING: u32 = 1 << 31;

/// One follower of a channel: it is in step, which means that it was given all that its entry has seen, or it waits for a
/// snapshot. Four bytes, since there are as many as subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member(u32);

impl Member {
    /// The session's place in the slab.
    #[inline]
    pub(crate) const fn key(self) -> u32 {
        self.0 & !WAITING
    }

    #[inline]
    pub(crate) const fn is_waiting(self) -> bool {
        self.0 & WAITING != 0
    }

    pub(crate) const fn wait(&mut self) {
        self.0 |= WAITING;
    }

    pub(crate) const fn step(&mut self) {
        self.0 &= !WAITING;
    }
}

/// What a frame means to the members in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// The next event, or a notice behind the last one.
    Next,
    /// Known already.
    Known,
    /// Events before it are missing.
    Hole,
}

/// The followers of one channel in one form.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) epoch: u64,
    /// The last event that members in step were given.
    pub(crate) seq: u64,
    pub(crate) members: Vec<Member>,
}

impl Entry {
    /// Judges a frame and, if it is the next one, moves on.
    #[inline]
    pub(crate) fn advance(&mut self, frame: &Frame) -> Fit {
        if frame.data_at == 0 && frame.seq == self.seq {
            return Fit::Next;
        }
        if frame.data_at > 0 && frame.seq == self.seq.wrapping_add(1) {
            self.seq = frame.seq;
            return Fit::Next;
        }
        if frame.seq <= self.seq { Fit::Known } else { Fit::Hole }
    }

    /// Lets all members in step wait, if events up to `last` never came; returns their keys.
    pub(crate) fn fall_behind(&mut self, last: u64) -> Vec<u32> {
        if self.seq >= last {
            return Vec::new();
        }
        let in_step = self.members.iter_mut().filter(|member| !member.is_waiting());
        in_step.map(|member| (member.wait(), member.key()).1).collect()
    }
}

/// All entries, by channel and form.
pub(crate) struct Table {
    entries: Vec<Entry>,
}

impl Table {
    pub(crate) fn new(channels: usize) -> Self {
        Self { entries: (0..channels * Form::ALL.len()).map(|_| Entry::default()).collect() }
    }

    #[inline]
    pub(crate) fn entry(&mut self, channel: ChannelId, form: Form) -> Option<&mut Entry> {
        let offset = match form {
            Form::Number => 0,
            Form::Text => 1,
        };
        self.entries.get_mut(channel.0 as usize * Form::ALL.len() + offset)
    }

    /// Adds a follower that waits for its snapshot; returns its place in the entry.
    pub(crate) fn join(&mut self, channel: ChannelId, form: Form, key: u32) -> u32 {
        let Some(entry) = self.entry(channel, form) else { return 0 };
        entry.members.push(Member(key | WAITING));
        (entry.members.len() - 1) as u32
    }

    /// Removes the follower at that place; returns the key of the one that took the place, if any.
    pub(crate) fn leave(&mut self, channel: ChannelId, form: Form, at: u32) -> Option<u32> {
        let entry = self.entry(channel, form)?;
        if (at as usize) < entry.members.len() {
            entry.members.swap_remove(at as usize);
        }
        if entry.members.is_empty() {
            entry.members = Vec::new();
        }
        entry.members.get(at as usize).map(|member| member.key())
    }

    pub(crate) fn member(&mut self, channel: ChannelId, form: Form, at: u32) -> Option<&mut Member> {
        self.entry(channel, form)?.members.get_mut(at as usize)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use engine::frame::Class;

    use super::*;

    fn frame(seq: u64, data_at: u16) -> Frame {
        let (channel, class, form) = (ChannelId(0), Class::State, Form::Number);
        Frame { channel, seq, class, form, ts_encode: 0, bytes: Bytes::new(), body_at: 2, data_at }
    }

    #[test]
    fn an_entry_takes_each_event_once_and_sees_holes() {
        let mut entry = Entry { seq: 5, ..Entry::default() };
        for (seq, data_at, want) in [(5, 9, Fit::Known), (6, 9, Fit::Next), (6, 0, Fit::Next), (8, 9, Fit::Hole)] {
            assert_eq!(entry.advance(&frame(seq, data_at)), want, "{seq}");
        }
    }

    #[test]
    fn only_members_in_step_fall_behind_and_only_once() {
        let mut entry = Entry { seq: 5, members: vec![Member(7), Member(8 | WAITING), Member(9)], ..Entry::default() };
        assert!(entry.fall_behind(5).is_empty());
        assert_eq!(entry.fall_behind(6), [7, 9]);
        assert!(entry.fall_behind(6).is_empty());
        entry.members[0].step();
        assert_eq!(entry.fall_behind(7), [7]);
    }

    #[test]
    fn the_last_follower_takes_the_place_of_one_that_leaves() {
        let mut table = Table::new(1);
        let places: Vec<_> = (0..3).map(|key| table.join(ChannelId(0), Form::Text, key)).collect();
        assert_eq!(places, [0, 1, 2]);
        assert_eq!(table.leave(ChannelId(0), Form::Text, 0), Some(2));
        assert_eq!(table.leave(ChannelId(0), Form::Text, 1), None);
    }
}

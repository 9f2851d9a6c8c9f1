//! What waits for a session whose socket is full: bounded in bytes, newest states, all events while there is room.
//!
//! The ladder of `PRODUCT.md` §1: states conflate; at the bound events are lost and counted, and a `gap` op tells it as
//! soon as there is room; whoever stays stuck is closed.

use std::{collections::VecDeque, mem};

use bytes::Bytes;
use engine::{
    channel::ChannelId,
    frame::{Class, Frame},
    market::Directory,
};

use crate::{
    answer::Answer,
    turn::{Item, ItemKind},
};

/// How much is gathered for one write. What was gathered can no longer be conflated.
const CHUNK_BYTES: usize = 64 * 1024;

enum Queued {
    Control(Bytes),
    Snapshot {
        channel: ChannelId,
        seq: u64,
        bytes: Bytes,
    },
    Frame {
        lane: usize,
        frame: Frame,
    },
    /// Tells of `count` lost events.
    Gap {
        lane: usize,
        lost: Lost,
        bytes: Bytes,
    },
}

/// Events that are gone.
struct Lost {
    from: u64,
    to: u64,
    count: u64,
    /// How many of them came after the newest state.
    behind: u64,
}

/// One channel of the session.
struct Lane {
    channel: ChannelId,
    /// The last event that was written.
    last: u64,
    /// Lost events behind `last` that a `gap` has told of.
    told: u64,
    /// The last of those that were told of but stand behind the state to come, and how many there are.
    behind: (u64, u64),
    newest: Option<Frame>,
    lost: Option<Lost>,
}

/// What became of messages, for the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) conflated: u64,
    pub(crate) lost: u64,
}

/// See the module.
pub(crate) struct Outbox {
    partial: Vec<u8>,
    queue: VecDeque<Queued>,
    lanes: Vec<Lane>,
    bytes: usize,
    bound: usize,
    /// When the socket last took something.
    progress_at: i64,
    counts: Counts,
}

impl Outbox {
    /// An outbox that begins with the rest of a message that was cut off.
    pub(crate) fn new(partial: &[u8], bound: usize, now: i64) -> Self {
        Self {
            partial: partial.to_vec(),
            queue: VecDeque::new(),
            lanes: Vec::new(),
            bytes: partial.len(),
            bound,
            progress_at: now,
            counts: Counts::default(),
        }
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Counts since the last call.
    pub(crate) fn take_counts(&mut self) -> Counts {
        mem::take(&mut self.counts)
    }

    /// Whether the client is beyond help: no progress within the deadline, or twice over the bound.
    pub(crate) fn is_stuck(&self, now: i64, deadline: i64) -> bool {
        now.saturating_sub(self.progress_at) > deadline || self.bytes > self.bound.saturating_mul(2)
    }

    /// How many messages of a channel wait.
    pub(crate) fn pending(&self, channel: ChannelId) -> usize {
        let Some(index) = self.lanes.iter().position(|lane| lane.channel == channel) else { return 0 };
        let newest = self.lanes.get(index).is_some_and(|lane| lane.newest.is_some());
        let queued = self.queue.iter().filter(|queued| matches!(queued, Queued::Frame { lane, .. } if *lane == index));
        queued.count() + usize::from(newest)
    }

    /// Takes a message in.
    pub(crate) fn push(&mut self, item: &Item, directory: &Directory) {
        match &item.kind {
            ItemKind::Control => self.enqueue(Queued::Control(item.bytes.clone()), item.bytes.len()),
            ItemKind::Snapshot { channel, seq } => {
                let lane = self.lane(*channel, *seq);
                if let Some(old) = self.lanes.get_mut(lane).and_then(|lane| lane.newest.take()) {
                    self.bytes -= old.bytes.len();
                    self.counts.conflated += 1;
                }
                let (channel, seq, bytes) = (*channel, *seq, item.bytes.clone());
                self.enqueue(Queued::Snapshot { channel, seq, bytes }, item.bytes.len());
            }
            ItemKind::Frame { frame, before } => {
                let lane = self.lane(frame.channel, *before);
                match frame.class {
                    Class::State => self.on_state(lane, frame),
                    Class::Event => self.on_event(lane, frame, directory),
                }
            }
        }
    }

    /// Drops what waits of a channel that the session has left.
    pub(crate) fn leave(&mut self, channel: ChannelId) {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.channel == channel) else { return };
        lane.lost = None;
        if let Some(old) = lane.newest.take() {
            self.bytes -= old.bytes.len();
        }
    }

    /// Drops all but the message that is half written: the session is being closed.
    pub(crate) fn abandon(&mut self) {
        self.queue.clear();
        self.lanes.clear();
        self.bytes = self.partial.len();
    }

    /// Appends up to a chunk of what waits to `out`, which is empty, and returns how much of that is the rest of what was
    /// begun: behind it, whole frames may be put another way. Tell with [`Outbox::sent`] how much the socket took.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>, directory: &Directory) -> usize {
        let begun = self.partial.len();
        self.bytes = self.bytes.saturating_sub(begun);
        out.append(&mut self.partial);
        let chunk = CHUNK_BYTES.min(self.bound / 2).max(1);
        while out.len() < chunk {
            if let Some(queued) = self.queue.pop_front() {
                match queued {
                    Queued::Control(bytes) => self.take(&bytes, bytes.len(), out),
                    Queued::Snapshot { channel, seq, bytes } => {
                        let lane = self.lane(channel, seq);
                        if let Some(lane) = self.lanes.get_mut(lane) {
                            (lane.last, lane.told) = (seq, 0);
                        }
                        self.take(&bytes, bytes.len(), out);
                    }
                    Queued::Frame { lane, frame } => self.take_frame(lane, &frame, out),
                    Queued::Gap { lane, lost, bytes } => {
                        if let Some(lane) = self.lanes.get_mut(lane) {
                            lane.told += lost.count - lost.behind + lane.behind.1;
                            lane.behind = (lost.to, lost.behind);
                        }
                        self.take(&bytes, bytes.len(), out);
                    }
                }
                continue;
            }
            // What was lost is told before a newer state, or the state would count it as skipped once more.
            if self.settle(directory) {
                continue;
            }
            let newest = self.lanes.iter_mut().enumerate().find_map(|(at, lane)| Some((at, lane.newest.take()?)));
            match newest {
                Some((lane, frame)) => self.take_frame(lane, &frame, out),
                None => break,
            }
        }
        begun
    }

    /// The socket took `count` bytes of `out`, which [`Outbox::fill`] gave. What it did not take waits on.
    pub(crate) fn sent(&mut self, out: &[u8], count: usize, now: i64, directory: &Directory) {
        self.partial = out.get(count..).unwrap_or_default().to_vec();
        self.bytes += self.partial.len();
        if count > 0 {
            self.progress_at = now;
        }
        if self.has_room() {
            self.settle(directory);
        }
    }

    fn has_room(&self) -> bool {
        self.bytes <= self.bound / 2
    }

    fn lane(&mut self, channel: ChannelId, last: u64) -> usize {
        if let Some(index) = self.lanes.iter().position(|lane| lane.channel == channel) {
            return index;
        }
        self.lanes.push(Lane { channel, last, told: 0, behind: (0, 0), newest: None, lost: None });
        self.lanes.len() - 1
    }

    fn enqueue(&mut self, queued: Queued, bytes: usize) {
        self.bytes += bytes;
        self.queue.push_back(queued);
    }

    fn on_state(&mut self, lane: usize, frame: &Frame) {
        let Some(place) = self.lanes.get_mut(lane) else { return };
        if let Some(lost) = &mut place.lost {
            lost.behind = 0;
        }
        self.bytes += frame.bytes.len();
        if let Some(old) = place.newest.replace(frame.clone()) {
            self.bytes -= old.bytes.len();
            self.counts.conflated += 1;
        }
    }

    fn on_event(&mut self, lane: usize, frame: &Frame, directory: &Directory) {
        if self.lanes.get(lane).is_some_and(|lane| lane.lost.is_some()) && self.has_room() {
            self.settle(directory);
        }
        let is_full = self.bytes + frame.bytes.len() > self.bound;
        let Some(place) = self.lanes.get_mut(lane) else { return };
        if is_full || place.lost.is_some() {
            self.counts.lost += 1;
            // A feed's gap notice has no number of its own.
            let numbered = u64::from(frame.data_at > 0);
            let lost = place.lost.get_or_insert(Lost { from: frame.seq, to: frame.seq, count: 0, behind: 0 });
            lost.to = frame.seq;
            lost.count += numbered;
            lost.behind += numbered;
            return;
        }
        // The state before it goes first: a closed candle never overtakes its own channel.
        if let Some(state) = place.newest.take() {
            self.queue.push_back(Queued::Frame { lane, frame: state });
        }
        self.enqueue(Queued::Frame { lane, frame: frame.clone() }, frame.bytes.len());
    }

    /// Tells of what was lost; false if nothing was.
    fn settle(&mut self, directory: &Directory) -> bool {
        let mut any = false;
        for index in 0..self.lanes.len() {
            let Some(lane) = self.lanes.get_mut(index) else { continue };
            let Some(mut lost) = lane.lost.take() else { continue };
            any = true;
            if lane.newest.as_ref().is_some_and(|state| state.seq < lost.from)
                && let Some(frame) = lane.newest.take()
            {
                self.queue.push_back(Queued::Frame { lane: index, frame });
            }
            if lane.newest.is_none() {
                lost.behind = 0;
            }
            let bytes = Answer::lost(lane.channel.name(directory), lost.from, lost.to, lost.count).frame();
            let size = bytes.len();
            self.enqueue(Queued::Gap { lane: index, lost, bytes }, size);
        }
        any
    }

    fn take(&mut self, bytes: &[u8], counted: usize, out: &mut Vec<u8>) {
        // What is in `out` was counted; the part that the socket leaves is counted again by `sent`.
        self.bytes = self.bytes.saturating_sub(counted);
        out.extend_from_slice(bytes);
    }

    fn take_frame(&mut self, lane: usize, frame: &Frame, out: &mut Vec<u8>) {
        let mut skipped = 0;
        if frame.data_at > 0
            && let Some(lane) = self.lanes.get_mut(lane)
        {
            if frame.seq <= lane.last {
                self.bytes = self.bytes.saturating_sub(frame.bytes.len());
                return;
            }
            if frame.seq > lane.behind.0 {
                lane.told += lane.behind.1;
                lane.behind = (0, 0);
            }
            skipped = (frame.seq - lane.last - 1).saturating_sub(lane.told);
            (lane.last, lane.told) = (frame.seq, 0);
        }
        self.take(&frame.with_skipped(skipped), frame.bytes.len(), out);
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;

//! What one turn of a worker sends: each message once, however many sessions want it.
//!
//! A session's pending messages are a path in a tree: it hangs below the path of the messages before. Sessions that want
//! the same messages are on the same node, so their bytes are gathered once and a delivery is one table step.

use bytes::Bytes;
use engine::{channel::ChannelId, frame::Frame};

use crate::wire::Wire;

/// What a message is, as far as a slow session needs to know.
#[derive(Clone, Debug)]
pub(crate) enum ItemKind {
    /// An answer, a ping or a close frame: never dropped.
    Control,
    /// The answer to a subscription; covers the channel up to `seq`.
    Snapshot { channel: ChannelId, seq: u64 },
    /// A frame; the session had the channel up to `before`.
    Frame { frame: Frame, before: u64 },
}

/// One message of the turn.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// What is written if nothing is in the way.
    pub(crate) bytes: Bytes,
    pub(crate) kind: ItemKind,
}

impl Item {
    pub(crate) fn control(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), kind: ItemKind::Control }
    }

    /// A frame for sessions that have seen all before it.
    pub(crate) fn frame(frame: Frame) -> Self {
        let before = frame.seq.saturating_sub(1);
        Self { bytes: frame.bytes.clone(), kind: ItemKind::Frame { frame, before } }
    }

    /// A frame for a session that has the channel up to `before`.
    pub(crate) fn frame_after(frame: Frame, before: u64) -> Self {
        let skipped = frame.seq.saturating_sub(before).saturating_sub(1);
        Self { bytes: frame.with_skipped(skipped), kind: ItemKind::Frame { frame, before } }
    }
}

/// Whether a session there has nothing pending. Each [`Wire`] has a root of its own.
#[inline]
pub(crate) fn is_root(node: u32) -> bool {
    node < Wire::COUNT
}

#[derive(Clone, Copy)]
struct Node {
    parent: u32,
    item: u32,
    /// The newest message that was hung below, and where.
    child_item: u32,
    child: u32,
}

const EMPTY: Node = Node { parent: 0, item: u32::MAX, child_item: u32::MAX, child: 0 };
const ROOTS: [Node; Wire::COUNT as usize] = [EMPTY; Wire::COUNT as usize];

/// See the module.
pub(crate) struct Turn {
    items: Vec<Item>,
    nodes: Vec<Node>,
    /// Compressed frames of items, once somebody wanted them.
    deflated: Vec<Option<Bytes>>,
}

impl Turn {
    pub(crate) fn new() -> Self {
        Self { items: Vec::new(), nodes: ROOTS.to_vec(), deflated: Vec::new() }
    }

    /// Takes a message in and returns its number.
    pub(crate) fn add(&mut self, item: Item) -> u32 {
        self.items.push(item);
        (self.items.len() - 1) as u32
    }

    /// Where a session moves from `node` when it is sent `item`.
    #[inline]
    pub(crate) fn step(&mut self, node: u32, item: u32) -> u32 {
        let next = self.nodes.len() as u32;
        let Some(place) = self.nodes.get_mut(node as usize) else { return node };
        if place.child_item == item {
            return place.child;
        }
        place.child_item = item;
        place.child = next;
        self.nodes.push(Node { parent: node, item, ..EMPTY });
        next
    }

    /// Puts the messages of a node into `out`, oldest first, and returns how its sessions want them.
    pub(crate) fn path(&self, mut node: u32, out: &mut Vec<u32>) -> Wire {
        out.clear();
        while !is_root(node)
            && let Some(place) = self.nodes.get(node as usize)
        {
            out.push(place.item);
            node = place.parent;
        }
        out.reverse();
        Wire::of_root(node)
    }

    pub(crate) fn item(&self, item: u32) -> Option<&Item> {
        self.items.get(item as usize)
    }

    /// The compressed frames of a message, if it was compressed in this turn.
    pub(crate) fn deflated(&self, item: u32) -> Option<&Bytes> {
        self.deflated.get(item as usize)?.as_ref()
    }

    /// Keeps the compressed frames of a message for the other sessions.
    pub(crate) fn keep_deflated(&mut self, item: u32, bytes: Bytes) {
        if self.deflated.len() < self.items.len() {
            self.deflated.resize(self.items.len(), None);
        }
        if let Some(place) = self.deflated.get_mut(item as usize) {
            *place = Some(bytes);
        }
    }

    /// When the oldest frame of the turn was encoded.
    pub(crate) fn oldest_encode(&self) -> Option<i64> {
        self.items.iter().find_map(|item| match &item.kind {
            ItemKind::Frame { frame, .. } => Some(frame.ts_encode),
            _ => None,
        })
    }

    /// Forgets everything; all sessions must be back at their roots.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.deflated.clear();
        self.nodes.clear();
        self.nodes.extend_from_slice(&ROOTS);
        if self.items.capacity() > 65_536 {
            self.items = Vec::new();
            self.deflated = Vec::new();
            self.nodes = ROOTS.to_vec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_with_the_same_messages_share_a_node() {
        let mut turn = Turn::new();
        let [a, b] = ["a", "b"].map(|text| turn.add(Item::control(Bytes::from_static(text.as_bytes()))));
        let mut sessions = [Wire::default().root(); 4];
        for at in [0, 1, 2] {
            sessions[at] = turn.step(sessions[at], a);
        }
        for at in [0, 1, 3] {
            sessions[at] = turn.step(sessions[at], b);
        }
        assert_eq!(sessions[0], sessions[1]);
        assert!(sessions[2] != sessions[0] && sessions[3] != sessions[0]);
        let mut path = Vec::new();
        turn.path(sessions[0], &mut path);
        assert_eq!(path, [a, b]);
        turn.path(sessions[3], &mut path);
        assert_eq!(path, [b]);
    }
}

//! What a client chose on connecting, and its messages put into frames that way.
//!
//! Shards encode one text frame per message, and most sessions are sent those bytes as they are. For the others the same
//! frames are put together anew, once per group of sessions with the same messages. A [`Wire`] is the root of a session's
//! path in the turn's tree, so groups never mix and a delivery costs the same for all.

use bytes::Bytes;

use crate::{deflate::Deflater, turn::Turn};

/// An array is closed before it grows beyond this, unless one message alone is longer.
const ARRAY_BYTES_MAX: usize = 64 * 1024;
const TEXT: u8 = 0x81;
const COMPRESSED: u8 = 0x40;
/// The lowest opcode of control frames.
const CONTROL: u8 = 8;

/// How a session wants its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wire {
    /// Every text is a JSON array of messages.
    pub(crate) is_batch: bool,
    /// Texts are compressed (permessage-deflate).
    pub(crate) is_deflate: bool,
}

impl Wire {
    /// How many kinds there are.
    pub(crate) const COUNT: u32 = 4;

    /// The place of a session of this kind that has nothing pending.
    pub(crate) fn root(self) -> u32 {
        u32::from(self.is_batch) | u32::from(self.is_deflate) << 1
    }

    /// The kind of the sessions below a root.
    pub(crate) fn of_root(root: u32) -> Self {
        Self { is_batch: root & 1 != 0, is_deflate: root & 2 != 0 }
    }

    /// Whether frames go as shards encode them.
    pub(crate) fn is_plain(self) -> bool {
        self == Self::default()
    }
}

/// A place between frames that is between messages as well.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    /// How many bytes of the group lie before it.
    end: usize,
    /// How many messages of the path.
    messages: usize,
}

/// Puts messages into frames. A worker has one.
#[derive(Default)]
pub(crate) struct Framer {
    /// The array under way, without its end.
    array: Vec<u8>,
    deflater: Deflater,
}

impl Framer {
    /// Appends the messages of a path to `out` as sessions of that kind want them, and where these bytes may be cut to
    /// `cuts`, which plain frames do without.
    pub(crate) fn gather(&mut self, wire: Wire, path: &[u32], turn: &mut Turn, out: &mut Vec<u8>, cuts: &mut Vec<Cut>) {
        let from = out.len();
        if wire.is_plain() {
            path.iter().filter_map(|number| turn.item(*number)).for_each(|item| out.extend_from_slice(&item.bytes));
            return;
        }
        for (messages, number) in path.iter().enumerate() {
            let Some(item) = turn.item(*number) else { continue };
            let start = out.len();
            if wire.is_batch {
                let mut rest = &item.bytes[..];
                let mut is_first = true;
                while let Some(frame) = OwnFrame::split(&mut rest) {
                    self.make_room(wire, frame, out);
                    if is_first && self.array.is_empty() {
                        cuts.push(Cut { end: out.len() - from, messages });
                    }
                    is_first = false;
                    self.put(wire, frame, out);
                }
                continue;
            }
            cuts.push(Cut { end: start - from, messages });
            match turn.deflated(*number) {
                Some(bytes) => out.extend_from_slice(bytes),
                None => {
                    self.put_all(wire, &item.bytes, out);
                    let bytes = Bytes::copy_from_slice(out.get(start..).unwrap_or_default());
                    turn.keep_deflated(*number, bytes);
                }
            }
        }
        self.close_array(wire, out);
        cuts.push(Cut { end: out.len() - from, messages: path.len() });
    }

    /// Puts the plain frames of `out` from `start` on into frames of that kind.
    pub(crate) fn reframe(&mut self, wire: Wire, out: &mut Vec<u8>, start: usize) {
        if wire.is_plain() {
            return;
        }
        let plain = out.split_off(start.min(out.len()));
        self.put_all(wire, &plain, out);
    }

    fn put_all(&mut self, wire: Wire, mut plain: &[u8], out: &mut Vec<u8>) {
        while let Some(frame) = OwnFrame::split(&mut plain) {
            self.make_room(wire, frame, out);
            self.put(wire, frame, out);
        }
        self.close_array(wire, out);
    }

    /// Ends the array under way if the frame cannot go into it.
    fn make_room(&mut self, wire: Wire, frame: OwnFrame<'_>, out: &mut Vec<u8>) {
        if frame.is_control() || self.array.len() + frame.payload.len() + 2 > ARRAY_BYTES_MAX {
            self.close_array(wire, out);
        }
    }

    fn put(&mut self, wire: Wire, frame: OwnFrame<'_>, out: &mut Vec<u8>) {
        if frame.is_control() {
            out.extend_from_slice(frame.whole);
        } else if wire.is_batch {
            self.array.push(if self.array.is_empty() { b'[' } else { b',' });
            self.array.extend_from_slice(frame.payload);
        } else {
            push_text(self.deflater.deflate(frame.payload), frame.payload, out);
        }
    }

    fn close_array(&mut self, wire: Wire, out: &mut Vec<u8>) {
        if self.array.is_empty() {
            return;
        }
        self.array.push(b']');
        let packed = if wire.is_deflate { self.deflater.deflate(&self.array) } else { None };
        push_text(packed, &self.array, out);
        self.array.clear();
        self.array.shrink_to(ARRAY_BYTES_MAX);
    }
}

/// Where the frames end that the first `count` bytes of a gathered path begin: how many bytes and how many messages come
/// before. The rest of such a frame must follow as it is, later messages may change.
pub(crate) fn cut(wire: Wire, path: &[u32], turn: &Turn, cuts: &[Cut], count: usize) -> (usize, usize) {
    if !wire.is_plain() {
        return cuts.iter().find(|cut| cut.end >= count).map_or((count, path.len()), |cut| (cut.end, cut.messages));
    }
    let (mut end, mut messages) = (0, 0);
    let mut sizes = path.iter().filter_map(|number| turn.item(*number)).map(|item| item.bytes.len());
    while end < count
        && let Some(size) = sizes.next()
    {
        end += size;
        messages += 1;
    }
    (end, messages)
}

/// A frame of ours: whole, not masked, not fragmented.
#[derive(Clone, Copy)]
struct OwnFrame<'a> {
    whole: &'a [u8],
    payload: &'a [u8],
}

impl<'a> OwnFrame<'a> {
    /// Takes the next of several frames in a row.
    fn split(bytes: &mut &'a [u8]) -> Option<Self> {
        let (start, size) = match *bytes.get(1)? {
            126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
            127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?),
            size => (2, usize::from(size)),
        };
        let (whole, rest) = bytes.split_at_checked(start + size)?;
        *bytes = rest;
        Some(Self { whole, payload: whole.get(start..)? })
    }

    fn is_control(self) -> bool {
        self.whole.first().is_some_and(|first| first & 0x0f >= CONTROL)
    }
}

/// Appends a text frame: compressed if that gained something.
fn push_text(packed: Option<&[u8]>, text: &[u8], out: &mut Vec<u8>) {
    match packed {
        Some(packed) => push_frame(TEXT | COMPRESSED, packed, out),
        None => push_frame(TEXT, text, out),
    }
}

/// Appends a whole frame; lengths have their shortest form (RFC 6455 §5.2).
fn push_frame(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    let size = payload.len();
    match u16::try_from(size) {
        Ok(short @ 0..126) => out.push(short as u8),
        Ok(middle) => {
            out.push(126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        Err(_) => {
            out.push(127);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

//! One event, encoded once: a WebSocket text frame with its header, shared by every session that wants it.

use bytes::Bytes;

use crate::{channel::ChannelId, number::write_integer};

/// How numbers of market data are written: the wire form that a client chose on connecting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// Exact decimal literals: `"close":61837.63`.
    #[default]
    Number,
    /// Decimal strings, for clients whose JSON reader would pass through a float: `"close":"61837.63"`.
    Text,
}

impl Form {
    /// Every form, in the order of its index.
    pub const ALL: [Self; 2] = [Self::Number, Self::Text];
}

/// What may happen to a frame when its session cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The newest replaces the ones before: an open candle, a ticker.
    State,
    /// Never conflated: a closed or corrected candle, trades, a gap notice.
    Event,
}

/// An encoded event of a channel.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its channel.
    pub channel: ChannelId,
    /// Its number in the channel.
    pub seq: u64,
    /// Whether it may be conflated.
    pub class: Class,
    /// The wire form it was encoded in.
    pub form: Form,
    /// Server time of encoding in nanoseconds since the epoch, for latency histograms.
    pub ts_encode: i64,
    /// The whole WebSocket frame: header and JSON text.
    pub bytes: Bytes,
    /// Where the WebSocket header ends and the JSON text starts.
    pub body_at: u16,
    /// Where `"data":` starts in `bytes`; `skipped` is spliced in before it. Zero for an op that is not an event.
    pub data_at: u16,
}

impl Frame {
    /// The JSON text without the WebSocket header.
    pub fn text(&self) -> &[u8] {
        self.bytes.get(usize::from(self.body_at)..).unwrap_or_default()
    }

    /// The same event for a session that missed `skipped` events of the channel before it: says so in `skipped`.
    pub fn with_skipped(&self, skipped: u64) -> Bytes {
        let (head, tail) = self.bytes.split_at(usize::from(self.data_at).min(self.bytes.len()));
        if skipped == 0 || self.data_at == 0 {
            return self.bytes.clone();
        }
        let mut out = Vec::with_capacity(self.bytes.len() + 32);
        begin_text(&mut out);
        out.extend_from_slice(head.get(usize::from(self.body_at)..).unwrap_or_default());
        out.extend_from_slice(b"\"skipped\":");
        write_integer(&mut out, skipped);
        out.push(b',');
        out.extend_from_slice(tail);
        let start = finish_text(&mut out);
        Bytes::from(out).slice(start..)
    }
}

/// Room for the longest server header: flags, 127 and eight length bytes.
const HEADER_BYTES_MAX: usize = 10;

/// Starts a text frame in an empty buffer: leaves room for a header of any size, see [`finish_text`].
pub fn begin_text(out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; HEADER_BYTES_MAX]);
}

/// Writes the header before the text that was appended since [`begin_text`] and returns where the frame starts.
///
/// Server frames are not masked (RFC 6455 §5.1); lengths are encoded in the shortest form (§5.2).
pub fn finish_text(out: &mut [u8]) -> usize {
    let length = out.len().saturating_sub(HEADER_BYTES_MAX);
    let mut header = [0_u8; HEADER_BYTES_MAX];
    let size = write_header(&mut header, 0x81, length);
    let start = HEADER_BYTES_MAX - size;
    if let (Some(to), Some(from)) = (out.get_mut(start..HEADER_BYTES_MAX), header.get(..size)) {
        to.copy_from_slice(from);
    }
    start
}

/// Fills `header` with an unmasked frame header and returns its size: 2, 4 or 10 bytes.
fn write_header(header: &mut [u8; HEADER_BYTES_MAX], first: u8, length: usize) -> usize {
    header[0] = first;
    if length < 126 {
        header[1] = length as u8;
        2
    } else if let Ok(length) = u16::try_from(length) {
        header[1] = 126;
        header[2..4].copy_from_slice(&length.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        10
    }
}

/// A whole text frame around `text`.
pub fn text_frame(text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + HEADER_BYTES_MAX);
    begin_text(&mut out);
    out.extend_from_slice(text);
    let start = finish_text(&mut out);
    Bytes::from(out).slice(start..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_shortest_length_form() {
        for (length, header) in [
            (0_usize, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xff, 0xff]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = text_frame(&vec![b'x'; length]);
            assert_eq!(frame[..header.len()], header);
            assert_eq!(frame.len(), header.len() + length);
        }
    }

    #[test]
    fn a_conflated_event_says_how_many_were_skipped() {
        let text = br#"{"op":"event","channel":"ticker.BTC","seq":9,"ts":1,"data":{}}"#;
        let bytes = text_frame(text);
        let data_at = 2 + text.windows(6).position(|part| part == b"\"data\"").unwrap();
        let frame = Frame {
            channel: ChannelId(0),
            seq: 9,
            class: Class::State,
            form: Form::Number,
            ts_encode: 0,
            bytes,
            body_at: 2,
            data_at: data_at as u16,
        };
        let spliced = frame.with_skipped(3);
        assert_eq!(&spliced[2..], br#"{"op":"event","channel":"ticker.BTC","seq":9,"ts":1,"skipped":3,"data":{}}"#);
        assert_eq!(frame.with_skipped(0), frame.bytes);
    }
}

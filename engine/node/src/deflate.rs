//! permessage-deflate (RFC 7692): what is agreed on, and each message packed and unpacked by itself.
//!
//! No context is taken over from one message to the next, in either direction. So a message is packed once for all its
//! sessions, a session holds no state of it, and a worker has one packer and one unpacker.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::codec::{CodecError, MESSAGE_BYTES_MAX};

/// Our window is 4 KiB: a client needs no more to read us, and messages are short.
const WINDOW_BITS: u8 = 12;
/// Fast: a candle is packed while others wait for it.
const LEVEL: Compression = Compression::new(2);
/// Shorter texts go as they are.
const TEXT_BYTES_MIN: usize = 128;
/// What every packed message ends with, and what is therefore left out (§7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Memory that is kept for the next message.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// The answer to the values of `Sec-WebSocket-Extensions`: the first offer that can be met, or none.
pub(crate) fn negotiate<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<&'static str> {
    let mut is_quoted = false;
    let is_end = move |letter: char| {
        is_quoted ^= letter == '"';
        letter == ',' && !is_quoted
    };
    values.into_iter().flat_map(|value| value.split(is_end)).any(can_meet).then_some(
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
    )
}

/// Whether an offer (§7.1) is ours, well formed, and allows a window of [`WINDOW_BITS`].
fn can_meet(offer: &str) -> bool {
    let mut parts = offer.split(';').map(str::trim);
    if parts.next() != Some("permessage-deflate") {
        return false;
    }
    let mut seen = Vec::new();
    parts.all(|part| {
        let (name, value) =
            part.split_once('=').map_or((part, None), |(name, value)| (name.trim(), Some(value.trim())));
        let is_new = !seen.contains(&name);
        seen.push(name);
        let is_good = match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => true,
            ("client_max_window_bits", Some(value)) => window_bits(value).is_some(),
            ("server_max_window_bits", Some(value)) => window_bits(value).is_some_and(|bits| bits >= WINDOW_BITS),
            _ => false,
        };
        is_new && is_good
    })
}

/// 8 to 15 without a leading zero, bare or in quotes (§7.1.2.1).
fn window_bits(value: &str) -> Option<u8> {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let is_short = inner.bytes().all(|byte| byte.is_ascii_digit()) && !inner.starts_with('0');
    inner.parse().ok().filter(|bits| is_short && (8..=15).contains(bits))
}

/// Packs messages. Holds no memory before the first.
#[derive(Default)]
pub(crate) struct Deflater {
    stream: Option<Compress>,
    out: Vec<u8>,
}

impl Deflater {
    /// The payload of a packed message, or `None` if it would gain nothing.
    pub(crate) fn deflate(&mut self, text: &[u8]) -> Option<&[u8]> {
        if text.len() < TEXT_BYTES_MIN {
            return None;
        }
        let new = || Compress::new_with_window_bits(LEVEL, false, WINDOW_BITS);
        let stream = self.stream.get_or_insert_with(new);
        stream.reset();
        self.out.clear();
        self.out.shrink_to(KEPT_BYTES_MAX);
        self.out.reserve(text.len());
        stream.compress_vec(text, &mut self.out, FlushCompress::Sync).ok()?;
        // A full buffer may lack the end, and gains nothing anyway.
        let is_whole = stream.total_in() == text.len() as u64 && self.out.len() < self.out.capacity();
        let packed = self.out.strip_suffix(&TAIL).filter(|_| is_whole)?;
        (packed.len() < text.len()).then_some(packed)
    }
}

/// Unpacks messages of clients. Holds no memory before the first.
#[derive(Default)]
pub struct Inflater {
    stream: Option<Decompress>,
}

impl Inflater {
    /// A whole message out of the payload of its frames.
    ///
    /// # Errors
    /// It is not packed in this way, or longer than a message may be.
    pub(crate) fn inflate(&mut self, packed: &[u8]) -> Result<Vec<u8>, CodecError> {
        let stream = self.stream.get_or_insert_with(|| Decompress::new(false));
        stream.reset(false);
        let mut out = Vec::with_capacity(packed.len().saturating_mul(4).clamp(256, MESSAGE_BYTES_MAX + 1));
        let mut has_ended = false;
        for part in [packed, &TAIL] {
            let mut rest = part;
            while !rest.is_empty() {
                let before = (stream.total_in(), out.len());
                let status = stream.decompress_vec(rest, &mut out, FlushDecompress::Sync);
                let status = status.map_err(|_| CodecError::Deflate)?;
                let taken = usize::try_from(stream.total_in() - before.0).unwrap_or(rest.len());
                rest = rest.get(taken..).unwrap_or_default();
                if out.len() > MESSAGE_BYTES_MAX {
                    return Err(CodecError::TooLong);
                }
                match status {
                    // A last block may be followed by nothing but an empty one (§7.2.3.4).
                    Status::StreamEnd if !has_ended => {
                        has_ended = true;
                        stream.reset(false);
                    }
                    Status::StreamEnd => return Err(CodecError::Deflate),
                    Status::Ok | Status::BufError => {
                        let is_full = out.len() == out.capacity();
                        if is_full {
                            out.reserve_exact(out.len().min(MESSAGE_BYTES_MAX + 1 - out.len()));
                        } else if taken == 0 && out.len() == before.1 {
                            return Err(CodecError::Deflate);
                        }
                    }
                }
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
#[path = "deflate_tests.rs"]
mod tests;

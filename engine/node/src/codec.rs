//! Client frames of WebSocket (RFC 6455), read piece by piece within a fixed bound.

use std::{mem, ops::ControlFlow, str};

use crate::deflate::Inflater;

/// The longest message of a client, all fragments together.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
const CONTROL_BYTES_MAX: usize = 125;
/// Two bytes, eight of length, four of mask.
const HEADER_BYTES_MAX: usize = 14;

/// The bit that marks a compressed message, on its first frame.
const COMPRESSED: u8 = 0x40;
const RESERVED: u8 = 0x70;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A whole message.
    Text(&'a str),
    /// A ping, to be answered with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The client closes, with its code if it gave one.
    Close(Option<u16>),
}

/// Why a client's bytes are not read any further, as a close code and a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes break the protocol.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// Binary messages are not spoken here.
    #[error("send JSON as text, not as binary")]
    Binary,
    /// A compressed message cannot be unpacked.
    #[error("compressed message is broken")]
    Deflate,
    /// A text is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// Longer than [`MESSAGE_BYTES_MAX`].
    #[error("messages are limited to 65536 bytes")]
    TooLong,
}

impl CodecError {
    /// The close code (RFC 6455 §7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::Binary => 1003,
            Self::Utf8 | Self::Deflate => 1007,
            Self::TooLong => 1009,
        }
    }
}

/// Puts frames together from pieces of any size. Holds no memory of its own while no message is under way.
#[derive(Debug, Default)]
pub struct Decoder {
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// Payload bytes of the frame under way that are still to come.
    left: usize,
    /// How far into its mask the frame under way is.
    mask_at: u8,
    in_payload: bool,
    in_message: bool,
    is_compressed: bool,
    message: Vec<u8>,
    control: Vec<u8>,
}

impl Decoder {
    /// Reads `input` and hands out each whole message; stops early if `on` breaks. With an `inflater`, messages may be
    /// compressed.
    ///
    /// # Errors
    /// [`CodecError`]: close the connection, the decoder is of no further use.
    pub fn push(
        &mut self,
        mut input: &[u8],
        mut inflater: Option<&mut Inflater>,
        on: &mut dyn FnMut(Received<'_>) -> ControlFlow<()>,
    ) -> Result<(), CodecError> {
        loop {
            if !self.in_payload && !self.take_header(&mut input, inflater.is_some())? {
                return Ok(());
            }
            if !self.take_payload(&mut input) {
                return Ok(());
            }
            if self.finish_frame(inflater.as_deref_mut(), on)?.is_break() {
                return Ok(());
            }
        }
    }

    /// How many bytes it keeps for later.
    pub fn held(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    fn byte(&self, at: usize) -> u8 {
        self.header.get(at).copied().unwrap_or(0)
    }

    fn opcode(&self) -> u8 {
        self.header[0] & 0x0f
    }

    fn is_final(&self) -> bool {
        self.header[0] & 0x80 != 0
    }

    fn length_bytes(&self) -> usize {
        match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        }
    }

    /// Collects header bytes; true once the header is whole and found good.
    fn take_header(&mut self, input: &mut &[u8], may_compress: bool) -> Result<bool, CodecError> {
        loop {
            let len = usize::from(self.header_len);
            if len >= 2 && len == 2 + self.length_bytes() + 4 {
                self.begin_payload()?;
                return Ok(true);
            }
            let Some((first, rest)) = input.split_first() else { return Ok(false) };
            *input = rest;
            if let Some(place) = self.header.get_mut(len) {
                *place = *first;
            }
            self.header_len += 1;
            if self.header_len == 2 {
                self.check_start(may_compress)?;
            }
        }
    }

    /// Judges the first two bytes, before anything else is taken in.
    fn check_start(&self, may_compress: bool) -> Result<(), CodecError> {
        let allowed = if may_compress && self.opcode() == TEXT { COMPRESSED } else { 0 };
        if self.header[0] & RESERVED & !allowed != 0 {
            return Err(CodecError::Protocol("reserved bits are set"));
        }
        if self.header[1] & 0x80 == 0 {
            return Err(CodecError::Protocol("client frames must be masked"));
        }
        match self.opcode() {
            CONTINUATION if !self.in_message => Err(CodecError::Protocol("nothing to continue")),
            TEXT if self.in_message => Err(CodecError::Protocol("a message is still open")),
            CONTINUATION | TEXT => Ok(()),
            BINARY => Err(CodecError::Binary),
            CLOSE | PING | PONG => {
                if !self.is_final() || usize::from(self.header[1] & 0x7f) > CONTROL_BYTES_MAX {
                    return Err(CodecError::Protocol("control frames are whole and at most 125 bytes"));
                }
                Ok(())
            }
            _ => Err(CodecError::Protocol("unknown opcode")),
        }
    }

    fn begin_payload(&mut self) -> Result<(), CodecError> {
        let size = self.length_bytes();
        let length = match size {
            0 => u64::from(self.header[1] & 0x7f),
            _ => (2..2 + size).fold(0_u64, |sum, at| sum << 8 | u64::from(self.byte(at))),
        };
        let shortest = match size {
            2 => length >= 126,
            8 => length > u64::from(u16::MAX),
            _ => true,
        };
        if !shortest || length >> 63 != 0 {
            return Err(CodecError::Protocol("length is not in its shortest form"));
        }
        let length = usize::try_from(length).map_err(|_| CodecError::TooLong)?;
        if self.opcode() < CLOSE && self.message.len().saturating_add(length) > MESSAGE_BYTES_MAX {
            return Err(CodecError::TooLong);
        }
        self.left = length;
        self.mask_at = 0;
        self.in_payload = true;
        Ok(())
    }

    /// Unmasks what there is; true once the frame is whole.
    fn take_payload(&mut self, input: &mut &[u8]) -> bool {
        let count = self.left.min(input.len());
        let (now, later) = input.split_at(count);
        *input = later;
        self.left -= count;
        let mask_from = 2 + self.length_bytes();
        let mask = [self.byte(mask_from), self.byte(mask_from + 1), self.byte(mask_from + 2), self.byte(mask_from + 3)];
        let target = if self.opcode() >= CLOSE { &mut self.control } else { &mut self.message };
        let keys = mask.iter().cycle().skip(usize::from(self.mask_at));
        target.extend(now.iter().zip(keys).map(|(byte, key)| byte ^ key));
        self.mask_at = ((usize::from(self.mask_at) + count) % 4) as u8;
        self.left == 0
    }

    fn finish_frame(
        &mut self,
        inflater: Option<&mut Inflater>,
        on: &mut dyn FnMut(Received<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, CodecError> {
        self.in_payload = false;
        self.header_len = 0;
        if self.opcode() >= CLOSE {
            let control = mem::take(&mut self.control);
            return match self.opcode() {
                PING => Ok(on(Received::Ping(&control))),
                PONG => Ok(on(Received::Pong)),
                _ => Ok(on(Received::Close(close_code(&control)?))),
            };
        }
        if self.opcode() == TEXT {
            self.is_compressed = self.header[0] & COMPRESSED != 0;
        }
        self.in_message = !self.is_final();
        if self.in_message {
            return Ok(ControlFlow::Continue(()));
        }
        let mut message = mem::take(&mut self.message);
        if let Some(inflater) = inflater.filter(|_| self.is_compressed) {
            message = inflater.inflate(&message)?;
        }
        Ok(on(Received::Text(str::from_utf8(&message).map_err(|_| CodecError::Utf8)?)))
    }
}

/// The code of a close frame; §5.5.1 and §7.4 say which may be sent.
fn close_code(payload: &[u8]) -> Result<Option<u16>, CodecError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(CodecError::Protocol("close frame of one byte")) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(CodecError::Protocol("close code out of range"));
    }
    str::from_utf8(reason).map_err(|_| CodecError::Utf8)?;
    Ok(Some(code))
}

/// An unmasked control frame of the server: `payload` is cut at 125 bytes.
fn control_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let payload = payload.get(..CONTROL_BYTES_MAX).unwrap_or(payload);
    let mut out = Vec::with_capacity(payload.len() + 2);
    out.extend_from_slice(&[0x80 | opcode, payload.len() as u8]);
    out.extend_from_slice(payload);
    out
}

/// A ping without payload.
pub fn ping_frame() -> Vec<u8> {
    control_frame(PING, &[])
}

/// The answer to a ping.
pub fn pong_frame(payload: &[u8]) -> Vec<u8> {
    control_frame(PONG, payload)
}

/// A close frame; the reason is cut at 123 bytes.
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    let cut = (0..=reason.len().min(CONTROL_BYTES_MAX - 2)).rev().find(|at| reason.is_char_boundary(*at));
    payload.extend_from_slice(reason.get(..cut.unwrap_or(0)).unwrap_or_default().as_bytes());
    control_frame(CLOSE, &payload)
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;

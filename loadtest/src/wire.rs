//! WebSocket as a client of load needs it (RFC 6455): the handshake, the frames of a server, and small frames to it.

/// No server message is longer: the longest are snapshots of a thousand candles.
const FRAME_BYTES_MAX: usize = 4 << 20;
/// The answer to a handshake is short.
const ANSWER_BYTES_MAX: usize = 8 * 1024;
/// The key of RFC 6455 §1.3 and its answer. A key only proves that the server speaks WebSocket, so all may use one.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What the server did wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// Not 101 with the right key.
    #[error("the handshake was answered with {0:?}")]
    Handshake(String),
    /// A masked, fragmented or reserved frame, or an opcode that is none.
    #[error("a frame begins with the bytes {0:#04x} {1:#04x}, which no server sends")]
    Header(u8, u8),
    /// Beyond any message.
    #[error("a frame of {0} bytes")]
    Long(u64),
}

/// One frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close(u16),
}

/// Takes the first frame off `bytes`; `None` if it is not all there yet.
#[inline]
pub(crate) fn split<'a>(bytes: &mut &'a [u8]) -> Result<Option<Frame<'a>>, WireError> {
    let [first, second, rest @ ..] = *bytes else { return Ok(None) };
    let (length, rest) = match second {
        0..=125 => (u64::from(*second), rest),
        126 => match rest {
            [a, b, rest @ ..] => (u64::from(u16::from_be_bytes([*a, *b])), rest),
            _ => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        _ => return Err(WireError::Header(*first, *second)),
    };
    let size = usize::try_from(length).ok().filter(|size| *size <= FRAME_BYTES_MAX);
    let Some((payload, rest)) = rest.split_at_checked(size.ok_or(WireError::Long(length))?) else { return Ok(None) };
    *bytes = rest;
    match first {
        0x81 => Ok(Some(Frame::Text(payload))),
        0x89 => Ok(Some(Frame::Ping(payload))),
        0x8a => Ok(Some(Frame::Pong)),
        0x88 => Ok(Some(Frame::Close(payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))))),
        _ => Err(WireError::Header(*first, *second)),
    }
}

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const PONG: u8 = 0x8a;
pub(crate) const CLOSE: u8 = 0x88;

/// Appends a frame to the server. The mask is zero: it protects proxies from browsers, and here is neither.
pub(crate) fn frame(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// The request of a handshake.
pub(crate) fn request(address: std::net::SocketAddr, key: &str) -> Vec<u8> {
    format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    .into_bytes()
}

/// Takes the answer to a handshake off `bytes`; false if it is not all there yet.
pub(crate) fn answer(bytes: &mut &[u8]) -> Result<bool, WireError> {
    let refused = |text: &[u8]| {
        let line = text.split(|byte| *byte == b'\r').next().unwrap_or_default();
        WireError::Handshake(String::from_utf8_lossy(line).chars().take(200).collect())
    };
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > ANSWER_BYTES_MAX { Err(refused(bytes)) } else { Ok(false) };
    };
    let Some((head, rest)) = bytes.split_at_checked(end + 4) else { return Ok(false) };
    let is_accepted = |line: &[u8]| {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().unwrap_or_default();
        name.eq_ignore_ascii_case(b"sec-websocket-accept") && parts.next().unwrap_or_default().trim_ascii() == ACCEPT
    };
    if !head.starts_with(b"HTTP/1.1 101") || !head.split(|byte| *byte == b'\n').any(is_accepted) {
        return Err(refused(head));
    }
    *bytes = rest;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_form_are_told_apart_and_wait_for_their_last_byte() {
        for length in [0_usize, 1, 125, 126, 65_535, 65_536] {
            let mut bytes = vec![0x81];
            match length {
                0..=125 => bytes.push(length as u8),
                126..=65_535 => bytes.extend([&[126][..], &(length as u16).to_be_bytes()].concat()),
                _ => bytes.extend([&[127][..], &(length as u64).to_be_bytes()].concat()),
            }
            bytes.resize(bytes.len() + length, b'x');
            for cut in (0..bytes.len().min(20)).chain([bytes.len() - 1]) {
                let mut part = &bytes[..cut];
                assert_eq!(split(&mut part), Ok(None), "{length} {cut}");
                assert_eq!(part.len(), cut, "nothing is taken");
            }
            bytes.push(7);
            let mut all = &bytes[..];
            assert!(matches!(split(&mut all), Ok(Some(Frame::Text(text))) if text.len() == length));
            assert_eq!(all, [7]);
        }
        assert_eq!(split(&mut &[0x89, 1, 5][..]), Ok(Some(Frame::Ping(&[5]))));
        assert_eq!(split(&mut &[0x88, 2, 0x11, 0x38][..]), Ok(Some(Frame::Close(4408))));
        assert_eq!(split(&mut &[0x88, 0][..]), Ok(Some(Frame::Close(1005))));
    }

    #[test]
    fn what_no_server_sends_is_an_error() {
        for bytes in [&[0x81, 0x80][..], &[0x01, 0], &[0xc1, 0], &[0x83, 0]] {
            assert!(split(&mut &bytes[..]).is_err(), "{bytes:?}");
        }
        assert_eq!(split(&mut &[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0][..]), Err(WireError::Long(1 << 32)));
    }

    #[test]
    fn a_handshake_is_accepted_by_its_key_alone() {
        let good =
            b"HTTP/1.1 101 Switching Protocols\r\nSec-Websocket-Accept:  s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81";
        for cut in 0..good.len() - 1 {
            assert_eq!(answer(&mut &good[..cut]), Ok(false));
        }
        let mut all = &good[..];
        assert_eq!((answer(&mut all), all), (Ok(true), &[0x81][..]));
        for bad in ["HTTP/1.1 101 X\r\n\r\n", "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Accept: x\r\n\r\n"] {
            assert!(answer(&mut bad.as_bytes()).is_err());
        }
        assert!(answer(&mut &[b'x'; 9000][..]).is_err());
    }

    #[test]
    fn a_client_frame_is_masked_with_zero() {
        let mut out = Vec::new();
        frame(TEXT, b"hi", &mut out);
        assert_eq!(out, [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
        out.clear();
        frame(TEXT, &[b'x'; 300], &mut out);
        assert_eq!(out[..8], [0x81, 0xfe, 1, 44, 0, 0, 0, 0]);
    }
}

//! As much of WebSocket (RFC 6455) as a fan-out bench speaks: whole frames, no extensions.

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
/// Any key does; one that is not zero makes servers unmask.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];
/// The longest message that a bench server takes, handshake included.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Appends a text frame as a server sends it.
pub(crate) fn server_frame(out: &mut Vec<u8>, payload: &[u8]) {
    head(out, payload.len(), 0);
    out.extend_from_slice(payload);
}

/// Appends a text frame as a client sends it, masked.
pub(crate) fn client_frame(out: &mut Vec<u8>, payload: &[u8]) {
    head(out, payload.len(), 0x80);
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

fn head(out: &mut Vec<u8>, length: usize, masked: u8) {
    out.push(TEXT);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => out.push(masked | short),
        (_, Ok(medium)) => {
            out.push(masked | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// The request that opens a WebSocket.
pub(crate) fn handshake(path: &str, subprotocol: Option<&str>) -> Vec<u8> {
    let subprotocol = subprotocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{subprotocol}\r\n"
    )
    .into_bytes()
}

/// What a client of a bench server has sent.
pub(crate) enum Inbound {
    /// Opens the WebSocket; the answer to send.
    Open(Vec<u8>),
    /// Follow a channel.
    Subscribe(Vec<u8>),
    /// Send a payload to all followers of a channel.
    Publish(Vec<u8>, Vec<u8>),
}

/// Nothing sensible came, or the client closes: drop the connection.
#[derive(Debug)]
pub(crate) struct Hangup;

/// Reads the plain dialect: `S<channel>` and `P<channel>\n<payload>`.
#[derive(Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    is_open: bool,
}

impl Reader {
    /// Takes what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, if it is there as a whole. An idle reader holds no memory.
    pub(crate) fn next(&mut self) -> Result<Option<Inbound>, Hangup> {
        let (inbound, used) = if self.is_open { self.message()? } else { self.open()? };
        self.buffer.drain(..used);
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        } else if self.buffer.len() > MESSAGE_BYTES_MAX && used == 0 {
            return Err(Hangup);
        }
        Ok(inbound)
    }

    fn open(&mut self) -> Result<(Option<Inbound>, usize), Hangup> {
        let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok((None, 0)) };
        let head = String::from_utf8_lossy(&self.buffer[..end]);
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        let key = fields.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key")).map(|(_, key)| key).next();
        let accept = derive_accept_key(key.ok_or(Hangup)?.trim().as_bytes());
        self.is_open = true;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        Ok((Some(Inbound::Open(answer.into_bytes())), end + 4))
    }

    fn message(&mut self) -> Result<(Option<Inbound>, usize), Hangup> {
        let bytes = &self.buffer;
        let &[kind, length, ..] = bytes.as_slice() else { return Ok((None, 0)) };
        if kind == CLOSE || length & 0x80 == 0 {
            return Err(Hangup);
        }
        let (length, at) = match (length & 0x7f, bytes.as_slice()) {
            (126, &[_, _, high, low, ..]) => (usize::from(u16::from_be_bytes([high, low])), 4),
            (126, _) => return Ok((None, 0)),
            (127, _) => return Err(Hangup),
            (short, _) => (usize::from(short), 2),
        };
        let Some(frame) = bytes.get(at..at + 4 + length) else { return Ok((None, 0)) };
        let (mask, masked) = frame.split_at(4);
        let payload: Vec<u8> = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        let inbound = match payload.split_first() {
            Some((b'S', channel)) => Inbound::Subscribe(channel.to_vec()),
            Some((b'P', rest)) => {
                let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Hangup)?;
                Inbound::Publish(rest[..end].to_vec(), rest[end + 1..].to_vec())
            }
            _ => return Err(Hangup),
        };
        Ok((Some(inbound), at + 4 + length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_frame_is_read_back_wherever_it_is_cut() {
        let mut bytes = handshake("/", None);
        let opening = bytes.len();
        client_frame(&mut bytes, b"Sa");
        client_frame(&mut bytes, &[b"Pa\n".as_slice(), &[b'x'; 300]].concat());
        for cut in 0..bytes.len() {
            let mut reader = Reader::default();
            let mut seen = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                reader.push(part);
                while let Some(inbound) = reader.next().unwrap() {
                    seen.push(inbound);
                }
            }
            let [Inbound::Open(_), Inbound::Subscribe(channel), Inbound::Publish(to, payload)] = &seen[..] else {
                panic!("{} messages, cut at {cut} of {opening}", seen.len())
            };
            assert_eq!(
                (channel.as_slice(), to.as_slice(), payload.as_slice()),
                (&b"a"[..], &b"a"[..], &[b'x'; 300][..])
            );
        }
    }

    #[test]
    fn a_frame_of_two_hundred_bytes_has_a_head_of_four() {
        let mut out = Vec::new();
        server_frame(&mut out, &[b'x'; 200]);
        assert_eq!((out.len(), &out[..4]), (204, &[0x81, 126, 0, 200][..]));
    }
}

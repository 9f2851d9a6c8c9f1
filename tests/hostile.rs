//! Clients that mean harm or know no better, byte by byte: each gets an error or a close code, and others go on.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{clients::QUIET, process::Kandle};

/// A raw WebSocket client after its handshake.
struct Raw(TcpStream);

impl Raw {
    fn connect(kandle: &Kandle) -> Self {
        let address = kandle.url.strip_prefix("http://").unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(
            socket,
            "GET /v1/ws?api_key={} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            kandle.key
        )
        .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let mut raw = Self(socket);
        assert!(raw.text().contains("\"welcome\""));
        raw
    }

    /// A frame with a mask of zeros, which leaves the bytes as they are.
    fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            middle @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((middle as u16).to_be_bytes());
            }
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        let _ = self.0.write_all(&frame);
    }

    /// The next frame: its opcode and payload.
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let length = match head[1] {
            126 => {
                let mut bytes = [0; 2];
                self.0.read_exact(&mut bytes).unwrap();
                usize::from(u16::from_be_bytes(bytes))
            }
            127 => {
                let mut bytes = [0; 8];
                self.0.read_exact(&mut bytes).unwrap();
                u64::from_be_bytes(bytes) as usize
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).unwrap();
        (head[0] & 15, payload)
    }

    fn text(&mut self) -> String {
        loop {
            match self.frame() {
                (1, payload) => return String::from_utf8(payload).unwrap(),
                (8, payload) => panic!("closed with {}", u16::from_be_bytes([payload[0], payload[1]])),
                _ => {}
            }
        }
    }

    /// The code that the server closes with; texts before it are passed.
    fn close_code(&mut self) -> u16 {
        loop {
            if let (8, payload) = self.frame() {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}

/// A well-behaved client: works before and after each attack.
fn check_alive(kandle: &Kandle) {
    let mut client = Raw::connect(kandle);
    client.send(0x81, br#"{"op":"ping","id":"alive"}"#);
    assert!(client.text().contains("\"alive\""));
}

#[test]
fn frames_that_break_the_protocol_close_with_its_code() {
    let kandle = Kandle::serve(QUIET);
    let closes = |code: u16, attack: &dyn Fn(&mut Raw)| {
        let mut client = Raw::connect(&kandle);
        attack(&mut client);
        assert_eq!(client.close_code(), code);
    };
    closes(1009, &|client| client.send(0x81, &vec![b' '; 65_537]));
    closes(1009, &|client| {
        client.send(0x01, &vec![b' '; 40_000]);
        client.send(0x80, &vec![b' '; 40_000]);
    });
    closes(1007, &|client| client.send(0x81, &[0xff, 0xfe]));
    closes(1002, &|client| client.0.write_all(&[0x81, 2, b'{', b'}']).unwrap()); // not masked
    closes(1002, &|client| client.send(0x83, b"")); // a reserved opcode
    closes(1002, &|client| client.send(0xc1, b"{}")); // a reserved bit
    closes(1002, &|client| client.send(0x09, b"")); // a fragmented ping
    closes(4400, &|client| (0..50).for_each(|_| client.send(0x81, b"not json")));
    check_alive(&kandle);
}

#[test]
fn odd_but_valid_frames_are_served() {
    let kandle = Kandle::serve(QUIET);
    let mut client = Raw::connect(&kandle);
    // In three fragments with a ping between them.
    client.send(0x01, br#"{"op":"pi"#);
    client.send(0x89, b"between");
    client.send(0x00, br#"ng","id""#);
    client.send(0x80, br#":"parts"}"#);
    let mut ponged = false;
    loop {
        match client.frame() {
            (10, payload) => ponged = payload == b"between",
            (1, payload) => {
                assert!(String::from_utf8(payload).unwrap().contains("\"parts\""));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(ponged);
    client.send(0x81, "[".repeat(10_000).as_bytes());
    assert!(client.text().contains("bad_json"));
    // 10,000 channels in one op: bounded answers, and the connection lives on.
    let names: Vec<_> = (0..4000).map(|n| format!("\"trades.X{n}\"")).collect();
    client.send(0x81, format!(r#"{{"op":"subscribe","channels":[{}]}}"#, names.join(",")).as_bytes());
    let short: Vec<_> = vec!["\"\""; 10_000];
    client.send(0x81, format!(r#"{{"op":"subscribe","channels":[{}]}}"#, short.join(",")).as_bytes());
    client.send(0x81, br#"{"op":"ping","id":"end"}"#);
    let (mut answers, mut bytes) = (0, 0);
    loop {
        let text = client.text();
        if text.contains("\"end\"") {
            break;
        }
        answers += 1;
        bytes += text.len();
    }
    assert!(answers > 0 && bytes < 1 << 20, "{answers} answers of {bytes} bytes");
    check_alive(&kandle);
}

#[test]
fn a_slow_loris_is_cut_and_others_are_served_meanwhile() {
    let kandle = Kandle::serve(QUIET);
    let address = kandle.url.strip_prefix("http://").unwrap().to_owned();
    let mut slow: Vec<_> = (0..50).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for socket in &mut slow {
        socket.write_all(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n").unwrap();
    }
    check_alive(&kandle);
    let start = Instant::now();
    for socket in &mut slow {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        // Either an answer and an end, or a reset; a time-out would be an error of its own kind.
        if let Err(error) = socket.read_to_end(&mut rest) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "still open after {:?}", start.elapsed());
        }
    }
    check_alive(&kandle);
}

//! Tests of the codec: hostile values, any chunking, random bytes.

use super::*;

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut out = vec![first];
    match payload.len() {
        n if n < 126 => out.push(0x80 | n as u8),
        n if n < 65_536 => {
            out.push(0x80 | 126);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend((n as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// All that a stream means, read in pieces of the given sizes.
fn read(bytes: &[u8], mut size: impl FnMut() -> usize) -> (Vec<String>, Result<(), CodecError>, usize) {
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    let mut rest = bytes;
    let mut held = 0;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(size().clamp(1, rest.len()));
        rest = later;
        let result = decoder.push(now, None, &mut |received| {
            seen.push(format!("{received:?}"));
            ControlFlow::Continue(())
        });
        held = held.max(decoder.held());
        if result.is_err() {
            return (seen, result, held);
        }
    }
    (seen, Ok(()), held)
}

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// What a session that agreed on compression reads, in pieces of three bytes.
fn read_compressed(bytes: &[u8]) -> Result<Vec<String>, u16> {
    let (mut decoder, mut inflater, mut seen) = (Decoder::default(), Inflater::default(), Vec::new());
    for piece in bytes.chunks(3) {
        let result = decoder.push(piece, Some(&mut inflater), &mut |received| {
            seen.push(format!("{received:?}"));
            ControlFlow::Continue(())
        });
        result.map_err(CodecError::close_code)?;
    }
    Ok(seen)
}

fn check_error(bytes: &[u8], code: u16) {
    let (_, result, _) = read(bytes, || 7);
    assert_eq!(result.map_err(CodecError::close_code), Err(code), "{bytes:02x?}");
}

#[test]
fn a_ping_inside_a_fragmented_text_is_seen_first() {
    let stream =
        [frame(0x01, b"he"), frame(0x89, b"x"), frame(0x80, b"llo"), frame(0x88, &1000_u16.to_be_bytes())].concat();
    let (seen, result, _) = read(&stream, || 1000);
    assert_eq!(result, Ok(()));
    assert_eq!(seen, ["Ping([120])", "Text(\"hello\")", "Close(Some(1000))"]);
}

#[test]
fn broken_frames_are_refused_with_their_close_code() {
    check_error(&[0x81, 0x01, b'x'], 1002); // not masked
    check_error(&frame(0xc1, b"x"), 1002); // reserved bit
    check_error(&frame(0x83, b"x"), 1002); // unknown opcode
    check_error(&frame(0x8b, b"x"), 1002);
    check_error(&frame(0x80, b"x"), 1002); // nothing to continue
    check_error(&[frame(0x01, b"a"), frame(0x81, b"b")].concat(), 1002);
    check_error(&frame(0x09, b"x"), 1002); // fragmented ping
    check_error(&frame(0x89, &[0; 126]), 1002);
    check_error(&frame(0x88, b"x"), 1002); // one-byte close
    check_error(&frame(0x88, &1005_u16.to_be_bytes()), 1002);
    check_error(&[0x81, 0xfe, 0, 5, 0, 0, 0, 0], 1002); // not the shortest length
    check_error(&frame(0x82, b"x"), 1003);
    check_error(&frame(0x81, &[0xff]), 1007);
    check_error(&frame(0x81, &vec![b'x'; MESSAGE_BYTES_MAX + 1]), 1009);
    check_error(&[frame(0x01, &vec![b'x'; MESSAGE_BYTES_MAX]), frame(0x80, b"x")].concat(), 1009);
    check_error(&[0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], 1009);
}

#[test]
fn a_text_of_exactly_the_bound_passes() {
    let (seen, result, _) = read(&frame(0x81, &vec![b'x'; MESSAGE_BYTES_MAX]), || 4096);
    assert_eq!((seen.len(), result), (1, Ok(())));
}

#[test]
fn prop_any_chunking_gives_the_same_messages() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..300 {
        let mut stream = Vec::new();
        for _ in 0..random.next(8) + 1 {
            let text = "añb€".repeat(random.next(120));
            match random.next(4) {
                0 => stream.extend(frame(0x89, &text.as_bytes()[..text.len().min(random.next(125))])),
                1 => {
                    let (head, tail) = text.as_bytes().split_at(random.next(text.len() + 1));
                    stream.extend([frame(0x01, head), frame(0x8a, b""), frame(0x80, tail)].concat());
                }
                _ => stream.extend(frame(0x81, text.as_bytes())),
            }
        }
        let whole = read(&stream, || usize::MAX);
        assert_eq!(whole.1, Ok(()));
        let bytewise = read(&stream, || 1);
        let chunked = read(&stream, || random.next(40) + 1);
        assert_eq!((&whole.0, &whole.1), (&bytewise.0, &bytewise.1));
        assert_eq!((&whole.0, &whole.1), (&chunked.0, &chunked.1));
    }
}

#[test]
fn prop_random_bytes_never_grow_beyond_the_bound() {
    let mut random = Random(42);
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..random.next(400) + 2)
            .map(|at| match at {
                0 => [0x01, 0x81, 0x80, 0x89, random.next(256) as u8][random.next(5)],
                1 => 0x80 | random.next(128) as u8,
                _ => random.next(256) as u8,
            })
            .collect();
        let (_, _, held) = read(&bytes, || random.next(30) + 1);
        assert!(held <= 2 * MESSAGE_BYTES_MAX + 256);
    }
}

#[test]
fn an_idle_decoder_holds_no_memory() {
    let mut decoder = Decoder::default();
    decoder.push(&frame(0x81, b"{\"op\":\"ping\"}"), None, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(decoder.held(), 0);
}

#[test]
fn a_close_reason_is_cut_at_a_character() {
    let frame = close_frame(4408, &"é".repeat(80));
    assert_eq!(frame.len(), 2 + 2 + 122);
    assert!(str::from_utf8(&frame[4..]).is_ok());
}

#[test]
fn a_compressed_message_is_read_where_that_was_agreed_on() {
    // "Hello" as RFC 7692 §7.2.3.1 has it, and as two blocks (§7.2.3.5).
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(read_compressed(&frame(0xc1, &hello)), Ok(vec!["Text(\"Hello\")".to_owned()]));
    assert_eq!(read_compressed(&frame(0xc1, &blocks)), Ok(vec!["Text(\"Hello\")".to_owned()]));
    let parts = [frame(0x41, &hello[..3]), frame(0x89, b"x"), frame(0x80, &hello[3..]), frame(0x81, b"plain")];
    assert_eq!(read_compressed(&parts.concat()).unwrap(), ["Ping([120])", "Text(\"Hello\")", "Text(\"plain\")"]);
    // The bit belongs on the first frame of a text, and there are two more of no meaning.
    for bad in [
        frame(0xa1, &hello),
        frame(0x91, &hello),
        frame(0xc9, b"x"),
        frame(0xc8, b""),
        [frame(0x41, &hello[..3]), frame(0xc0, &hello[3..])].concat(),
        [frame(0x01, b"x"), frame(0xc0, &hello)].concat(),
    ] {
        assert_eq!(read_compressed(&bad), Err(1002), "{bad:02x?}");
    }
    assert_eq!(read_compressed(&frame(0xc1, &[0xff; 9])), Err(1007));
    check_error(&frame(0xc1, &hello), 1002);
}

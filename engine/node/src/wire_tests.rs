//! Frames put together anew: at every boundary, and cut at every byte.

use std::io::Read;

use engine::{frame::text_frame, market::Directory};

use super::*;
use crate::{codec, outbox::Outbox, turn::Item};

const BATCH: Wire = Wire { is_batch: true, is_deflate: false };
const DEFLATE: Wire = Wire { is_batch: false, is_deflate: true };
const BOTH: Wire = Wire { is_batch: true, is_deflate: true };

/// A message of any length; the bound of our own reader is for clients.
fn unpacked(payload: &[u8]) -> String {
    let mut text = String::new();
    let bytes = [payload, &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
    flate2::read::DeflateDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    text
}

/// What a client reads: texts as they are, control frames by their opcode.
fn read(mut bytes: &[u8]) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(frame) = OwnFrame::split(&mut bytes) {
        let first = frame.whole[0];
        seen.push(match first & 0x0f {
            1 if first & COMPRESSED != 0 => unpacked(frame.payload),
            1 => String::from_utf8(frame.payload.to_vec()).unwrap(),
            opcode => format!("{opcode}"),
        });
    }
    assert!(bytes.is_empty(), "a frame is cut off: {bytes:02x?}");
    seen
}

/// The messages inside the arrays, and the control frames.
fn ops(bytes: &[u8]) -> Vec<String> {
    let parse = |text: String| match serde_json::from_str(&text).unwrap() {
        serde_json::Value::Array(ops) => ops.iter().map(ToString::to_string).collect(),
        other => vec![other.to_string()],
    };
    read(bytes).into_iter().flat_map(parse).collect()
}

/// A turn with these messages; `p` in one stands for a ping frame, `|` for the border of two frames.
fn turn(messages: &[&str]) -> (Turn, Vec<u32>) {
    let mut turn = Turn::new();
    let frames = |message: &str| -> Vec<u8> {
        let parts = message.split('|').map(|part| match part {
            "p" => codec::ping_frame(),
            text => text_frame(text.as_bytes()).to_vec(),
        });
        parts.collect::<Vec<_>>().concat()
    };
    let path = messages.iter().map(|message| turn.add(Item::control(frames(message)))).collect();
    (turn, path)
}

fn gather(wire: Wire, messages: &[&str]) -> Vec<u8> {
    let (mut turn, path) = turn(messages);
    let mut out = Vec::new();
    Framer::default().gather(wire, &path, &mut turn, &mut out, &mut Vec::new());
    out
}

#[test]
fn messages_become_one_array_that_control_frames_split() {
    let check = |messages: &[&str], want: &[&str]| assert_eq!(read(&gather(BATCH, messages)), want, "{messages:?}");
    check(&[], &[]);
    check(&["1"], &["[1]"]);
    check(&["1", "2", "3"], &["[1,2,3]"]);
    check(&["1|2", "3"], &["[1,2,3]"]);
    check(&["p"], &["9"]);
    check(&["1", "2|p", "3"], &["[1,2]", "9", "[3]"]);
    check(&["p|1", "p", "p|2|3"], &["9", "[1]", "9", "9", "[2,3]"]);
    assert_eq!(read(&gather(Wire::default(), &["1|2", "p"])), ["1", "2", "9"]);
}

#[test]
fn long_texts_are_compressed_once_and_short_ones_go_as_they_are() {
    let long = format!("\"{}\"", "ab".repeat(200));
    let (mut turn, path) = turn(&[&long, "1", "p", &format!("{long}|2|p|{long}")]);
    let (mut framer, mut out, mut again) = (Framer::default(), Vec::new(), Vec::new());
    framer.gather(DEFLATE, &path, &mut turn, &mut out, &mut Vec::new());
    assert_eq!(read(&out), [&long, "1", "9", &long, "2", "9", &long]);
    assert!(out.len() < 150 && out[0] == 0xc1);
    framer.gather(DEFLATE, &path[..1], &mut turn, &mut again, &mut Vec::new());
    assert_eq!(turn.deflated(path[0]).unwrap(), &again);
    let array = gather(BOTH, &[&long, "1", &long]);
    assert_eq!((array[0], read(&array)), (0xc1, vec![format!("[{long},1,{long}]")]));
    assert_eq!(gather(BOTH, &["1"]), [0x81, 3, b'[', b'1', b']']);
}

#[test]
fn an_array_ends_before_it_is_longer_than_64_kib() {
    let text = |size: usize| format!("\"{}\"", "x".repeat(size - 2));
    let sizes = |messages: &[&str]| read(&gather(BATCH, messages)).iter().map(String::len).collect::<Vec<_>>();
    let (half, less) = (text(32_768), text(32_765));
    assert_eq!(sizes(&[&half, &less]), [65_536]);
    assert_eq!(sizes(&[&half, &half]), [32_770, 32_770]);
    let long = text(200_000);
    assert_eq!(sizes(&["1", &long, "2"]), [3, 200_002, 3]);
    let joined = [half.as_str(); 5].join("|");
    assert_eq!(sizes(&["1", &joined, "2"]), [32_772, 32_770, 32_770, 32_770, 32_772]);
}

#[test]
fn cut_at_any_byte_the_rest_follows_whole_and_nothing_twice() {
    let directory = Directory::new();
    let long = format!("\"{}\"", "y".repeat(40_000));
    let joined = format!("4|{long}|5|{long}|6");
    for messages in [vec!["1|2", "3|p", "p", "4", "5|6", "7"], vec!["1", &joined, "7", "p", "8"]] {
        let (mut turn, path) = turn(&messages);
        for wire in (0..Wire::COUNT).map(Wire::of_root) {
            let (mut framer, mut gathered, mut cuts) = (Framer::default(), Vec::new(), Vec::new());
            framer.gather(wire, &path, &mut turn, &mut gathered, &mut cuts);
            let want = ops(&gathered);
            let step = if gathered.len() > 1000 { 97 } else { 1 };
            for count in (0..gathered.len()).step_by(step) {
                let (end, taken) = cut(wire, &path, &turn, &cuts, count);
                assert!((count..=gathered.len()).contains(&end) && (count > 0 || taken == 0));
                let mut outbox = Outbox::new(&gathered[count..end], 1 << 20, 0);
                path[taken..].iter().for_each(|item| outbox.push(turn.item(*item).unwrap(), &directory));
                let mut seen = gathered[..count].to_vec();
                let mut small = Framer::default();
                while !outbox.is_empty() {
                    let mut out = Vec::new();
                    let begun = outbox.fill(&mut out, &directory);
                    small.reframe(wire, &mut out, begun);
                    // A socket that takes one byte, then many.
                    let taken = out.len().min(1 + seen.len() % 2 * 30_000);
                    seen.extend_from_slice(&out[..taken]);
                    outbox.sent(&out, taken, 0, &directory);
                }
                assert_eq!(ops(&seen), want, "{wire:?} cut at {count}");
            }
        }
    }
}

#[test]
fn each_kind_has_its_root_and_a_path_leads_back_to_it() {
    let mut turn = Turn::new();
    let item = turn.add(Item::control(text_frame(b"1")));
    let mut path = Vec::new();
    for root in 0..Wire::COUNT {
        let wire = Wire::of_root(root);
        assert_eq!((wire.root(), wire.is_plain()), (root, root == 0));
        let node = turn.step(root, item);
        assert!(!crate::turn::is_root(node));
        assert_eq!(turn.path(node, &mut path), wire);
        assert_eq!(path, [item]);
    }
}

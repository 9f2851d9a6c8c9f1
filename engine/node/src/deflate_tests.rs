//! Offers, and messages packed and unpacked, also those that mean harm.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use flate2::write::DeflateEncoder;

use super::*;

/// Packed by another path than ours: with the whole window and a final block.
fn packed_with_an_end(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// As browsers do it: a sync flush, its tail left out.
fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.flush().unwrap();
    let bytes = encoder.get_ref().clone();
    bytes.strip_suffix(&TAIL).unwrap().to_vec()
}

fn candle(at: usize) -> String {
    let price = 68_120 + at % 97;
    format!(
        r#"{{"op":"event","channel":"market.BTC.1m","seq":{at},"ts":1732262400130,"data":{{"symbol":"BTC","interval":"1m","ts":1732262340000,"open":{price}.1,"high":{price}.9,"low":{price}.02,"close":{price}.5,"volume":3.25,"is_closed":true,"close_ts":1732262400000,"trades":118,"vwap":{price}.4410288461,"quote_volume":221423.93,"buy_volume":1.9,"revision":0,"state":"complete","source":"binance:BTCUSDT","first_id":3735683259,"last_id":3735683376}}}}"#
    )
}

#[test]
fn the_first_offer_that_can_be_met_is_taken() {
    for good in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        "permessage-deflate;server_max_window_bits=\"15\"",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=9, permessage-deflate",
        "other; text=\"a,b;c\", permessage-deflate",
    ] {
        assert!(negotiate([good]).is_some(), "{good}");
    }
    for bad in [
        "",
        ",;=",
        "permessage-deflat",
        "PERMESSAGE-DEFLATE=1",
        "permessage-deflate; server_max_window_bits=11",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=012",
        "permessage-deflate; server_max_window_bits=+12",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=15; client_max_window_bits=15",
        "permessage-deflate; client_no_context_takeover=1",
        "permessage-deflate; unheard_of",
        "permessage-deflate;",
        "other; text=\"a, permessage-deflate",
    ] {
        assert_eq!(negotiate([bad]), None, "{bad}");
    }
    assert!(negotiate(["other", "permessage-deflate"]).is_some());
    assert_eq!(negotiate([]), None);
}

#[test]
fn a_message_comes_back_whatever_came_before_it() {
    let mut deflater = Deflater::default();
    let mut inflater = Inflater::default();
    let long: String = (0..140).map(candle).collect();
    for text in [candle(1), candle(2), long.clone(), candle(1), "[1,2,3]".repeat(50)] {
        let bytes = deflater.deflate(text.as_bytes()).unwrap().to_vec();
        assert!(bytes.len() < text.len());
        assert_eq!(inflater.inflate(&bytes).unwrap(), text.as_bytes());
        // A client with a window of 4 KiB can read it.
        let mut narrow = Decompress::new_with_window_bits(false, WINDOW_BITS);
        let mut out = Vec::with_capacity(text.len() + 1);
        narrow.decompress_vec(&bytes, &mut out, FlushDecompress::Sync).unwrap();
        assert_eq!(out, text.as_bytes());
    }
    let first = deflater.deflate(long.as_bytes()).unwrap().to_vec();
    assert_eq!(deflater.deflate(long.as_bytes()).unwrap(), first);
}

#[test]
fn what_gains_nothing_is_not_packed() {
    let mut deflater = Deflater::default();
    assert_eq!(deflater.deflate(br#"{"op":"ping","ts":1}"#), None);
    let mut random = 0x9e37_79b9_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as u8
    })
    .take(5000)
    .collect();
    assert_eq!(deflater.deflate(&noise), None);
}

#[test]
fn messages_of_clients_are_unpacked_within_the_bound() {
    let mut inflater = Inflater::default();
    let op = br#"{"op":"subscribe","channels":["market.BTC.1m"]}"#;
    assert_eq!(inflater.inflate(&packed(op)).unwrap(), op);
    // A final block, with the byte that §7.2.3.4 asks for and without.
    let ended = packed_with_an_end(op);
    assert_eq!(inflater.inflate(&ended).unwrap(), op);
    assert_eq!(inflater.inflate(&[&ended[..], &[0]].concat()).unwrap(), op);
    // An empty message is a single byte (§7.2.3.6).
    assert_eq!(inflater.inflate(&[0]).unwrap(), b"");
    let most = vec![b' '; MESSAGE_BYTES_MAX];
    assert_eq!(inflater.inflate(&packed(&most)).unwrap(), most);
    assert_eq!(inflater.inflate(&packed(&vec![b' '; MESSAGE_BYTES_MAX + 1])), Err(CodecError::TooLong));
    let bomb = packed(&vec![0; 60_000_000]);
    assert!(bomb.len() < 65_536);
    assert_eq!(inflater.inflate(&bomb), Err(CodecError::TooLong));
    assert_eq!(inflater.inflate(&[0xff; 100]), Err(CodecError::Deflate));
    let twice = [&ended[..], &ended[..], &ended[..]].concat();
    assert_eq!(inflater.inflate(&twice), Err(CodecError::Deflate));
    assert_eq!(inflater.inflate(&packed(op)).unwrap(), op);
}

#[test]
fn prop_random_bytes_are_refused_or_short() {
    let mut inflater = Inflater::default();
    let mut random = 0x2545_f491_u64;
    for size in 0..2000 {
        let noise = std::iter::repeat_with(|| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8
        });
        let noise: Vec<u8> = noise.take(size % 97).collect();
        if let Ok(out) = inflater.inflate(&noise) {
            assert!(out.len() <= MESSAGE_BYTES_MAX);
        }
    }
}

#[test]
#[ignore = "a measurement: cargo test --release -p node packing -- --ignored --nocapture"]
fn packing_costs_so_much_and_gains_so_much() {
    let texts: Vec<String> = (0..64).map(candle).collect();
    let mut all: Vec<(String, String)> = vec![("candle".into(), texts[1].clone())];
    all.push(("array of 10".into(), texts[..10].join(",")));
    all.push(("array of 64".into(), texts.join(",")));
    for (name, text) in all {
        let levels = [1, 2, 3, 4, 6];
        let mut best = levels.map(|_| (Duration::MAX, 0));
        // Turn by turn and the best of each: other work on the machine hits all alike.
        for _ in 0..20 {
            for (level, best) in levels.into_iter().zip(&mut best) {
                let stream = Compress::new_with_window_bits(Compression::new(level), false, WINDOW_BITS);
                let mut deflater = Deflater { stream: Some(stream), out: Vec::new() };
                let rounds = (100_000 / text.len()).max(1);
                let (start, mut size) = (Instant::now(), 0);
                for _ in 0..rounds {
                    size = deflater.deflate(text.as_bytes()).map_or(0, <[u8]>::len);
                }
                *best = (best.0.min(start.elapsed() / rounds as u32), size);
            }
        }
        for (level, (time, size)) in levels.into_iter().zip(best) {
            println!("{name}: {} bytes, level {level}: {size} bytes, {time:?}", text.len());
        }
    }
}

//! The ladder for slow clients, without sockets.

use std::fmt::Write;

use engine::{
    frame::{Form, text_frame},
    market::{IdRule, Instrument, Venue},
    number::Scale,
};
use expect_test::{Expect, expect};

use super::*;

const CHANNEL: ChannelId = ChannelId(0);

fn directory() -> Directory {
    let mut directory = Directory::new();
    let scale = Scale::new(2).unwrap();
    let (venue, name, ids) = (Venue::Sim, "A".into(), IdRule::Contiguous);
    directory.register(None, Instrument { venue, name, price_scale: scale, quantity_scale: scale, ids }).unwrap();
    directory
}

/// A frame of 100 bytes or so.
fn frame(seq: u64, class: Class) -> Frame {
    let text = format!(r#"{{"seq":{seq},"data":"{class:?}{}"}}"#, "x".repeat(70));
    let data_at = 2 + text.find("\"data\"").unwrap() as u16;
    let bytes = text_frame(text.as_bytes());
    Frame { channel: CHANNEL, seq, class, form: Form::Number, ts_encode: 0, bytes, body_at: 2, data_at }
}

/// Plays `s1 e2 …`: `s` a state, `e` an event, `c` an answer, `n` a snapshot up to that number, `w` the socket takes that
/// many bytes; shows what a patient client reads in the end.
fn check(bound: usize, script: &str, want: &Expect) {
    let directory = directory();
    let mut outbox = Outbox::new(b"", bound, 0);
    let (mut read, mut scratch, mut counts) = (Vec::new(), Vec::new(), Counts::default());
    let mut take = |outbox: &mut Outbox, count: usize| {
        scratch.clear();
        outbox.fill(&mut scratch, &directory);
        let count = count.min(scratch.len());
        read.extend_from_slice(&scratch[..count]);
        outbox.sent(&scratch, count, 1, &directory);
    };
    for step in script.split(' ') {
        let (kind, number) = step.split_at(1);
        let number: u64 = number.parse().unwrap();
        match kind {
            "s" => outbox.push(&Item::frame(frame(number, Class::State)), &directory),
            "e" => outbox.push(&Item::frame(frame(number, Class::Event)), &directory),
            "c" => outbox.push(&Item::control(text_frame(format!("answer {number}").as_bytes())), &directory),
            "n" => {
                let bytes = text_frame(format!("snapshot {number}").as_bytes());
                outbox.push(&Item { bytes, kind: ItemKind::Snapshot { channel: CHANNEL, seq: number } }, &directory);
            }
            _ => take(&mut outbox, number as usize),
        }
    }
    while !outbox.is_empty() {
        take(&mut outbox, usize::MAX);
    }
    let new = outbox.take_counts();
    counts.conflated += new.conflated;
    counts.lost += new.lost;
    let mut shown = String::new();
    let mut rest = &read[..];
    while !rest.is_empty() {
        let (start, size) = match rest[1] {
            126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            size => (2, usize::from(size)),
        };
        writeln!(shown, "{}", String::from_utf8_lossy(&rest[start..start + size]).replace(&"x".repeat(70), ""))
            .unwrap();
        rest = &rest[start + size..];
    }
    write!(shown, "conflated {} lost {}", counts.conflated, counts.lost).unwrap();
    want.assert_eq(&shown);
}

#[test]
fn states_conflate_and_the_newest_says_how_many_were_skipped() {
    check(
        10_000,
        "s1 s2 s3",
        &expect![[r#"
        {"seq":3,"skipped":2,"data":"State"}
        conflated 2 lost 0"#]],
    );
}

#[test]
fn a_state_that_stands_before_an_event_goes_before_it() {
    check(
        10_000,
        "s1 s2 e3 s4 s5 c1",
        &expect![[r#"
        {"seq":2,"skipped":1,"data":"State"}
        {"seq":3,"data":"Event"}
        answer 1
        {"seq":5,"skipped":1,"data":"State"}
        conflated 2 lost 0"#]],
    );
}

#[test]
fn events_at_the_bound_are_lost_and_a_gap_counts_them() {
    check(
        250,
        "e1 e2 e3 e4 w1000 e5",
        &expect![[r#"
        {"seq":1,"data":"Event"}
        {"seq":2,"data":"Event"}
        {"op":"gap","channel":"market.sim:A.1s","from":3,"to":4,"lost":2,"cause":"slow_consumer","state":"lost"}
        {"seq":5,"data":"Event"}
        conflated 0 lost 2"#]],
    );
}

#[test]
fn what_is_lost_is_told_once_and_not_as_skipped_too() {
    check(
        350,
        "e1 e2 s3 e4 e5 s6 w10000 s7",
        &expect![[r#"
        {"seq":1,"data":"Event"}
        {"seq":2,"data":"Event"}
        {"op":"gap","channel":"market.sim:A.1s","from":4,"to":5,"lost":2,"cause":"slow_consumer","state":"lost"}
        {"seq":7,"skipped":2,"data":"State"}
        conflated 2 lost 2"#]],
    );
}

#[test]
fn a_message_that_is_half_written_is_finished_first() {
    check(
        10_000,
        "e1 e2 w7 s3 w5 s4 s5",
        &expect![[r#"
        {"seq":1,"data":"Event"}
        {"seq":2,"data":"Event"}
        {"seq":3,"data":"State"}
        {"seq":5,"skipped":1,"data":"State"}
        conflated 1 lost 0"#]],
    );
}

#[test]
fn a_snapshot_makes_the_states_before_it_needless() {
    check(
        10_000,
        "s1 n4 s5",
        &expect![[r#"
        snapshot 4
        {"seq":5,"data":"State"}
        conflated 1 lost 0"#]],
    );
}

#[test]
fn who_makes_no_progress_or_is_twice_over_the_bound_is_stuck() {
    let mut outbox = Outbox::new(b"x", 100, 1_000);
    assert!(!outbox.is_stuck(11_000, 10_000));
    assert!(outbox.is_stuck(11_001, 10_000));
    outbox.push(&Item::control(vec![0; 200]), &directory());
    assert!(outbox.is_stuck(1_000, 10_000));
    outbox.abandon();
    assert_eq!(outbox.bytes(), 1);
}

#[test]
fn prop_each_event_is_delivered_or_skipped_or_told_as_lost() {
    let directory = directory();
    let mut random = 0x9e37_79b9_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for _ in 0..500 {
        let bound = 200 + next(1500) as usize;
        let mut outbox = Outbox::new(b"", bound, 0);
        let (mut read, mut seq) = (Vec::new(), 0);
        let steps = next(60) + 1;
        for step in 0..steps + 100 {
            let mut scratch = Vec::new();
            match next(4) {
                _ if step >= steps => {
                    outbox.fill(&mut scratch, &directory);
                    read.extend_from_slice(&scratch);
                    outbox.sent(&scratch, scratch.len(), 0, &directory);
                }
                0 => {
                    outbox.fill(&mut scratch, &directory);
                    let count = next(300).min(scratch.len() as u64) as usize;
                    read.extend_from_slice(&scratch[..count]);
                    outbox.sent(&scratch, count, 0, &directory);
                }
                kind => {
                    seq += 1;
                    let class = if kind == 1 { Class::State } else { Class::Event };
                    outbox.push(&Item::frame(frame(seq, class)), &directory);
                    assert!(outbox.bytes() <= bound + 400);
                }
            }
        }
        assert!(outbox.is_empty() && outbox.bytes() == 0);
        let text = String::from_utf8_lossy(&read);
        let sum = |name: &str| -> u64 {
            let parts = text.split(name).skip(1);
            parts.map(|part| part.split(',').next().unwrap().parse::<u64>().unwrap()).sum()
        };
        let delivered = text.matches("\"seq\":").count() as u64;
        assert_eq!(delivered + sum("\"skipped\":") + sum("\"lost\":"), seq, "{text}");
    }
}

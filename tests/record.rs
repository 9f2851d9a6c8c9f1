//! `serve --record`, and `replay` of what it wrote: an operator can prove which candles were streamed.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    follower::Follower,
    outage::{Small, assert_unbroken, fill},
    played::{KEY, final_revisions},
    process::{Kandle, command, tempdir},
    replay::quoted,
    venue::Venue,
};

const INTERVALS: [&str; 6] = ["1s", "5s", "15s", "30s", "1m", "5m"];

/// The candles that `kandle replay` makes of a recording, by interval and open time, and what it says.
fn replay(folder: &Path) -> (BTreeMap<(String, i64), Value>, String) {
    let mut replay = command(&["replay", folder.to_str().unwrap(), "--out", "-"]);
    let output = replay.args(INTERVALS.iter().flat_map(|interval| ["--interval", interval])).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let candles = text.lines().map(|line| serde_json::from_str(&quoted(line)).unwrap()).collect();
    (final_revisions(candles), said)
}

/// Panics unless each candle that was streamed is in the replay with the same value of every field. Gives how many are, and
/// how many of them have another number of revisions.
fn compare(sent: &BTreeMap<(String, i64), Value>, replayed: &BTreeMap<(String, i64), Value>) -> (usize, usize) {
    let mut renumbered = 0;
    for (key, sent) in sent {
        let own = replayed.get(key).unwrap_or_else(|| panic!("not in the replay: {sent}"));
        for (field, value) in sent.as_object().unwrap() {
            let own = if own[field] == "null" { &Value::Null } else { &own[field] };
            if field == "revision" {
                if own != value {
                    println!("revision {value} streamed, {own} replayed: {sent}");
                    renumbered += 1;
                }
            } else {
                assert_eq!(own, value, "{field} of {sent}");
            }
        }
    }
    (sent.len(), renumbered)
}

fn seconds(candles: &[Value]) -> usize {
    candles.iter().filter(|candle| candle["interval"] == "1s").count()
}

#[test]
fn a_replay_gives_every_candle_that_was_streamed_over_lost_trades_and_a_repaired_cut() {
    let (venue, folder) = (Venue::open(Duration::from_secs(60)), tempdir().join("recorded"));
    let mut kandle = Kandle::serve(&format!("[record]\ndir = {folder:?}\n{}{KEY}", venue.config()));
    venue.await_streams(1);
    let follower = Follower::start(&kandle, &INTERVALS);
    follower.until("five seconds", |candles| seconds(candles) >= 5);
    let lost = venue.lose(30);
    follower
        .until("the lost trades", |candles| candles.iter().any(|candle| candle["last_id"].as_u64() > Some(lost.end)));
    venue.close_door(true);
    venue.cut();
    venue.await_streams(0);
    std::thread::sleep(Duration::from_secs(2));
    venue.close_door(false);
    venue.await_streams(1);
    let back = venue.recording().past().last().unwrap().ms;
    let is_repaired = |candle: &Value| candle["state"] == "repaired" && candle["interval"] == "1s";
    follower.until("repaired seconds, and sound ones behind", |candles| {
        let sound = candles.iter().filter(|candle| candle["ts"].as_i64() > Some(back) && candle["state"] == "complete");
        candles.iter().filter(|candle| is_repaired(candle)).count() >= 2 && sound.count() >= 5
    });
    let metrics = kandle.get("/metrics").unwrap();
    kandle.terminate();
    let sent = final_revisions(follower.end());
    assert!(
        metrics.contains("kandle_record_lost_total{venue=\"binance\"} 0\n") || !metrics.contains("record_lost_total{")
    );
    assert!(metrics.contains("kandle_record_lines_total{venue=\"binance\"}"), "{metrics}");

    let (replayed, said) = replay(&folder);
    let (equal, renumbered) = compare(&sent, &replayed);
    println!("{equal} candles are equal, {renumbered} of them but for the number of the revision\n{said}");
    assert!(sent.values().filter(|candle| is_repaired(candle)).count() >= 2);
    // A trade within a turn of a deadline may be told apart otherwise, see the replay.
    assert!(equal >= 20 && renumbered * 10 <= equal, "{renumbered} of {equal}");
}

#[test]
fn a_recording_goes_on_over_a_restart_of_a_program_that_keeps_its_history() {
    let (venue, folder) = (Venue::open(Duration::from_secs(60)), tempdir());
    let store = format!("[store]\nurl = \"redb:{}\"\n", folder.join("history.redb").display());
    let record = format!("[record]\ndir = {:?}\n", folder.join("recorded"));
    let mut kandle = Kandle::serve(&format!("{record}{store}{}{KEY}", venue.config()));
    venue.await_streams(1);
    let follower = Follower::start(&kandle, &INTERVALS);
    follower.until("some seconds", |candles| seconds(candles) >= 4);
    kandle.terminate();
    let ended = venue.recording().past().last().unwrap().id;
    kandle.kill_and_start();
    follower.until("seconds of the second run", |candles| {
        let behind = |candle: &&Value| candle["interval"] == "1s" && candle["first_id"].as_u64() > Some(ended + 20);
        candles.iter().filter(behind).count() >= 6
    });
    kandle.terminate();
    let (replayed, said) = replay(&folder.join("recorded"));
    let (equal, renumbered) = compare(&final_revisions(follower.end()), &replayed);
    println!("{equal} candles of two runs are equal, {renumbered} of them but for the number of the revision\n{said}");
    assert!(equal >= 10, "{equal}");
}

#[test]
fn a_killed_recorder_loses_the_last_second_at_the_most() {
    let (venue, folder) = (Venue::open(Duration::from_secs(60)), tempdir().join("recorded"));
    let mut kandle = Kandle::serve(&format!("[record]\ndir = {folder:?}\n{}{KEY}", venue.config()));
    venue.await_streams(1);
    let follower = Follower::start(&kandle, &INTERVALS);
    follower.until("some seconds", |candles| seconds(candles) >= 6);
    let killed = venue.recording().past().last().unwrap().ms;
    kandle.kill();
    let mut sent = final_revisions(follower.end());
    // A candle closes once the next trade is there, or a second later.
    sent.retain(|_, candle| candle["close_ts"].as_i64() < Some(killed - 2_000));
    let (replayed, said) = replay(&folder);
    assert!(said.contains("ends torn"), "{said}");
    let (equal, _) = compare(&sent, &replayed);
    assert!(equal >= 3, "{equal}");
}

/// Waits until the metrics say whether the disk takes nothing.
fn await_failing(kandle: &Kandle, is_failing: bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let line = format!("kandle_record_failing {}", u8::from(is_failing));
    while !kandle.get("/metrics").unwrap().lines().any(|known| known == line) {
        assert!(Instant::now() < deadline, "not: {line}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_full_disk_stops_the_recording_and_not_the_stream_and_it_goes_on_when_there_is_room() {
    let Some(small) = Small::mount() else { return };
    let (venue, folder) = (Venue::open(Duration::from_secs(60)), small.0.join("recorded"));
    let mut kandle = Kandle::serve(&format!("[record]\ndir = {folder:?}\n{}{KEY}", venue.config()));
    venue.await_streams(1);
    let follower = Follower::start(&kandle, &INTERVALS);
    follower.until("some seconds", |candles| seconds(candles) >= 4);
    let whole = follower.count();
    let filler = fill(&small.0);
    await_failing(&kandle, true);
    let seen = follower.count();
    follower.until("seconds while the disk is full", |candles| candles.len() >= seen + 4);
    std::fs::remove_file(filler).unwrap();
    await_failing(&kandle, false);
    let seen = follower.count();
    follower.until("seconds that are recorded again", |candles| candles.len() >= seen + 4);
    kandle.terminate();
    let sent = follower.end();
    assert_unbroken(&sent);
    let (replayed, said) = replay(&folder);
    assert!(said.contains("lines are missing"), "{said}");
    let (equal, _) = compare(&final_revisions(sent[..whole].to_vec()), &replayed);
    let last = sent.last().unwrap()["ts"].as_i64().unwrap();
    assert!(equal >= 4 && replayed.contains_key(&("1s".to_owned(), last - last % 1000)), "{equal}");
}

#[test]
fn a_folder_that_cannot_be_recorded_into_is_named_before_anything_starts() {
    let file = tempdir().join("taken");
    std::fs::write(&file, "").unwrap();
    let mut serve = command(&["serve", "--listen", "127.0.0.1:0", "--record", file.to_str().unwrap()]);
    // The history of the defaults is kept below the folder of the start.
    let output = serve.current_dir(crate::process::tempdir()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(file.to_str().unwrap()) && said.contains("record"), "{said}");
}

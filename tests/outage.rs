//! A store that is away or full while the real program streams: clients notice nothing, and nothing is lost.

use std::{
    fs,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    follower::Follower,
    played::{KEY, final_revisions},
    process::{Kandle, tempdir},
    questdb::Server,
    venue::Venue,
};

pub(crate) const INTERVALS: [&str; 3] = ["1s", "5s", "15s"];
const PATIENCE: Duration = Duration::from_secs(60);

/// A minute on request, else a few seconds.
fn outage() -> Duration {
    Duration::from_secs(if std::env::var_os("KANDLE_LONG").is_some() { 60 } else { 8 })
}

fn await_history(kandle: &Kandle, states: &[&str]) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let history = kandle.json("/v1/health")["history"].clone();
        if states.contains(&history["state"].as_str().unwrap()) {
            return history;
        }
        assert!(Instant::now() < deadline, "history is not {states:?} but {history}");
        sleep(Duration::from_millis(100));
    }
}

/// Seconds that were sent one after the other, without a hole.
pub(crate) fn assert_unbroken(sent: &[Value]) {
    let mut seconds: Vec<i64> =
        sent.iter().filter(|c| c["interval"] == "1s").map(|c| c["ts"].as_i64().unwrap()).collect();
    seconds.sort_unstable();
    seconds.dedup();
    assert!(seconds.windows(2).all(|pair| pair[1] - pair[0] == 1000), "{seconds:?}");
}

/// What a client was sent is what the store gives, candle for candle and field for field.
pub(crate) fn assert_stored(kandle: &Kandle, sent: Vec<Value>) -> usize {
    let last = final_revisions(sent);
    for interval in INTERVALS {
        let of_it: Vec<&Value> = last.values().filter(|candle| candle["interval"] == interval).collect();
        if of_it.is_empty() && interval != "1s" {
            continue;
        }
        let time = |candle: &&&Value| candle["ts"].as_i64().unwrap();
        let (first, end) =
            (of_it.iter().map(|c| time(&c)).min().unwrap(), of_it.iter().map(|c| time(&c)).max().unwrap() + 1);
        let path =
            format!("/v1/market/ohlcv/BTC?interval={interval}&start={first}&end={end}&limit=10000&numbers=string");
        let answer = kandle.json(&path);
        let stored: Vec<&Value> = answer["candles"].as_array().unwrap().iter().collect();
        assert_eq!(stored.len(), of_it.len(), "{interval}");
        for (stored, sent) in stored.iter().zip(&of_it) {
            // A correction may have been stored since.
            if stored["revision"] == sent["revision"] {
                assert_eq!(stored, sent);
            } else {
                assert!(stored["revision"].as_u64() > sent["revision"].as_u64(), "{stored} {sent}");
            }
        }
    }
    last.len()
}

#[test]
fn a_store_that_is_stopped_under_load_and_started_again_has_all_that_clients_were_sent() {
    if std::env::var_os("KANDLE_QUESTDB").is_none() {
        assert!(std::env::var_os("KANDLE_REQUIRE_QUESTDB").is_none(), "KANDLE_QUESTDB is not set");
        eprintln!("skipped: run tests/run.sh with Java 17 and Maven");
        return;
    }
    let folder = tempdir();
    let server = Server::start(&folder.join("questdb"));
    let venue = Venue::open(Duration::from_secs(60));
    let store =
        format!("[store]\nurl = \"questdb:http://127.0.0.1:{}\"\nfolder = {:?}\n", server.http, folder.join("data"));
    let kandle = Kandle::serve(&format!("{}{KEY}{store}", venue.config()));
    venue.await_streams(1);
    let follower = Follower::start(&kandle, &INTERVALS);
    let seconds = |count: usize| {
        move |candles: &[Value]| candles.iter().filter(|candle| candle["interval"] == "1s").count() >= count
    };
    follower.until("the first seconds", seconds(3));
    server.stop();
    let told = await_history(&kandle, &["spilling"]);
    assert!(told["last_error"].is_string() && told["since"].is_i64(), "{told}");
    sleep(outage());
    server.run();
    let told = await_history(&kandle, &["ok"]);
    assert_eq!((&told["spilled_bytes"], &told["lost_rows"]), (&0.into(), &0.into()), "{told}");
    sleep(Duration::from_secs(2));
    let sent = follower.end();
    assert_unbroken(&sent);
    sleep(Duration::from_secs(2));
    println!("{} candles are stored as they were sent", assert_stored(&kandle, sent));
}

/// A file system of 6 MiB, which only root may mount.
pub(crate) struct Small(pub(crate) std::path::PathBuf);

impl Small {
    pub(crate) fn mount() -> Option<Self> {
        let folder = tempdir();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(&folder);
        let is_mounted = mount.output().is_ok_and(|output| output.status.success());
        if !is_mounted {
            eprintln!("skipped: a small file system cannot be mounted without root");
        }
        is_mounted.then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

pub(crate) fn fill(folder: &Path) -> std::path::PathBuf {
    let file = folder.join("filler");
    // Writes until there is no room at all.
    let _ = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096", "status=none"])
        .arg(format!("of={}", file.display()))
        .status();
    file
}

#[test]
fn a_full_disk_is_told_and_the_stream_goes_on() {
    let Some(small) = Small::mount() else { return };
    let venue = Venue::open(Duration::from_secs(60));
    let store = format!("[store]\nurl = \"redb:{}\"\n", small.0.join("history.redb").display());
    let mut kandle = Kandle::serve(&format!("{}{KEY}{store}", venue.config()));
    venue.await_streams(1);
    let follower = Follower::start(&kandle, &INTERVALS);
    let seconds = |count: usize| {
        move |candles: &[Value]| candles.iter().filter(|candle| candle["interval"] == "1s").count() >= count
    };
    follower.until("the first seconds", seconds(3));
    let filler = fill(&small.0);
    let told = await_history(&kandle, &["spilling", "full"]);
    assert!(
        told["last_error"].as_str().is_some_and(|error| error.contains("room") || error.contains("No space")),
        "{told}"
    );
    assert_eq!(kandle.json("/v1/health")["status"], "degraded");
    sleep(Duration::from_secs(5));
    fs::remove_file(filler).unwrap();
    await_history(&kandle, &["ok"]);
    sleep(Duration::from_secs(2));
    let sent = follower.end();
    assert_unbroken(&sent);
    sleep(Duration::from_secs(2));
    println!("{} candles are stored as they were sent", assert_stored(&kandle, sent));
    kandle.terminate();
}

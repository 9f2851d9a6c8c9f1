//! The recorder against a real folder: kills, full disks, bounds and hours.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    sync::atomic::{AtomicI64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use engine::market::Directory;

use super::*;
use crate::symbols;

const START: i64 = 1_795_701_590_000_000_000; // 2026-11-26T13:59:50Z

struct Studio {
    folder: tempfile::TempDir,
    metrics: FeedMetrics,
    directory: Directory,
    now: Arc<AtomicI64>,
}

impl Studio {
    fn new() -> Self {
        let mut directory = Directory::new();
        directory.register(Some("BTC"), symbols::instrument(Venue::Binance, "BTCUSDT")).unwrap();
        let now = Arc::new(AtomicI64::new(START));
        Self { folder: tempfile::tempdir().unwrap(), metrics: FeedMetrics::default(), directory, now }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("recorded")
    }

    fn start(&self, bytes_max: u64) -> (Recorder, Recording) {
        let now = Arc::clone(&self.now);
        let clock: Clock = Arc::new(move || Timestamp(now.load(SeqCst)));
        let config = RecordConfig { dir: self.dir(), bytes_max, late_window_ms: 300_000, close_delay_ms: 1000 };
        Recorder::start(config, &self.directory, clock, &self.metrics).unwrap()
    }

    /// Names of the files, in the order of time.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| Some((FileName::parse(&name)?.order(), name)))
            .collect();
        names.sort();
        names.into_iter().map(|(_, name)| name).collect()
    }

    fn until(&self, what: &str, is_done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_done(self) {
            assert!(Instant::now() < deadline, "waited in vain for {what}: {:?}", self.files());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The lines of a file as far as it is readable.
fn lines(path: &Path) -> Vec<String> {
    let reader = BufReader::new(zstd::Decoder::new(fs::File::open(path).unwrap()).unwrap());
    reader.lines().map_while(Result::ok).collect()
}

fn frames(lines: &[String]) -> Vec<&str> {
    lines.iter().filter(|line| !line.starts_with('#')).map(|line| line.split_once(' ').unwrap().1).collect()
}

#[test]
fn what_was_flushed_is_readable_while_the_file_grows_and_its_end_is_told() {
    let studio = Studio::new();
    let (recorder, recording) = studio.start(1 << 30);
    let tape = recorder.tape(Venue::Binance);
    let first = tape.opened(Timestamp(START), "wss://a");
    tape.frame(Timestamp(START + 1), first, b"{\"n\":1}");
    let second = tape.opened(Timestamp(START + 2), "wss://b");
    tape.frame(Timestamp(START + 3), first, b"{\"n\":2}");
    tape.frame(Timestamp(START + 4), second, b"{\"n\":3}");
    let path = studio.dir().join("binance-2026-11-26T13.jsonl.zst");
    // A kill at any moment leaves just such a file.
    studio.until("the flush", |_| path.exists() && frames(&lines(&path)).len() == 3);
    assert!(zstd::decode_all(&*fs::read(&path).unwrap()).is_err(), "the file is not ended");
    studio.now.store(START + 1_000_000_000, SeqCst);
    let time = format!("#time <- {}", START + 900_000_000);
    studio.until("the time", |_| lines(&path).contains(&time));
    recording.finish();
    tape.frame(Timestamp(START + 5), second, b"too late");
    let text = String::from_utf8(zstd::decode_all(&*fs::read(&path).unwrap()).unwrap()).unwrap();
    let expected = format!(
        "#kandle <- {0} binance {0} 300000 1000\n#symbol <- 0 BTCUSDT BTC\n#from <- {0} 1\n#open <-> {0} 1 wss://a\n\
         {1} {{\"n\":1}}\n#from <- {2} 2\n#open <-> {2} 2 wss://b\n#from <- {3} 1\n{3} {{\"n\":2}}\n\
         #from <- {4} 2\n{4} {{\"n\":3}}\n{time}\n#end <- {5}\n",
        START,
        START + 1,
        START + 2,
        START + 3,
        START + 4,
        START + 1_000_000_000
    );
    assert_eq!(text, expected);
}

#[test]
fn hours_and_starts_begin_files_and_the_oldest_go_when_the_bound_is_reached() {
    let studio = Studio::new();
    let (recorder, recording) = studio.start(1 << 30);
    let tape = recorder.tape(Venue::Binance);
    tape.frame(Timestamp(START), 1, b"{\"hour\":13}");
    tape.frame(Timestamp(START + 20_000_000_000), 1, b"{\"hour\":14}");
    tape.frame(Timestamp(START), 1, b"{\"late\":true}");
    recording.finish();
    assert_eq!(studio.files(), ["binance-2026-11-26T13.jsonl.zst", "binance-2026-11-26T14.jsonl.zst"]);
    assert_eq!(frames(&lines(&studio.dir().join(&studio.files()[1]))), ["{\"hour\":14}", "{\"late\":true}"]);

    // Each part may have a sixteenth of the bound; numbers that hardly compress fill them.
    let bound = 1 << 20;
    let (recorder, recording) = studio.start(bound);
    let tape = recorder.tape(Venue::Binance);
    let mut state = 1_u64;
    for _ in 0..400 {
        let mut text = String::new();
        for _ in 0..400 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text += &format!("{:x}", state >> 8);
        }
        tape.frame(Timestamp(START), 1, text.as_bytes());
        // The queue is bounded, not what a test may put in at once.
        studio.until("room", |studio| studio.metrics.record.lost(Venue::Binance).get() == 0);
    }
    recording.finish();
    let files = studio.files();
    assert!(!files.contains(&"binance-2026-11-26T13.jsonl.zst".to_owned()), "{files:?}");
    assert!(files.contains(&"binance-2026-11-26T14.jsonl.zst".to_owned()) || files.len() > 8, "{files:?}");
    let bytes: u64 = files.iter().map(|name| studio.dir().join(name).metadata().unwrap().len()).sum();
    assert!(bytes <= bound + bound / 8, "{bytes} bytes in {files:?}");
}

#[test]
fn lines_that_find_no_place_are_counted_and_told_where_they_are_missing() {
    let (sender, entries) = sync_channel(2);
    let queue = Queue::new(sender);
    let tape = Tape::new(Venue::Binance, queue, FeedMetrics::default().record.lost(Venue::Binance));
    for number in 0..5 {
        tape.frame(Timestamp(number), 1, b"{}");
    }
    assert_eq!(entries.try_iter().map(|entry| entry.lost).collect::<Vec<_>>(), [0, 0]);
    tape.frame(Timestamp(9), 1, b"{}");
    assert_eq!(entries.try_iter().map(|entry| entry.lost).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_disk_that_takes_nothing_stops_the_recording_which_goes_on_when_it_does() {
    let studio = Studio::new();
    let (recorder, recording) = studio.start(1 << 30);
    let tape = recorder.tape(Venue::Binance);
    // A file stands where the folder should be: nothing can be created.
    fs::remove_dir(studio.dir()).unwrap();
    fs::write(studio.dir(), "").unwrap();
    tape.frame(Timestamp(START), 1, b"{\"n\":1}");
    studio.until_failing(true);
    tape.frame(Timestamp(START + 1), 1, b"{\"n\":2}");
    fs::remove_file(studio.dir()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut sent = 2;
    while studio.metrics.record.failing.get() != 0 {
        assert!(Instant::now() < deadline, "it does not go on");
        tape.frame(Timestamp(START + 2), 1, b"{\"n\":3}");
        sent += 1;
        thread::sleep(Duration::from_millis(20));
    }
    recording.finish();
    let lines = lines(&studio.dir().join("binance-2026-11-26T13.jsonl.zst"));
    let kept = frames(&lines).len() as u64;
    let lost = studio.metrics.record.lost(Venue::Binance).get();
    assert_eq!(kept + lost, sent);
    assert_eq!(lines[2], format!("#lost <- {} {lost}", START + 2), "{lines:?}");
}

impl Studio {
    fn until_failing(&self, is_failing: bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while (self.metrics.record.failing.get() == 1) != is_failing {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

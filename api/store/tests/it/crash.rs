//! Processes that are killed while they write.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use engine::market::Timestamp;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use store::{
    Batch, FeedPosition, Keep, Sink, SpillConfig, Store, StoreError, StoreUrl, TradeFrom, Writer, WriterConfig,
    WriterState,
};

use crate::stage::{START, Stage, all, batch_of, candle, file_url, questdb_address, series, source, trade};

pub(crate) const PLACE: &str = "KANDLE_CRASH_PLACE";

/// A store that is down.
struct Down;

impl Sink for Down {
    async fn write(&self, _: &Arc<Batch>) -> Result<(), StoreError> {
        let source = Box::new(std::io::Error::other("it is down"));
        Err(StoreError::Unavailable { store: "store".to_owned(), source })
    }
}

pub(crate) fn config(folder: &Path) -> WriterConfig {
    let mut config = WriterConfig::new(SpillConfig::new(folder.join("spill")), || Timestamp(7));
    config.linger = Duration::from_millis(2);
    config.retry_max = Duration::from_millis(100);
    config
}

/// The rows of batch `number`: each kind of row, and a candle that every batch revises.
pub(crate) fn numbered(number: u32) -> Batch {
    let btc = source("binance:BTCUSDT");
    let at = i64::from(number);
    let rows: Vec<_> = (at * 5..at * 5 + 5).map(|number| candle("1s", number, 0)).collect();
    let mut batch = batch_of(&btc, &rows);
    batch.append(batch_of(&btc, &[candle("1h", 0, number)]));
    for id in u64::from(number) * 3..u64::from(number) * 3 + 3 {
        batch.trade(&btc, trade(id, START.plus(id as i64))).unwrap();
    }
    batch.position(&btc, FeedPosition { last_id: u64::from(number), ts_event: START });
    batch.value("last", &number.to_string()).unwrap();
    batch
}

/// Asserts that exactly the batches up to one are there, each of them whole, and returns its number.
pub(crate) async fn whole_batches(store: &Store) -> Option<u32> {
    let btc = source("binance:BTCUSDT");
    let last = store.value("last").await.unwrap().map(|text| text.parse::<u32>().unwrap());
    let count = last.map_or(0, |last| last + 1);
    let want: Vec<_> = (0..i64::from(count) * 5).map(|number| candle("1s", number, 0)).collect();
    assert_eq!(all(store, &series(&btc, "1s")).await, want);
    let revised: Vec<_> = last.map(|last| candle("1h", 0, last)).into_iter().collect();
    assert_eq!(all(store, &series(&btc, "1h")).await, revised);
    let (mut trades, mut from) = (0, TradeFrom::Time(Timestamp(0)));
    loop {
        let page = store.trades(&btc, from, 1000).await.unwrap();
        let Some(last) = page.last() else { break };
        (trades, from) = (trades + page.len(), TradeFrom::Behind(last.place()));
    }
    assert_eq!(trades, count as usize * 3);
    assert_eq!(store.position(&btc).await.unwrap().map(|position| position.last_id), last.map(u64::from));
    last
}

/// What a killed process runs: batches without end, each acknowledged on stdout once it is safe.
#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_stores() {
    let Ok(url) = env::var(PLACE) else { return };
    let store = Store::open(&StoreUrl::parse(&url).unwrap(), Keep::default()).await.unwrap();
    store.settled().await.unwrap();
    let mut number = store.value("last").await.unwrap().map_or(0, |last| last.parse::<u32>().unwrap() + 1);
    loop {
        if let Err(error) = store.write(&Arc::new(numbered(number))).await {
            println!("failed {error}");
            return;
        }
        println!("ack {number}");
        number += 1;
    }
}

/// As `child_stores`, through a writer whose store is down.
#[tokio::test]
#[ignore = "runs in a process of its own"]
async fn child_spills() {
    let Ok(folder) = env::var(PLACE) else { return };
    let from = env::var("KANDLE_CRASH_FROM").unwrap().parse::<u32>().unwrap();
    let writer = Writer::start(Down, config(Path::new(&folder))).unwrap();
    for number in from.. {
        writer.try_send(numbered(number)).unwrap();
        writer.flush().await;
        println!("ack {number}");
    }
}

fn spawn(test: &str, place: &str, from: u32) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(PLACE, place).env("KANDLE_CRASH_FROM", from.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn seeded() -> (u64, SmallRng) {
    let seed = rand::rng().random();
    (seed, SmallRng::seed_from_u64(seed))
}

/// Kills the child after `delay` and returns the last batch that it acknowledged.
fn killed(mut child: Child, delay: Duration) -> Option<u32> {
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let acks = stdout.lines().map_while(Result::ok);
        acks.filter_map(|line| line.split_once("ack ")?.1.trim().parse().ok()).last()
    });
    // The moment is chance on purpose: before, within and behind any step.
    thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_killed_at_any_moment_has_every_acknowledged_batch_and_no_half_one() {
    let folder = tempfile::tempdir().unwrap();
    let url = file_url(folder.path());
    let (seed, mut random) = seeded();
    let (mut acknowledged, mut kills_between_acks) = (None, 0);
    for _ in 0..50 {
        let delay = Duration::from_micros(random.random_range(5_000..250_000));
        let acks = killed(spawn("crash::child_stores", &url.to_string(), 0), delay);
        kills_between_acks += u32::from(acks.is_some());
        acknowledged = acks.or(acknowledged);
        let store = Store::open(&url, Keep::default()).await.unwrap();
        let last = whole_batches(&store).await;
        assert!(last >= acknowledged, "seed {seed}: {last:?} of {acknowledged:?}");
        // A batch that was stored, but not acknowledged any more, counts from here on.
        acknowledged = last;
    }
    assert!(kills_between_acks >= 10, "only {kills_between_acks} of 50 kills met a process that was writing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_while_it_creates_the_file_leaves_nothing_that_cannot_be_opened() {
    let (seed, mut random) = seeded();
    for _ in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let url = file_url(folder.path());
        let delay = Duration::from_micros(random.random_range(0..40_000));
        let acks = killed(spawn("crash::child_stores", &url.to_string(), 0), delay);
        let store = Store::open(&url, Keep::default()).await.unwrap();
        assert!(whole_batches(&store).await >= acks, "seed {seed}");
    }
}

#[tokio::test]
async fn a_file_that_was_left_half_made_is_made_anew() {
    for rest in [&b""[..], &[0; 5000], b"redb"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("history.redb.new"), rest).unwrap();
        let store = Store::open(&file_url(folder.path()), Keep::default()).await.unwrap();
        store.write(&Arc::new(numbered(0))).await.unwrap();
        assert_eq!(whole_batches(&store).await, Some(0));
        assert!(!folder.path().join("history.redb.new").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_while_it_writes_to_a_server_leaves_at_most_one_batch_to_repeat() {
    let Some(address) = questdb_address() else { return };
    let stage = Stage::questdb(&address, Keep::default()).await;
    let (seed, mut random) = seeded();
    let mut next = 0;
    for _ in 0..10 {
        let delay = Duration::from_micros(random.random_range(50_000..1_500_000));
        let acks = killed(spawn("crash::child_stores", &stage.url.to_string(), 0), delay);
        stage.store.settled().await.unwrap();
        let last = stage.store.value("last").await.unwrap().map(|last| last.parse::<u32>().unwrap());
        assert!(last >= acks, "seed {seed}: {last:?} of {acks:?}");
        // Tables take a batch one after the other: the one behind the last may be there in part. The writer repeats it.
        next = last.map_or(0, |last| last + 1);
        stage.write(&numbered(next)).await;
        assert_eq!(whole_batches(&stage.store).await, Some(next), "seed {seed}");
    }
    assert!(next > 10, "only {next} batches were written");
    stage.strike().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_killed_at_any_moment_while_it_spills_stores_every_acknowledged_batch_later() {
    let folder = tempfile::tempdir().unwrap();
    let (seed, mut random) = seeded();
    let mut next = 0;
    for _ in 0..20 {
        let delay = Duration::from_micros(random.random_range(5_000..150_000));
        let acks = killed(spawn("crash::child_spills", folder.path().to_str().unwrap(), next), delay);
        // The one behind the last acknowledged batch may be there or not; it is the same batch when it is sent again.
        next = acks.map_or(next, |last| last + 1);
    }
    assert!(next > 0, "seed {seed}: nothing was written");
    let store = Store::open(&file_url(folder.path()), Keep::default()).await.unwrap();
    let writer = Writer::start(store.clone(), config(folder.path())).unwrap();
    let mut status = writer.watch();
    let ok = status.wait_for(|status| status.state == WriterState::Ok);
    tokio::time::timeout(Duration::from_secs(60), ok).await.unwrap().unwrap();
    writer.close().await;
    let last = whole_batches(&store).await;
    assert!(last.is_some_and(|last| last + 1 == next || last == next), "seed {seed}: {last:?}, {next}");
}

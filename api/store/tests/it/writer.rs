//! The queue before a store that fails, is slow and comes back.

use std::{
    fs::{self, OpenOptions},
    sync::{Arc, Mutex},
    time::Duration,
};

use engine::market::Timestamp;
use store::{
    Batch, FeedPosition, Keep, SendError, Sink, SpillConfig, StoreError, Writer, WriterConfig, WriterState,
    WriterStatus,
};
use tempfile::TempDir;
use tokio::{sync::watch, time::timeout};

use crate::{
    crash::{numbered, whole_batches},
    stage::{START, Stage, source},
};

const LONG: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    Down,
    /// Takes what it is given once its mood changes.
    Slow,
}

/// A store whose mood the test decides; it remembers the position that stands in each batch.
#[derive(Clone)]
struct Gate {
    mood: watch::Sender<Mood>,
    tries: watch::Sender<u32>,
    taken: Arc<Mutex<Vec<Arc<Batch>>>>,
}

impl Gate {
    fn new(mood: Mood) -> Self {
        Self { mood: watch::Sender::new(mood), tries: watch::Sender::new(0), taken: Arc::default() }
    }

    /// Lets go of the marks of all batches that were taken, in order.
    fn marks(&self) -> Vec<u64> {
        let taken = self.taken.lock().unwrap();
        taken.iter().flat_map(|batch| batch.trades().iter().map(|(_, trade)| trade.id)).collect()
    }
}

impl Sink for Gate {
    async fn write(&self, batch: &Arc<Batch>) -> Result<(), StoreError> {
        self.tries.send_modify(|tries| *tries += 1);
        let mut mood = self.mood.subscribe();
        let mood = *mood.wait_for(|mood| *mood != Mood::Slow).await.unwrap();
        if mood == Mood::Down {
            let source = Box::new(std::io::Error::other("the gate is shut"));
            return Err(StoreError::Unavailable { store: "gate".to_owned(), source });
        }
        self.taken.lock().unwrap().push(Arc::clone(batch));
        Ok(())
    }
}

fn marked(mark: u64) -> Batch {
    let mut batch = Batch::new();
    batch.trade(&source("sim:X"), crate::stage::trade(mark, START)).unwrap();
    batch
}

struct Bench {
    gate: Gate,
    config: WriterConfig,
    folder: TempDir,
}

impl Bench {
    fn new(mood: Mood) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = WriterConfig::new(SpillConfig::new(folder.path().join("spill")), || Timestamp(42));
        config.linger = Duration::from_millis(1);
        config.slow_after = LONG;
        config.retry_max = Duration::from_millis(50);
        Self { gate: Gate::new(mood), config, folder }
    }

    fn start(&self) -> Writer {
        Writer::start(self.gate.clone(), self.config.clone()).unwrap()
    }

    fn spilled_bytes(&self) -> u64 {
        let files = fs::read_dir(self.folder.path().join("spill")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }
}

async fn until(writer: &Writer, is_so: impl Fn(&WriterStatus) -> bool) -> WriterStatus {
    let mut watch = writer.watch();
    let status = timeout(LONG, watch.wait_for(is_so)).await.expect("the status does not come").unwrap();
    status.clone()
}

#[tokio::test]
async fn rows_that_come_together_are_written_together() {
    let mut bench = Bench::new(Mood::Well);
    bench.config.linger = Duration::from_millis(100);
    let writer = bench.start();
    for mark in 0..100 {
        writer.try_send(marked(mark)).unwrap();
    }
    let status = until(&writer, |status| status.stored_rows == 100).await;
    assert_eq!((status.state, status.last_error), (WriterState::Ok, None));
    assert!(bench.gate.taken.lock().unwrap().len() < 10, "a write for each row");
    assert_eq!(bench.gate.marks(), (0..100).collect::<Vec<_>>());
    assert_eq!(writer.status().queued_bytes, 0);
}

#[tokio::test]
async fn while_the_store_is_down_rows_wait_on_disk_and_go_in_order_before_newer_ones() {
    let bench = Bench::new(Mood::Down);
    let writer = bench.start();
    for mark in 0..50 {
        writer.try_send(marked(mark)).unwrap();
        writer.flush().await;
    }
    let status = until(&writer, |status| status.last_error.is_some()).await;
    let WriterState::Spilling { since, bytes } = status.state else { panic!("{status:?}") };
    assert_eq!((since, bytes), (Timestamp(42), bench.spilled_bytes()));
    assert!(status.last_error.unwrap().contains("the gate is shut"));
    assert_eq!(writer.status().queued_bytes, 0);
    bench.gate.mood.send_replace(Mood::Well);
    for mark in 50..100 {
        writer.try_send(marked(mark)).unwrap();
    }
    let status = until(&writer, |status| status.stored_rows == 100).await;
    assert_eq!(status.lost_rows, 0);
    assert_eq!(bench.gate.marks(), (0..100).collect::<Vec<_>>());
    let status = until(&writer, |status| status.state == WriterState::Ok).await;
    assert_eq!((status.last_error, bench.spilled_bytes()), (None, 0));
}

#[tokio::test]
async fn a_slow_store_makes_nobody_wait_and_gets_each_row_once() {
    let mut bench = Bench::new(Mood::Slow);
    bench.config.slow_after = Duration::from_millis(30);
    let writer = bench.start();
    for mark in 0..50 {
        writer.try_send(marked(mark)).unwrap();
        timeout(LONG, writer.flush()).await.expect("a flush waits for a slow store");
    }
    let status = until(&writer, |status| matches!(status.state, WriterState::Spilling { .. })).await;
    assert_eq!((status.stored_rows, writer.status().queued_bytes), (0, 0));
    bench.gate.mood.send_replace(Mood::Well);
    until(&writer, |status| status.state == WriterState::Ok).await;
    assert_eq!(bench.gate.marks(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn when_store_and_spill_are_full_the_writer_says_so_counts_what_it_refuses_and_keeps_the_rest() {
    let mut bench = Bench::new(Mood::Down);
    // Room for two rows on disk and ten in memory.
    bench.config.spill.bytes_max = 100;
    bench.config.queue_bytes = 2000;
    let writer = bench.start();
    let (mut taken, mut refused) = (0, 0);
    let is_full = |status: &WriterStatus| matches!(status.state, WriterState::Full { .. });
    let status = loop {
        let status = writer.status();
        match writer.try_send(marked(taken)) {
            Ok(()) => taken += 1,
            Err(error) => {
                assert_eq!(error, SendError::Full { rows: 1 });
                refused += 1;
                if is_full(&status) {
                    break writer.status();
                }
                until(&writer, is_full).await;
            }
        }
    };
    assert_eq!(status.lost_rows, refused);
    assert!(status.last_error.is_some());
    assert!(writer.status().queued_bytes > 1500, "{:?}", writer.status());
    let waits = timeout(Duration::from_millis(20), writer.send(marked(taken))).await;
    assert!(waits.is_err(), "a patient sender waits for room");
    bench.gate.mood.send_replace(Mood::Well);
    timeout(LONG, writer.send(marked(taken))).await.unwrap().unwrap();
    until(&writer, |status| status.state == WriterState::Ok && status.stored_rows == taken + 1).await;
    assert_eq!(bench.gate.marks(), (0..=taken).collect::<Vec<_>>());
    let large = writer.try_send((0..20).map(marked).reduce(|mut all, next| (all.append(next), all).1).unwrap());
    assert!(matches!(large, Err(SendError::TooLarge { .. })), "{large:?}");
    assert_eq!(writer.close().await.lost_rows, refused + 20);
}

#[tokio::test]
async fn what_waits_when_the_writer_closes_is_stored_by_the_next_one() {
    let bench = Bench::new(Mood::Down);
    let writer = bench.start();
    for mark in 0..10 {
        writer.try_send(marked(mark)).unwrap();
    }
    let status = writer.close().await;
    assert_eq!(status.lost_rows, 0);
    assert!(matches!(status.state, WriterState::Spilling { .. }), "{status:?}");
    bench.gate.mood.send_replace(Mood::Well);
    let writer = bench.start();
    writer.try_send(marked(10)).unwrap();
    until(&writer, |status| status.stored_rows == 11).await;
    assert_eq!(bench.gate.marks(), (0..11).collect::<Vec<_>>());
    let status = writer.close().await;
    assert_eq!((status.state, status.lost_rows), (WriterState::Ok, 0));
}

#[tokio::test]
async fn a_spill_file_cut_at_any_byte_of_its_last_record_costs_that_record_alone_and_says_so() {
    let bench = Bench::new(Mood::Down);
    let writer = bench.start();
    let mut lengths = Vec::new();
    for mark in 0..3 {
        writer.try_send(marked(mark)).unwrap();
        writer.flush().await;
        lengths.push(bench.spilled_bytes());
    }
    writer.close().await;
    let path = bench.folder.path().join("spill/00000001.spill");
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len() as u64, lengths[2]);
    for length in lengths[1]..lengths[2] {
        let next = Bench::new(Mood::Well);
        let spill = next.folder.path().join("spill");
        fs::create_dir_all(&spill).unwrap();
        fs::write(spill.join(path.file_name().unwrap()), &whole).unwrap();
        let file = OpenOptions::new().write(true).open(spill.join(path.file_name().unwrap())).unwrap();
        file.set_len(length).unwrap();
        let writer = next.start();
        let status = until(&writer, |status| status.stored_rows == 2).await;
        assert_eq!(status.unreadable_bytes, length - lengths[1]);
        writer.close().await;
        assert_eq!(next.gate.marks(), [0, 1], "cut to {length}");
    }
}

#[tokio::test]
async fn a_store_fills_from_many_senders_at_once() {
    let stage = Stage::embedded(Keep::default()).await;
    let bench = Bench::new(Mood::Well);
    let writer = Arc::new(Writer::start(stage.store.clone(), bench.config.clone()).unwrap());
    let senders: Vec<_> = (0..4_u64)
        .map(|sender| {
            let writer = Arc::clone(&writer);
            tokio::spawn(async move {
                for number in 0..50 {
                    writer.send(marked(sender * 50 + number)).await.unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let mut batch = Batch::new();
    batch.position(&source("sim:X"), FeedPosition { last_id: 9, ts_event: START });
    writer.try_send(batch).unwrap();
    writer.flush().await;
    assert_eq!(stage.store.newest_trades(&source("sim:X"), 1000).await.unwrap().len(), 200);
    assert_eq!(stage.store.position(&source("sim:X")).await.unwrap().map(|position| position.last_id), Some(9));
}

#[tokio::test]
async fn a_real_file_that_is_always_too_slow_is_filled_in_whole_batches_all_the_same() {
    let stage = Stage::embedded(Keep::default()).await;
    let mut bench = Bench::new(Mood::Well);
    bench.config.slow_after = Duration::from_millis(1);
    let writer = Writer::start(stage.store.clone(), bench.config.clone()).unwrap();
    for number in 0..40 {
        writer.try_send(numbered(number)).unwrap();
    }
    let status = writer.close().await;
    assert_eq!((status.lost_rows, status.unreadable_bytes), (0, 0));
    // Some may be left to the next writer: none is lost on the way.
    let last = whole_batches(&stage.store).await;
    assert!(status.state != WriterState::Ok || last == Some(39), "{status:?}, {last:?}");
    let writer = Writer::start(stage.store.clone(), bench.config.clone()).unwrap();
    until(&writer, |status| status.state == WriterState::Ok).await;
    writer.close().await;
    assert_eq!(whole_batches(&stage.store).await, Some(39));
}

#[tokio::test]
async fn a_spilled_record_of_another_version_is_counted_and_those_around_it_are_stored() {
    let bench = Bench::new(Mood::Down);
    let writer = bench.start();
    writer.try_send(marked(0)).unwrap();
    writer.close().await;
    let path = bench.folder.path().join("spill/00000001.spill");
    let (mut bytes, strange) = (fs::read(&path).unwrap(), b"a batch of tomorrow");
    bytes.extend_from_slice(&(strange.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(strange).to_le_bytes());
    bytes.extend_from_slice(strange);
    fs::write(&path, bytes).unwrap();
    bench.gate.mood.send_replace(Mood::Well);
    let writer = bench.start();
    writer.try_send(marked(1)).unwrap();
    let status = until(&writer, |status| status.stored_rows == 2).await;
    assert_eq!(status.unreadable_bytes, strange.len() as u64);
    assert_eq!(bench.gate.marks(), [0, 1]);
}

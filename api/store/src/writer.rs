//! The queue before a store: it takes batches at once and sees to it that they are stored.
//!
//! A thread of its own gathers what comes within [`WriterConfig::linger`] and writes it. While the store is down, or takes
//! longer than [`WriterConfig::slow_after`], batches go to the [spill folder](SpillConfig) instead and from there to the
//! store, in their order, before newer ones. Only if both are full does [`Writer::try_send`] refuse, and then it counts
//! what is lost; [`Writer::send`] waits. [`WriterStatus`] says all of that.
//!
//! What was handed over is on a disk after [`Writer::flush`], and within about `linger` in any case; a process that is
//! killed before loses it. After a crash the spill folder is stored again from its oldest file on: the same rows in the
//! same order, which leaves the same rows.

mod keeper;

use std::{
    future::Future,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use engine::market::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::{
    access::Store,
    batch::Batch,
    error::StoreError,
    spill::{RECORD_BYTES_MAX, Spill, SpillConfig, SpillError},
};

/// What a writer writes to: a [`Store`], or something that stands for one.
pub trait Sink: Send + Sync + 'static {
    /// Writes a batch durably; the same batch may come again.
    fn write(&self, batch: &Arc<Batch>) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Sink for Store {
    async fn write(&self, batch: &Arc<Batch>) -> Result<(), StoreError> {
        Self::write(self, batch).await
    }
}

/// Bounds and times of a writer.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// The most bytes that wait in memory; a batch must be smaller.
    pub queue_bytes: usize,
    /// From which size on a batch is written without waiting for more.
    pub batch_bytes: usize,
    /// How long a row waits for others to be written with it.
    pub linger: Duration,
    /// How long a write may take before what waits behind it goes to the spill folder.
    pub slow_after: Duration,
    /// The longest pause before a failed write is tried again; it begins with a fiftieth of it and doubles.
    pub retry_max: Duration,
    /// Where batches go while the store does not take them.
    pub spill: SpillConfig,
    /// Tells the time for [`WriterStatus`].
    pub clock: fn() -> Timestamp,
}

impl WriterConfig {
    /// 32 MiB in memory, batches of 1 MiB or 100 ms, slow after 1 s, a retry at least every 5 s.
    pub fn new(spill: SpillConfig, clock: fn() -> Timestamp) -> Self {
        Self {
            queue_bytes: 32 << 20,
            batch_bytes: 1 << 20,
            linger: Duration::from_millis(100),
            slow_after: Duration::from_secs(1),
            retry_max: Duration::from_secs(5),
            spill,
            clock,
        }
    }
}

/// Whether what is handed over reaches the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriterState {
    /// It does.
    #[default]
    Ok,
    /// It waits in the spill folder.
    Spilling {
        /// Since when.
        since: Timestamp,
        /// How many bytes wait there.
        bytes: u64,
    },
    /// The store does not take it and the spill folder has no room: rows are held in memory up to the bound, then refused.
    Full {
        /// Since when.
        since: Timestamp,
        /// How many bytes wait in the spill folder.
        bytes: u64,
    },
}

/// How a writer fares, for health and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterStatus {
    /// Whether rows reach the store.
    pub state: WriterState,
    /// Bytes that wait in memory.
    pub queued_bytes: usize,
    /// Rows that the store has taken. After a crash some are counted again.
    pub stored_rows: u64,
    /// Rows that were refused because everything was full.
    pub lost_rows: u64,
    /// Bytes of the spill folder that were no whole record, or no batch of this version: what a crash tore, or a disk lost.
    pub unreadable_bytes: u64,
    /// Why the store or the spill folder failed last; `None` once all is well again.
    pub last_error: Option<String>,
}

/// A batch that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue is full: the store does not take rows and the spill folder has no room.
    #[error("the history queue is full: {rows} rows are lost")]
    Full {
        /// How many rows were in it.
        rows: usize,
    },
    /// The batch alone is larger than the queue.
    #[error("a batch of {bytes} bytes is larger than the history queue")]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// The writer is closed.
    #[error("the history writer is closed")]
    Closed,
}

enum Message {
    Rows(Batch, OwnedSemaphorePermit),
    Flush(oneshot::Sender<()>),
    Close,
}

/// The handle of a writer thread. Dropping it closes the writer without waiting for it.
#[derive(Debug)]
pub struct Writer {
    messages: mpsc::UnboundedSender<Message>,
    room: Arc<Semaphore>,
    queue_bytes: usize,
    status: watch::Sender<WriterStatus>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread of a writer. Batches that an earlier run left in the spill folder are stored first.
    ///
    /// # Errors
    /// [`SpillError`] if the spill folder cannot be used, or no thread be started.
    pub fn start<S: Sink>(sink: S, config: WriterConfig) -> Result<Self, SpillError> {
        let queue_bytes = config.queue_bytes.min(RECORD_BYTES_MAX);
        let room = Arc::new(Semaphore::new(queue_bytes));
        let (messages, inbox) = mpsc::unbounded_channel();
        let folder = config.spill.folder.clone();
        let failed = |source| SpillError::Io { path: folder.clone(), source };
        let spill = Spill::open(config.spill.clone())?;
        let (bytes, unreadable_bytes) = (spill.bytes(), spill.torn_bytes);
        let state =
            if spill.is_empty() { WriterState::Ok } else { WriterState::Spilling { since: (config.clock)(), bytes } };
        let status = watch::Sender::new(WriterStatus { state, unreadable_bytes, ..WriterStatus::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let told = status.clone();
        let run = move || runtime.block_on(keeper::run(sink, config, spill, inbox, told));
        let thread = thread::Builder::new().name("history-writer".to_owned()).spawn(run).map_err(failed)?;
        Ok(Self { messages, room, queue_bytes, status, thread: Some(thread) })
    }

    /// Hands a batch over, at once.
    ///
    /// # Errors
    /// [`SendError`]: the batch is lost and counted.
    pub fn try_send(&self, batch: Batch) -> Result<(), SendError> {
        let rows = batch.rows();
        let outcome = self.size(&batch).and_then(|bytes| {
            let permit = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| SendError::Full { rows })?;
            self.messages.send(Message::Rows(batch, permit)).map_err(|_| SendError::Closed)
        });
        if outcome.is_err() {
            self.status.send_modify(|status| status.lost_rows += rows as u64);
        }
        outcome
    }

    /// Hands a batch over as soon as there is room: for backfill, which can wait.
    ///
    /// # Errors
    /// [`SendError`] if it is too large or the writer is closed.
    pub async fn send(&self, batch: Batch) -> Result<(), SendError> {
        let bytes = self.size(&batch)?;
        let room = Arc::clone(&self.room);
        let permit = room.acquire_many_owned(bytes).await.map_err(|_| SendError::Closed)?;
        self.messages.send(Message::Rows(batch, permit)).map_err(|_| SendError::Closed)
    }

    fn size(&self, batch: &Batch) -> Result<u32, SendError> {
        let bytes = batch.bytes();
        let size = u32::try_from(bytes).ok().filter(|_| bytes <= self.queue_bytes);
        size.ok_or(SendError::TooLarge { bytes })
    }

    /// Returns once everything handed over before is stored or in the spill folder; waits as long as neither takes it.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.messages.send(Message::Flush(done)).is_ok() {
            let _ = wait.await;
        }
    }

    /// How it fares.
    pub fn status(&self) -> WriterStatus {
        let mut status = self.status.borrow().clone();
        status.queued_bytes = self.queue_bytes - self.room.available_permits();
        status
    }

    /// Tells of each change of the status, `queued_bytes` aside.
    pub fn watch(&self) -> watch::Receiver<WriterStatus> {
        self.status.subscribe()
    }

    /// Stores or spills what was handed over, and ends. Where neither takes it, the rows are lost, counted and logged.
    pub async fn close(mut self) -> WriterStatus {
        let _ = self.messages.send(Message::Close);
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        self.status()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Close);
    }
}

//! One venue's way into a recording. Nothing here waits.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    mpsc::SyncSender,
};

use engine::market::{Timestamp, Venue};
use prometheus_client::metrics::counter::Counter;

use super::line::Line;

/// How many bytes may wait for the disk.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A line on its way to the disk.
pub(super) struct Entry {
    pub(super) venue: Venue,
    pub(super) ts: Timestamp,
    /// Over which connection it came; 0 for what none brought.
    pub(super) connection: u64,
    /// How many lines found no place just before it.
    pub(super) lost: u64,
    pub(super) line: Box<[u8]>,
}

/// The bounded queue to the writer.
#[derive(Clone)]
pub(super) struct Queue {
    sender: SyncSender<Entry>,
    waiting: Arc<AtomicUsize>,
    connections: Arc<AtomicU64>,
}

impl Queue {
    pub(super) fn new(sender: SyncSender<Entry>) -> Self {
        Self { sender, waiting: Arc::default(), connections: Arc::default() }
    }

    /// How many bytes wait; the writer takes off what it wrote.
    pub(super) fn waiting(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.waiting)
    }

    fn push(&self, entry: Entry) -> bool {
        let bytes = entry.line.len();
        if self.waiting.fetch_add(bytes, Relaxed) + bytes <= WAITING_BYTES_MAX && self.sender.try_send(entry).is_ok() {
            return true;
        }
        self.waiting.fetch_sub(bytes, Relaxed);
        false
    }
}

/// See the module. Clones share the count of what was lost.
#[derive(Clone)]
pub(crate) struct Tape {
    venue: Venue,
    queue: Queue,
    lost: Arc<AtomicU64>,
    counter: Counter,
}

impl Tape {
    pub(super) fn new(venue: Venue, queue: Queue, counter: Counter) -> Self {
        Self { venue, queue, lost: Arc::default(), counter }
    }

    /// A number for a new connection.
    pub(crate) fn opened(&self, ts: Timestamp, url: &str) -> u64 {
        let connection = self.queue.connections.fetch_add(1, Relaxed) + 1;
        self.push(ts, connection, &Line::Opened { connection, url });
        connection
    }

    /// A frame of a connection.
    pub(crate) fn frame(&self, ts: Timestamp, connection: u64, json: &[u8]) {
        self.push(ts, connection, &Line::Frame(json));
    }

    /// Anything else.
    pub(crate) fn line(&self, ts: Timestamp, line: &Line<'_>) {
        self.push(ts, 0, line);
    }

    fn push(&self, ts: Timestamp, connection: u64, line: &Line<'_>) {
        let mut bytes = Vec::new();
        line.write(ts, &mut bytes);
        let lost = self.lost.swap(0, Relaxed);
        let entry = Entry { venue: self.venue, ts, connection, lost, line: bytes.into() };
        if !self.queue.push(entry) {
            self.lost.fetch_add(lost + 1, Relaxed);
            self.counter.inc();
        }
    }
}

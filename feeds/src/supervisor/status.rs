//! How each venue does, for `/v1/health`. Atomics on the hot path, a lock only for the text of the last error.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use engine::market::{Timestamp, Venue};

/// One venue at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VenueStatus {
    /// Which one.
    pub venue: Venue,
    /// Connections that are subscribed and give data.
    pub connected: usize,
    /// Connections that it should have.
    pub wanted: usize,
    /// Our time of its last trade or proof; `None` before the first.
    pub last_data: Option<Timestamp>,
    /// Since when none of its connections is live; `None` while one is.
    pub down_since: Option<Timestamp>,
    /// What went wrong last; kept after it was mended.
    pub last_error: Option<String>,
    /// Connections that were cut or given up since the start.
    pub reconnects: u64,
}

#[derive(Debug)]
struct Entry {
    venue: Venue,
    connected: AtomicUsize,
    wanted: AtomicUsize,
    last_data: AtomicI64,
    down_since: AtomicI64,
    reconnects: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// All venues; shared by the tasks that write it and the handlers that read it.
#[derive(Debug)]
pub struct FeedStatus {
    entries: Box<[Entry]>,
}

impl FeedStatus {
    pub(super) fn new(venues: impl Iterator<Item = Venue>) -> Self {
        let entry = |venue| Entry {
            venue,
            connected: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
            last_data: AtomicI64::new(0),
            down_since: AtomicI64::new(0),
            reconnects: AtomicU64::new(0),
            last_error: Mutex::new(None),
        };
        Self { entries: venues.map(entry).collect() }
    }

    /// Every venue's present.
    pub fn read(&self) -> Vec<VenueStatus> {
        let known = |nanos: i64| (nanos != 0).then_some(Timestamp(nanos));
        let read = |entry: &Entry| VenueStatus {
            venue: entry.venue,
            connected: entry.connected.load(Relaxed),
            wanted: entry.wanted.load(Relaxed),
            last_data: known(entry.last_data.load(Relaxed)),
            down_since: known(entry.down_since.load(Relaxed)),
            last_error: entry.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            reconnects: entry.reconnects.load(Relaxed),
        };
        self.entries.iter().map(read).collect()
    }

    fn entry(&self, venue: Venue, write: impl FnOnce(&Entry)) {
        if let Some(entry) = self.entries.iter().find(|entry| entry.venue == venue) {
            write(entry);
        }
    }

    pub(super) fn wanted(&self, venue: Venue, since: Timestamp) {
        self.entry(venue, |entry| {
            entry.wanted.fetch_add(1, Relaxed);
            entry.down_since.store(since.0, Relaxed);
        });
    }

    pub(super) fn data(&self, venue: Venue, at: Timestamp) {
        self.entry(venue, |entry| entry.last_data.store(at.0, Relaxed));
    }

    pub(super) fn live(&self, venue: Venue) {
        self.entry(venue, |entry| {
            entry.connected.fetch_add(1, Relaxed);
            entry.down_since.store(0, Relaxed);
        });
    }

    pub(super) fn ended(&self, venue: Venue, was_live: bool, at: Timestamp) {
        self.entry(venue, |entry| {
            if was_live && entry.connected.fetch_sub(1, Relaxed) == 1 {
                entry.down_since.store(at.0, Relaxed);
            }
        });
    }

    pub(super) fn cut(&self, venue: Venue) {
        self.entry(venue, |entry| {
            entry.reconnects.fetch_add(1, Relaxed);
        });
    }

    pub(super) fn error(&self, venue: Venue, text: &str) {
        let text = text.chars().take(300).collect();
        self.entry(venue, |entry| *entry.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text));
    }
}

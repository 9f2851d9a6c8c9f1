//! The loop of the writer thread, which alone owns what waits and the spill folder.
//!
//! A write is always of the oldest rows: the first record of the spill folder or, if that is empty, what was gathered.

use std::{future::Future, mem, pin::Pin, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot, watch},
    time::{Duration, Instant, sleep_until, timeout},
};

use super::{Message, Sink, WriterConfig, WriterState, WriterStatus};
use crate::{batch::Batch, error::StoreError, spill::Spill};

type Write = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// Rows in memory, with the room that they take in the queue.
#[derive(Default)]
struct Gathered {
    batch: Batch,
    permit: Option<OwnedSemaphorePermit>,
    since: Option<Instant>,
    /// Who waits until these rows are on a disk.
    flushes: Vec<oneshot::Sender<()>>,
}

/// A write under way.
struct Flight {
    write: Write,
    rows: u64,
    since: Instant,
    /// The rows while they are nowhere but in memory; `None` once they are the first record of the spill folder.
    held: Option<(Arc<Batch>, Gathered)>,
    /// Of spilled records that are no batch of this version.
    unreadable_bytes: u64,
}

struct Keeper<S> {
    sink: Arc<S>,
    config: WriterConfig,
    spill: Spill,
    status: watch::Sender<WriterStatus>,
    gathered: Gathered,
    flight: Option<Flight>,
    /// When a failed write, or a spill without room, is tried again.
    retry: Option<Instant>,
    pause: Duration,
    spill_retry: Option<Instant>,
    is_closing: bool,
}

pub(super) async fn run<S: Sink>(
    sink: S,
    config: WriterConfig,
    spill: Spill,
    mut inbox: mpsc::UnboundedReceiver<Message>,
    status: watch::Sender<WriterStatus>,
) {
    let first_pause = config.retry_max / 50;
    let mut keeper = Keeper {
        sink: Arc::new(sink),
        config,
        spill,
        status,
        gathered: Gathered::default(),
        flight: None,
        retry: None,
        pause: first_pause,
        spill_retry: None,
        is_closing: false,
    };
    while !keeper.is_closing {
        let wake = keeper.wake();
        tokio::select! {
            message = inbox.recv() => {
                keeper.on_message(message.unwrap_or(Message::Close));
                // What is there already is taken at once, so that it is written together.
                while let Ok(message) = inbox.try_recv() {
                    keeper.on_message(message);
                }
            }
            outcome = landed(&mut keeper.flight) => keeper.on_written(outcome),
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
        }
        keeper.turn();
    }
    inbox.close();
    while let Ok(message) = inbox.try_recv() {
        keeper.on_message(message);
    }
    keeper.end().await;
}

async fn landed(flight: &mut Option<Flight>) -> Result<(), StoreError> {
    match flight {
        Some(flight) => (&mut flight.write).await,
        None => std::future::pending().await,
    }
}

impl<S: Sink> Keeper<S> {
    fn on_message(&mut self, message: Message) {
        match message {
            Message::Rows(batch, permit) => {
                self.gathered.since.get_or_insert_with(Instant::now);
                self.gathered.batch.append(batch);
                match &mut self.gathered.permit {
                    Some(held) => held.merge(permit),
                    held => *held = Some(permit),
                }
            }
            Message::Flush(done) => {
                self.gathered.since.get_or_insert_with(Instant::now);
                self.gathered.flushes.push(done);
            }
            Message::Close => self.is_closing = true,
        }
    }

    fn on_written(&mut self, outcome: Result<(), StoreError>) {
        let Some(mut flight) = self.flight.take() else { return };
        match outcome {
            Ok(()) => {
                (self.retry, self.pause) = (None, self.config.retry_max / 50);
                // The spill folder may have room again, or is not needed any more.
                self.spill_retry = None;
                if flight.held.is_none() {
                    self.spill.pop();
                    self.spill.torn_bytes += flight.unreadable_bytes;
                }
                // First the room, then the status, then those who wait: each may ask for what comes before.
                if let Some((_, gathered)) = flight.held.as_mut() {
                    gathered.permit = None;
                }
                self.status.send_modify(|status| status.stored_rows += flight.rows);
                self.tell(None);
                if let Some((_, gathered)) = flight.held {
                    gathered.done();
                }
            }
            Err(error) => {
                self.retry = Some(Instant::now() + self.pause);
                self.pause = (self.pause * 2).min(self.config.retry_max);
                tracing::warn!(error = chain(&error), "history is not stored: it is kept and tried again");
                if let Some((batch, gathered)) = flight.held {
                    self.put_back(batch, gathered);
                }
                self.tell(Some(chain(&error)));
            }
        }
    }

    /// Rows that could not be written become the oldest of those that wait.
    fn put_back(&mut self, batch: Arc<Batch>, mut older: Gathered) {
        let newer = mem::take(&mut self.gathered);
        older.batch = Arc::unwrap_or_clone(batch);
        older.batch.append(newer.batch);
        if let Some(permit) = newer.permit {
            match &mut older.permit {
                Some(held) => held.merge(permit),
                held => *held = Some(permit),
            }
        }
        older.flushes.extend(newer.flushes);
        self.gathered = older;
    }

    /// Does what is due: hands the oldest rows to the store, and newer ones to the spill folder where the store is late.
    fn turn(&mut self) {
        let now = Instant::now();
        if self
            .flight
            .as_ref()
            .is_some_and(|flight| flight.held.is_some() && now >= flight.since + self.config.slow_after)
        {
            self.spill_flight();
        }
        let is_behind = !self.spill.is_empty() || self.retry.is_some();
        if is_behind && self.is_due(now) && self.spill_retry.is_none_or(|at| now >= at) && self.flight_is_spilled() {
            self.spill_gathered();
        }
        if self.flight.is_none() && self.retry.is_none_or(|at| now >= at) {
            self.take_off(now);
        }
    }

    /// Whether rows may be appended to the spill folder without overtaking those of the write under way.
    fn flight_is_spilled(&self) -> bool {
        self.flight.as_ref().is_none_or(|flight| flight.held.is_none())
    }

    fn is_due(&self, now: Instant) -> bool {
        let gathered = &self.gathered;
        let is_full = gathered.batch.bytes() >= self.config.batch_bytes || !gathered.flushes.is_empty();
        gathered.since.is_some_and(|since| is_full || now >= since + self.config.linger)
    }

    fn take_off(&mut self, now: Instant) {
        if !self.spill.is_empty() {
            match self.spill.peek(self.config.batch_bytes) {
                Ok(records) if records.is_empty() => {}
                Ok(records) => return self.fly_records(&records, now),
                Err(error) => {
                    self.retry = Some(now + self.config.retry_max);
                    return self.tell(Some(chain(&error)));
                }
            }
        }
        if self.is_due(now) {
            let mut gathered = mem::take(&mut self.gathered);
            if gathered.batch.is_empty() {
                return gathered.done();
            }
            let batch = Arc::new(mem::take(&mut gathered.batch));
            self.fly(batch, Some(gathered), now);
        }
    }

    fn fly_records(&mut self, records: &[Vec<u8>], now: Instant) {
        let (mut batch, mut unreadable_bytes) = (Batch::new(), 0);
        for record in records {
            match Batch::decode(record) {
                Some(more) => batch.append(more),
                // Its checksum holds, so another version wrote it: it cannot be kept, and that is said.
                None => {
                    tracing::error!(bytes = record.len(), "a spilled batch of another version cannot be read");
                    unreadable_bytes += record.len() as u64;
                }
            }
        }
        self.fly(Arc::new(batch), None, now);
        if let Some(flight) = self.flight.as_mut() {
            flight.unreadable_bytes = unreadable_bytes;
        }
    }

    fn fly(&mut self, batch: Arc<Batch>, gathered: Option<Gathered>, now: Instant) {
        let (sink, rows) = (Arc::clone(&self.sink), batch.rows() as u64);
        let held = gathered.map(|gathered| (Arc::clone(&batch), gathered));
        let write = Box::pin(async move { sink.write(&batch).await });
        self.flight = Some(Flight { write, rows, since: now, held, unreadable_bytes: 0 });
    }

    /// The rows of a write that takes too long become the first record of the spill folder, which is empty.
    fn spill_flight(&mut self) {
        let Some(flight) = self.flight.as_mut() else { return };
        let Some((batch, mut gathered)) = flight.held.take() else { return };
        let outcome = self.spill.append(&batch.encode()).and_then(|()| self.spill.peek(0));
        match outcome {
            Ok(_) => {
                gathered.permit = None;
                self.tell(Some("the store is slow".to_owned()));
                gathered.done();
            }
            Err(error) => {
                flight.held = Some((batch, gathered));
                flight.since = Instant::now();
                self.on_full(chain(&error));
            }
        }
    }

    fn spill_gathered(&mut self) {
        let mut gathered = mem::take(&mut self.gathered);
        let outcome = if gathered.batch.is_empty() { Ok(()) } else { self.spill.append(&gathered.batch.encode()) };
        match outcome {
            Ok(()) => {
                (self.spill_retry, gathered.permit) = (None, None);
                self.tell(None);
                gathered.done();
            }
            Err(error) => {
                self.gathered = gathered;
                self.on_full(chain(&error));
            }
        }
    }

    fn on_full(&mut self, error: String) {
        self.spill_retry = Some(Instant::now() + self.config.retry_max);
        tracing::error!(error, "history is held in memory: neither the store nor the spill folder takes it");
        self.tell(Some(error));
    }

    /// When the next turn is due if nothing happens before.
    fn wake(&self) -> Option<Instant> {
        let due = self.gathered.since.map(|since| if self.is_due(since) { since } else { since + self.config.linger });
        // Behind a write whose rows are in memory alone nothing is spilled.
        let spill = due.filter(|_| self.flight_is_spilled());
        let spill = spill.map(|due| self.spill_retry.map_or(due, |at| at.max(due)));
        let write = match &self.flight {
            Some(flight) => flight.held.is_some().then(|| flight.since + self.config.slow_after),
            None if self.spill.is_empty() => due.map(|due| self.retry.map_or(due, |at| at.max(due))),
            None => Some(self.retry.unwrap_or_else(Instant::now)),
        };
        spill.into_iter().chain(write).min()
    }

    /// Says how things stand; `error` is what went wrong, if something did.
    fn tell(&self, error: Option<String>) {
        let bytes = self.spill.bytes();
        let torn = self.spill.torn_bytes;
        let is_full = self.spill_retry.is_some();
        let is_spilling = !self.spill.is_empty() || self.retry.is_some();
        self.status.send_modify(|status| {
            let since = match status.state {
                WriterState::Ok => (self.config.clock)(),
                WriterState::Spilling { since, .. } | WriterState::Full { since, .. } => since,
            };
            status.state = match (is_full, is_spilling) {
                (true, _) => WriterState::Full { since, bytes },
                (false, true) => WriterState::Spilling { since, bytes },
                (false, false) => WriterState::Ok,
            };
            status.unreadable_bytes = torn;
            if status.state == WriterState::Ok {
                status.last_error = None;
            } else if error.is_some() {
                status.last_error = error;
            }
        });
    }

    /// Puts what is in memory onto a disk: into the store if it takes it soon, or else into the spill folder.
    async fn end(mut self) {
        let patience = self.config.slow_after;
        if let Some(flight) = self.flight.as_mut() {
            if let Ok(outcome) = timeout(patience, &mut flight.write).await {
                self.on_written(outcome);
            } else {
                self.spill_flight();
            }
        }
        let held = self.flight.take().and_then(|flight| flight.held);
        if let Some((batch, gathered)) = held {
            self.put_back(batch, gathered);
        }
        let gathered = mem::take(&mut self.gathered);
        if gathered.batch.is_empty() {
            return gathered.done();
        }
        let batch = Arc::new(gathered.batch.clone());
        if self.spill.is_empty()
            && self.retry.is_none()
            && let Ok(Ok(())) = timeout(patience, self.sink.write(&batch)).await
        {
            self.status.send_modify(|status| status.stored_rows += batch.rows() as u64);
            return gathered.done();
        }
        match self.spill.append(&batch.encode()) {
            Ok(()) => {
                (self.retry, self.spill_retry) = (Some(Instant::now()), None);
                self.tell(None);
                gathered.done();
            }
            Err(error) => {
                let rows = batch.rows();
                tracing::error!(rows, error = chain(&error), "history is lost: nothing takes it at the end");
                self.status.send_modify(|status| {
                    status.lost_rows += rows as u64;
                    status.last_error = Some(chain(&error));
                });
            }
        }
    }
}

impl Gathered {
    /// The rows are on a disk: who waited for them is told.
    fn done(self) {
        for flush in self.flushes {
            let _ = flush.send(());
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

//! How the parts of the records reach the database: they read through the pool and write through the writer.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ledger::{AccountId, AccountState, Event, Outcome, Record, Timestamp, TransferId};
use sqlx::{Any, any::AnyRow, pool::PoolConnection};
use tokio::sync::{OnceCell, Semaphore, mpsc, oneshot};

use crate::{
    bounded,
    change::{Change, Value, Write, bound},
    chart::{self, UserId},
    database::Database,
    error::{Conflict, RecordsError},
    latest::Latest,
    row::Fields,
    rows,
    writer::{CHAIN_EVENTS_MAX, Request, WAITING_MAX},
};

/// How often something is tried again that others change at the same time.
pub(crate) const TRIES_MAX: usize = 20;
/// Numbers that are taken at once.
const BLOCK: u64 = 1000;
/// Users of whom it is remembered that their allowance is right for today.
const ALIGNED_MAX: usize = 100_000;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Access(Arc<Inner>);

struct Inner {
    database: Database,
    requests: mpsc::Sender<Request>,
    clock: Clock,
    blocks: [Block; Counter::COUNT],
    platform: OnceCell<()>,
    latest: Latest,
    /// The day for which a user's allowance is known to be right.
    aligned: Mutex<HashMap<UserId, u64>>,
}

pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What is numbered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    User,
    Key,
    Usage,
    Audit,
    Checkout,
}

/// Numbers that are this process's to give.
struct Block {
    free: Mutex<VecDeque<u64>>,
    /// One asks for more, the others wait for it.
    refill: Semaphore,
}

impl Access {
    pub(crate) fn new(database: Database, requests: mpsc::Sender<Request>, clock: Clock) -> Self {
        let block = |_| Block { free: Mutex::default(), refill: Semaphore::new(1) };
        let blocks = [0; Counter::COUNT].map(block);
        Self(Arc::new(Inner {
            database,
            requests,
            clock,
            blocks,
            platform: OnceCell::new(),
            latest: Latest::default(),
            aligned: Mutex::default(),
        }))
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    pub(crate) fn latest(&self) -> &Latest {
        &self.0.latest
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Asks the writer, and waits until it is on the disk. What is refused by a guard is [`RecordsError::Conflict`], what is
    /// refused by the ledger an outcome; of either nothing was done.
    pub(crate) async fn change(&self, writes: Vec<Write>, chain: Vec<Event>) -> Result<Vec<Outcome>, RecordsError> {
        bounded("events", CHAIN_EVENTS_MAX, chain.len())?;
        let (answer, answered) = oneshot::channel();
        let request = Request { change: Change::new(writes, chain), answer };
        self.0.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RecordsError::Busy { waiting_max: WAITING_MAX },
            mpsc::error::TrySendError::Closed(_) => RecordsError::Closed,
        })?;
        answered.await.unwrap_or(Err(RecordsError::Closed))
    }

    /// Writes without events.
    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<(), RecordsError> {
        self.change(writes, Vec::new()).await.map(drop)
    }

    pub(crate) async fn reader(&self) -> Result<PoolConnection<Any>, RecordsError> {
        self.database().pool.acquire().await.map_err(|error| self.database().unavailable(error))
    }

    pub(crate) async fn rows(&self, sql: &str, values: &[Value]) -> Result<Vec<AnyRow>, RecordsError> {
        let mut connection = self.reader().await?;
        let rows = bound(sqlx::query(sql), values).fetch_all(&mut *connection).await;
        rows.map_err(|error| self.database().failed(error))
    }

    pub(crate) async fn row(&self, sql: &str, values: &[Value]) -> Result<Option<AnyRow>, RecordsError> {
        let mut connection = self.reader().await?;
        let row = bound(sqlx::query(sql), values).fetch_optional(&mut *connection).await;
        row.map_err(|error| self.database().failed(error))
    }

    pub(crate) fn fields<'r>(&'r self, row: &'r AnyRow) -> Fields<'r> {
        Fields::new(self.database(), row)
    }

    /// A number that nobody else gets. What is not used is lost.
    pub(crate) async fn next(&self, counter: Counter) -> Result<u64, RecordsError> {
        let Some(block) = self.0.blocks.get(counter as usize) else { return Err(RecordsError::Closed) };
        if let Some(number) = block.take() {
            return Ok(number);
        }
        let _permit = block.refill.acquire().await.map_err(|_| RecordsError::Closed)?;
        if let Some(number) = block.take() {
            return Ok(number);
        }
        let first = self.take_block(counter.name()).await?;
        block.put(first + 1..first + BLOCK);
        Ok(first)
    }

    async fn take_block(&self, counter: &'static str) -> Result<u64, RecordsError> {
        for _ in 0..TRIES_MAX {
            let first = self.counter(counter).await?;
            let sql = "UPDATE counters SET value = $1 WHERE name = $2 AND value = $3";
            let taken = Write::new(sql).bind(first + BLOCK).bind(counter).bind(first).or(Conflict::Changed);
            match self.write(vec![taken]).await {
                Err(RecordsError::Conflict(_)) => {}
                taken => return taken.map(|()| first),
            }
        }
        Err(RecordsError::Contended { database: self.database().name() })
    }

    pub(crate) async fn counter(&self, name: &'static str) -> Result<u64, RecordsError> {
        let row = self.row("SELECT value FROM counters WHERE name = $1", &[name.into()]).await?;
        let row = row.ok_or_else(|| self.database().foreign(format!("no counter of {name}")))?;
        self.fields(&row).number("value")
    }

    pub(crate) async fn accounts(&self, ids: &[AccountId]) -> Result<Vec<AccountState>, RecordsError> {
        rows::accounts(self.database(), &mut *self.reader().await?, ids).await
    }

    pub(crate) async fn transfer(&self, id: TransferId) -> Result<Option<Record>, RecordsError> {
        let mut found = rows::transfers(self.database(), &mut *self.reader().await?, &[id]).await?;
        Ok(found.pop().map(|(_, record)| record))
    }

    pub(crate) fn is_aligned(&self, user: UserId, today: u64) -> bool {
        lock(&self.0.aligned).get(&user) == Some(&today)
    }

    pub(crate) fn set_aligned(&self, user: UserId, today: u64) {
        let mut aligned = lock(&self.0.aligned);
        if aligned.len() >= ALIGNED_MAX {
            aligned.clear();
        }
        aligned.insert(user, today);
    }

    pub(crate) fn forget_alignments(&self) {
        lock(&self.0.aligned).clear();
    }

    /// Opens the platform's own accounts, once.
    pub(crate) async fn platform(&self) -> Result<(), RecordsError> {
        let open = async || {
            for id in [chart::REVENUE, chart::GRANTS, chart::STRIPE, chart::POOL] {
                self.change(Vec::new(), vec![chart::open(id)]).await?;
            }
            Ok(())
        };
        self.0.platform.get_or_try_init(open).await.copied()
    }
}

impl Block {
    fn take(&self) -> Option<u64> {
        lock(&self.free).pop_front()
    }

    fn put(&self, numbers: impl Iterator<Item = u64>) {
        lock(&self.free).extend(numbers);
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Counter {
    const COUNT: usize = 5;

    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Key => "key",
            Self::Usage => "usage",
            Self::Audit => "audit",
            Self::Checkout => "checkout",
        }
    }
}

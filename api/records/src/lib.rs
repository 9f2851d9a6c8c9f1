//! What the API must not lose, in SQLite or on PostgreSQL: a URL chooses, tables and queries are the same.
//!
//! `url` → `database` (connections, migrations) → `rows` (the ledger's tables) → `writer` (one task, group commit) →
//! `audit` (whether what is stored can have happened). Read `writer` first.
//!
//! - **Safe.** An answer comes after fsync. A process that is killed at any moment leaves every request that was answered,
//!   and none in part.
//! - **Once.** A request that got no answer is asked again with the same ids, and happens once.
//! - **Shared.** Other processes may write to the same tables, such as a command line beside a server: whoever finds that
//!   another has written loads anew and decides again.
//! - **Bounded.** Requests that wait, requests that share a commit, events of a request and pages have maxima.
//!
//! ```
//! use ledger::{Account, AccountId, Event, Limit, Timestamp};
//! use records::{Records, RecordsUrl};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().display();
//! let url = RecordsUrl::parse(&format!("sqlite:{folder}/records.db"))?; // or postgres://user:password@host/database
//! let records = Records::open(url, || Timestamp::ZERO /* the clock */).await?;
//! let limit = Limit::DebitsMustNotExceedCredits;
//! let account = Account { id: AccountId(7), ledger: 1, code: 1, reference: 0, limit };
//! let outcomes = records.ledger().apply(vec![Event::Open(account)]).await?;
//! assert!(outcomes[0].is_ok());
//! let state = records.ledger().balance(AccountId(7)).await?;
//! assert_eq!(state.map(|state| state.balance.available().get()), Some(0));
//! records.ledger().verify(None).await?;
//! records.close().await;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })
//! # }
//! ```

mod audit;
mod database;
mod error;
mod rows;
mod url;
mod writer;

use ledger::{AccountId, AccountState, Event, Head, Outcome, Record, Sealed, Timestamp, TransferId, Verified};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

pub use audit::AuditError;
pub use error::{RecordsError, UrlError};
pub use url::RecordsUrl;

use crate::{
    database::Database,
    writer::{CHAIN_EVENTS_MAX, Request, WAITING_MAX, Writer},
};

/// Entries of a page of the journal.
pub const JOURNAL_PAGE_MAX: usize = 1000;

/// An open database and its writer.
pub struct Records {
    ledger: LedgerRecords,
    stop: oneshot::Sender<()>,
    writer: JoinHandle<()>,
}

impl Records {
    /// Opens a database, makes or changes its tables where that is needed, and starts the writer. `clock` says the time.
    ///
    /// # Errors
    /// If the database cannot be reached, or has tables that this version does not know.
    pub async fn open(
        url: RecordsUrl,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Self, RecordsError> {
        let database = Database::open(url).await?;
        let (requests, taken) = mpsc::channel(WAITING_MAX);
        let (stop, stopped) = oneshot::channel();
        let writer = tokio::spawn(Writer::new(database.clone(), clock).run(taken, stopped));
        Ok(Self { ledger: LedgerRecords { database, requests }, stop, writer })
    }

    /// Accounts, transfers and their journal.
    #[must_use]
    pub fn ledger(&self) -> &LedgerRecords {
        &self.ledger
    }

    /// Answers the requests that wait, refuses new ones, and lets go of the database.
    pub async fn close(self) {
        let pool = self.ledger.database.pool.clone();
        // It may have ended by itself, in a panic, which is told below.
        let _ = self.stop.send(());
        if let Err(error) = self.writer.await {
            tracing::error!(%error, "the writer of the records");
        }
        pool.close().await;
    }
}

/// The ledger as it is stored. Cheap to clone.
#[derive(Clone)]
pub struct LedgerRecords {
    database: Database,
    requests: mpsc::Sender<Request>,
}

impl LedgerRecords {
    /// Applies the events of a chain, all or none, and returns what came of each once it is on the disk.
    ///
    /// # Errors
    /// If it could not be written, or nobody knows whether it was ([`RecordsError::Unavailable`]).
    pub async fn apply(&self, chain: Vec<Event>) -> Result<Vec<Outcome>, RecordsError> {
        bounded("events", CHAIN_EVENTS_MAX, chain.len())?;
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Request { chain, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RecordsError::Busy { waiting_max: WAITING_MAX },
            mpsc::error::TrySendError::Closed(_) => RecordsError::Closed,
        })?;
        answered.await.unwrap_or(Err(RecordsError::Closed))
    }

    /// An account and its sums, as they were last written.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn balance(&self, id: AccountId) -> Result<Option<AccountState>, RecordsError> {
        let mut connection = self.database.pool.acquire().await.map_err(|error| self.database.unavailable(error))?;
        Ok(rows::accounts(&self.database, &mut connection, &[id]).await?.pop())
    }

    /// What came of a transfer id, as it was last written.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn transfer(&self, id: TransferId) -> Result<Option<Record>, RecordsError> {
        let mut connection = self.database.pool.acquire().await.map_err(|error| self.database.unavailable(error))?;
        Ok(rows::transfers(&self.database, &mut connection, &[id]).await?.pop().map(|(_, record)| record))
    }

    /// Entries of the journal behind number `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// If they cannot be read, or more than [`JOURNAL_PAGE_MAX`] are asked for.
    pub async fn journal(&self, after: u64, limit: usize) -> Result<Vec<Sealed>, RecordsError> {
        bounded("entries", JOURNAL_PAGE_MAX, limit)?;
        let mut connection = self.database.pool.acquire().await.map_err(|error| self.database.unavailable(error))?;
        rows::journal(&self.database, &mut connection, after, limit).await
    }

    /// The end of the journal. Kept elsewhere, it is what [`LedgerRecords::verify`] expects.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn head(&self) -> Result<Head, RecordsError> {
        let mut connection = self.database.pool.acquire().await.map_err(|error| self.database.unavailable(error))?;
        rows::head(&self.database, &mut connection).await
    }

    /// Recomputes the whole journal, of one moment, and compares it with the accounts that are stored.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub async fn verify(&self, expected: Option<&Head>) -> Result<Verified, AuditError> {
        audit::audit(&self.database, expected).await
    }
}

fn bounded(what: &'static str, max: usize, asked: usize) -> Result<(), RecordsError> {
    if asked <= max { Ok(()) } else { Err(RecordsError::TooMany { what, max, asked }) }
}

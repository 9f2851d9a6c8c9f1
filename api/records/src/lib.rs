//! What the API must not lose, in SQLite or on PostgreSQL: a URL chooses, tables and queries are the same.
//!
//! `url` → `database` (connections, migrations) → `rows` (the ledger's tables) → `change` (what else a request writes) →
//! `writer` (one task, group commit) → `access` (how all below reach it) → `verify` (whether what is stored can have
//! happened). Read `writer` first. `chart` says whose account is whose. On top, each by itself: `users`, `keys`, `charges` with
//! `allowance` and `usage`, `gifts`, `payments`, `statement`; `audit`, and `kept` for answers that are given again.
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

mod access;
mod allowance;
mod audit;
mod change;
mod charges;
pub mod chart;
mod database;
mod error;
mod gifts;
mod kept;
mod keys;
mod latest;
mod payments;
mod row;
mod rows;
mod statement;
mod text;
mod url;
mod usage;
mod users;
mod verify;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};

use ledger::{AccountId, AccountState, Event, Head, Micros, Outcome, Record, Sealed, Timestamp, TransferId, Verified};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

pub use allowance::{CAP_DAYS, CAP_MAX, Window};
pub use audit::{AUDIT_PAGE_MAX, Audit, AuditLog, AuditRow};
pub use charges::{Charges, Hold, HoldError, Payer, SettleError, Settlement};
pub use chart::{AMOUNT_MAX, KeyId, Purpose, UserId};
pub use error::{Conflict, RecordsError, UrlError};
pub use gifts::Gifts;
pub use kept::{KEPT_BYTES_MAX, KEPT_FOR, Kept, KeptAnswers};
pub use keys::{ApiKey, CIDRS_MAX, Changed, Changes, Grant, KEYS_MAX, KEYS_PAGE_MAX, Keys, NewKey, Scope};
pub use payments::{CHECKOUTS_PAGE_MAX, Checkout, CheckoutState, Dispute, Paid, Payments, StripeEvent, Told};
pub use statement::{LINES_MAX, Line, Statement, Statements};
pub use text::{Email, Name, RequestName, Text, TextError, Token, Word};
pub use url::RecordsUrl;
pub use usage::{
    Attempt, Cursor, Group, Grouping, LOST, OPEN, SUMS_MAX, USAGE_PAGE_MAX, Usage, UsageFilter, UsageRecords, UsageSum,
};
pub use users::{Funds, Login, NewUser, PasswordHash, USERS_PAGE_MAX, User, Users};
pub use verify::VerifyError;

use crate::{
    access::Access,
    database::Database,
    writer::{WAITING_MAX, Writer},
};

/// Entries of a page of the journal.
pub const JOURNAL_PAGE_MAX: usize = 1000;

/// An open database and its writer.
pub struct Records {
    access: Access,
    ledger: LedgerRecords,
    audit: AuditLog,
    /// The keeper goes first, for it has still something to write.
    tasks: Mutex<Vec<(oneshot::Sender<()>, JoinHandle<()>)>>,
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
        let clock: access::Clock = Arc::new(clock);
        let (requests, taken) = mpsc::channel(WAITING_MAX);
        let access = Access::new(database.clone(), requests, Arc::clone(&clock));
        let (audit, keeper) = AuditLog::new(access.clone());
        let (stop_writer, stopped) = oneshot::channel();
        let writer = tokio::spawn(Writer::new(database, clock, access.latest().clone()).run(taken, stopped));
        let (stop_keeper, stopped) = oneshot::channel();
        let keeper = tokio::spawn(keeper.run(stopped));
        let ledger = LedgerRecords { access: access.clone() };
        let tasks = Mutex::new(vec![(stop_keeper, keeper), (stop_writer, writer)]);
        Ok(Self { access, ledger, audit, tasks })
    }

    /// Accounts, transfers and their journal.
    #[must_use]
    pub fn ledger(&self) -> &LedgerRecords {
        &self.ledger
    }

    /// Who may come.
    #[must_use]
    pub fn users(&self) -> Users {
        Users { access: self.access.clone() }
    }

    /// With which keys.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys { access: self.access.clone() }
    }

    /// What is set aside and taken for requests.
    #[must_use]
    pub fn charges(&self) -> Charges {
        Charges { access: self.access.clone() }
    }

    /// What was used.
    #[must_use]
    pub fn usage(&self) -> UsageRecords {
        UsageRecords { access: self.access.clone() }
    }

    /// Who called what.
    #[must_use]
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// Answers for requests that come again.
    #[must_use]
    pub fn kept(&self) -> KeptAnswers {
        KeptAnswers { access: self.access.clone() }
    }

    /// What an operator gives and takes.
    #[must_use]
    pub fn gifts(&self) -> Gifts {
        Gifts { access: self.access.clone() }
    }

    /// What moved a user's money.
    #[must_use]
    pub fn statements(&self) -> Statements {
        Statements { access: self.access.clone() }
    }

    /// What is paid through Stripe.
    #[must_use]
    pub fn payments(&self) -> Payments {
        Payments { access: self.access.clone() }
    }

    /// Writes what is noted, answers the requests that wait, refuses new ones, and lets go of the database.
    pub async fn close(&self) {
        let pool = self.access.database().pool.clone();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for (stop, task) in tasks {
            // It may have ended by itself, in a panic, which is told below.
            let _ = stop.send(());
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the records");
            }
        }
        pool.close().await;
    }
}

/// The ledger as it is stored. Cheap to clone.
#[derive(Clone)]
pub struct LedgerRecords {
    access: Access,
}

impl LedgerRecords {
    /// Applies the events of a chain, all or none, and returns what came of each once it is on the disk.
    ///
    /// # Errors
    /// If it could not be written, or nobody knows whether it was ([`RecordsError::Unavailable`]).
    pub async fn apply(&self, chain: Vec<Event>) -> Result<Vec<Outcome>, RecordsError> {
        self.access.change(Vec::new(), chain).await
    }

    /// An account and its sums, as they were last written.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn balance(&self, id: AccountId) -> Result<Option<AccountState>, RecordsError> {
        Ok(self.access.accounts(&[id]).await?.pop())
    }

    /// What came of a transfer id, as it was last written.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn transfer(&self, id: TransferId) -> Result<Option<Record>, RecordsError> {
        self.access.transfer(id).await
    }

    /// Entries of the journal behind number `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// If they cannot be read, or more than [`JOURNAL_PAGE_MAX`] are asked for.
    pub async fn journal(&self, after: u64, limit: usize) -> Result<Vec<Sealed>, RecordsError> {
        bounded("entries", JOURNAL_PAGE_MAX, limit)?;
        rows::journal(self.access.database(), &mut *self.access.reader().await?, after, limit).await
    }

    /// The end of the journal. Kept elsewhere, it is what [`LedgerRecords::verify`] expects.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn head(&self) -> Result<Head, RecordsError> {
        rows::head(self.access.database(), &mut *self.access.reader().await?).await
    }

    /// Recomputes the whole journal, of one moment, and compares it with the accounts that are stored.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub async fn verify(&self, expected: Option<&Head>) -> Result<Verified, VerifyError> {
        verify::verify(self.access.database(), expected).await
    }
}

fn bounded(what: &'static str, max: usize, asked: usize) -> Result<(), RecordsError> {
    if asked <= max { Ok(()) } else { Err(RecordsError::TooMany { what, max, asked }) }
}

fn at_most(max: Micros, asked: Micros) -> Result<(), RecordsError> {
    if asked <= max { Ok(()) } else { Err(RecordsError::TooMuch { max, asked }) }
}

//! Why records are not read or written, by what the caller does next.

use std::sync::Arc;

use ledger::Micros;

/// Records could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecordsError {
    /// The database cannot be reached or failed. What was to be written may have been written or not: asked again with the
    /// same ids, it happens once.
    #[error("{database} is not available")]
    Unavailable {
        /// Which, without its credentials.
        database: Arc<str>,
        /// What it or the network said.
        source: Arc<sqlx::Error>,
    },
    /// The tables cannot be made or are those of another version.
    #[error("{database} has other tables than this version")]
    Schema {
        /// Which.
        database: Arc<str>,
        /// What is different.
        source: Arc<sqlx::migrate::MigrateError>,
    },
    /// What is stored is not what this program writes; trying again does not help.
    #[error("{database} holds something else than expected: {what}")]
    Foreign {
        /// Which.
        database: Arc<str>,
        /// What was found.
        what: String,
    },
    /// Too many requests wait already: try again later.
    #[error("{waiting_max} requests wait already")]
    Busy {
        /// How many can wait.
        waiting_max: usize,
    },
    /// Other processes wrote to the same tables each time this one tried to: try again.
    #[error("other processes are writing to {database}")]
    Contended {
        /// Which.
        database: Arc<str>,
    },
    /// More was asked for at once than is allowed.
    #[error("at most {max} {what} at once, not {asked}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The largest number.
        max: usize,
        /// The number asked for.
        asked: usize,
    },
    /// What is stored does not allow it: nothing was done.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The database does not take the values: nothing was done, and trying again does not help.
    #[error("{database} does not take a row")]
    Row {
        /// Which.
        database: Arc<str>,
        /// What it said.
        source: Arc<sqlx::Error>,
    },
    /// An amount is larger than is allowed.
    #[error("at most {} micros, not {}", max.get(), asked.get())]
    TooMuch {
        /// The largest amount.
        max: Micros,
        /// The amount asked for.
        asked: Micros,
    },
    /// [`crate::Records::close`] was called.
    #[error("the records are closed")]
    Closed,
}

/// What is stored does not allow a request: nothing of it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another user has the e-mail address.
    #[error("another user has this e-mail address")]
    EmailTaken,
    /// There is no such user.
    #[error("no such user")]
    UnknownUser,
    /// There is no such key, or it is another user's.
    #[error("no such key")]
    UnknownKey,
    /// The user has as many keys as are allowed.
    #[error("no more keys are allowed")]
    KeysFull,
    /// An answer is kept for the same Idempotency-Key: find it and give it, or refuse if it is another request's.
    #[error("an answer is kept for the same idempotency key")]
    Kept,
    /// There is no such checkout, or it is another user's.
    #[error("no such checkout")]
    UnknownCheckout,
    /// The event has had its effect.
    #[error("the event has had its effect")]
    Repeated,
    /// The cause was used for another amount or for somebody else.
    #[error("the same cause was used for something else")]
    Different,
    /// The account has less than is to be taken.
    #[error("the account has less")]
    InsufficientFunds,
    /// Somebody else changed the same row: read it again.
    #[error("somebody else has changed the same row")]
    Changed,
}

/// A URL names no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no database is named: a URL begins with sqlite: and a path, or with postgres://")]
pub struct UrlError;

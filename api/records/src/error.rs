//! Why records are not read or written, by what the caller does next.

use std::sync::Arc;

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
    /// [`crate::Records::close`] was called.
    #[error("the records are closed")]
    Closed,
}

/// A URL names no database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no database is named: a URL begins with sqlite: and a path, or with postgres://")]
pub struct UrlError;

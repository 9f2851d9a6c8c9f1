//! Why a store does not do what it was asked, by what the caller does next.

use std::{io, path::PathBuf};

/// A store could not read or write. Nothing of a refused batch is kept by the embedded store; QuestDB may have taken
/// the tables before the one that failed, and takes the same batch again without harm.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room, or a quota is reached: free some, the same call then succeeds.
    #[error("no room left to write {path}")]
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be reached or failed; the same call may succeed later.
    #[error("{store} is not available")]
    Unavailable {
        /// Which store, without its credentials.
        store: String,
        /// What it or the network said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another process, or another part of this one, has the file open.
    #[error("{path} is in use: one process at a time may open it")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// What is stored is not what this version writes; retrying does not help.
    #[error("{store} holds something else than expected: {what}")]
    Foreign {
        /// Which store.
        store: String,
        /// What was found.
        what: String,
    },
    /// More rows were asked for than one page holds.
    #[error("at most {max} rows can be asked for at once, not {asked}")]
    Page {
        /// How many were asked for.
        asked: usize,
        /// The largest page.
        max: usize,
    },
}

/// A row that no store takes: it is refused before it is queued, so that a queue never holds a row that blocks it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Not `venue:NAME`.
    #[error("{0:?} is no source: it has the form venue:NAME, at most {max} letters, digits or any of - / _ : @ .", max = crate::row::SOURCE_BYTES_MAX)]
    Source(String),
    /// The candle does not lie where its interval says.
    #[error("a {interval} candle cannot span {open_ns} to {close_ns} ns")]
    Span {
        /// Its interval.
        interval: &'static str,
        /// Where it opens.
        open_ns: i64,
        /// Where it closes.
        close_ns: i64,
    },
    /// A price, a quantity or a time below zero.
    #[error("{0} is below zero")]
    Negative(&'static str),
    /// A name or a text of a value is empty or too long.
    #[error("{field} has {bytes} bytes, and 1 to {max} are allowed")]
    Length {
        /// Which.
        field: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
}

//! Whether what is stored can have happened.

use ledger::{AccountId, Fault, Head, Verified, Verifier};
use sqlx::Connection;

use crate::{JOURNAL_PAGE_MAX, database::Database, error::RecordsError, rows};

/// What is stored is wrong, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// An entry of the journal is wrong.
    #[error(transparent)]
    Journal(#[from] Fault),
    /// The journal says something else of an account than the table of accounts.
    #[error("account {:032x} has other sums than the journal says", .0.0)]
    Account(AccountId),
    /// The journal does not end where it was last written.
    #[error("the journal ends at {found} and was written up to {written}")]
    Head {
        /// Its last entry.
        found: u64,
        /// The last that was written.
        written: u64,
    },
    /// It could not be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

/// Reads the journal page by page, beside a writer that goes on, and compares what it comes to with the accounts.
pub(crate) async fn verify(database: &Database, expected: Option<&Head>) -> Result<Verified, VerifyError> {
    let unavailable = |error| database.unavailable(error);
    let mut connection = database.pool.acquire().await.map_err(unavailable)?;
    let mut snapshot = connection.begin().await.map_err(unavailable)?;
    database.freeze(&mut snapshot).await?;

    let written = rows::head(database, &mut snapshot).await?.sequence;
    let (mut verifier, mut found) = (Verifier::new(expected), 0);
    loop {
        let page = rows::journal(database, &mut snapshot, found, JOURNAL_PAGE_MAX).await?;
        if page.is_empty() {
            break;
        }
        page.iter().try_for_each(|sealed| verifier.check(sealed))?;
        found += page.len() as u64;
    }
    if found != written {
        return Err(VerifyError::Head { found, written });
    }
    let verified = verifier.finish()?;
    let mut accounts = verified.accounts.iter();
    let mut last = None;
    loop {
        let page = rows::accounts_behind(database, &mut snapshot, last, JOURNAL_PAGE_MAX).await?;
        let Some(end) = page.last() else { break };
        last = Some(end.account.id);
        if let Some(wrong) = page.iter().find(|stored| accounts.next() != Some(stored)) {
            return Err(VerifyError::Account(wrong.account.id));
        }
    }
    match accounts.next() {
        Some(lost) => Err(VerifyError::Account(lost.account.id)),
        None => Ok(verified),
    }
}

//! Answers that are kept, so that a request that comes again with its Idempotency-Key gets the one that it got.

use std::time::Duration;

use ledger::Timestamp;

use crate::{
    access::Access,
    bounded,
    change::{Rows, Write},
    chart::UserId,
    error::{Conflict, RecordsError},
};

/// How long an answer is kept at least.
pub const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of a kept answer.
pub const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// What is older than a day (in nanoseconds) gives way.
static ANSWERS: Rows = Rows {
    head: "INSERT INTO idempotency (user_id, name, fingerprint, status, answer, created)",
    columns: 6,
    tail: "ON CONFLICT (user_id, name) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status, \
           answer = excluded.answer, created = excluded.created \
           WHERE idempotency.created <= excluded.created - 86400000000000",
};

/// An answer under the name that its caller gave the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose name it is; nobody's for a request that makes the user.
    pub user: UserId,
    /// SHA-256 of the Idempotency-Key.
    pub name: [u8; 32],
    /// A keyed digest over method, path and body: the same name for another request is refused.
    pub fingerprint: [u8; 32],
    /// The HTTP status.
    pub status: u16,
    /// The answer, sealed: at most [`KEPT_BYTES_MAX`].
    pub answer: Vec<u8>,
    /// When it was given.
    pub created: Timestamp,
}

/// Kept answers. Cheap to clone.
#[derive(Clone)]
pub struct KeptAnswers {
    pub(crate) access: Access,
}

impl KeptAnswers {
    /// The answer of a name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn find(&self, user: UserId, name: &[u8; 32]) -> Result<Option<Kept>, RecordsError> {
        let sql = "SELECT fingerprint, status, answer, created FROM idempotency \
                   WHERE user_id = $1 AND name = $2 AND created > $3";
        let values = [user.into(), name.into(), oldest(self.access.now()).into()];
        let Some(row) = self.access.row(sql, &values).await? else { return Ok(None) };
        let fields = self.access.fields(&row);
        Ok(Some(Kept {
            user,
            name: *name,
            fingerprint: fields.hash("fingerprint")?,
            status: fields.small("status")?,
            answer: fields.bytes("answer")?,
            created: fields.time("created")?,
        }))
    }

    /// Keeps an answer whose effect is none of the records'. Those with an effect are given to the call that has it.
    ///
    /// # Errors
    /// [`Conflict::Kept`] if there is one, or if it cannot be written.
    pub async fn keep(&self, kept: Kept) -> Result<(), RecordsError> {
        self.access.write(vec![write(Some(&kept))?].into_iter().flatten().collect()).await
    }

    /// Forgets answers that were kept long enough.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn sweep(&self) -> Result<(), RecordsError> {
        let sql = "DELETE FROM idempotency WHERE created <= $1";
        self.access.write(vec![Write::new(sql).bind(oldest(self.access.now()))]).await
    }
}

/// The statement that keeps an answer, unless one is kept that is not too old.
pub(crate) fn write(kept: Option<&Kept>) -> Result<Option<Write>, RecordsError> {
    let Some(kept) = kept else { return Ok(None) };
    bounded("bytes of a kept answer", KEPT_BYTES_MAX, kept.answer.len())?;
    let write = Write::rows(&ANSWERS).bind(kept.user).bind(&kept.name).bind(&kept.fingerprint);
    let write = write.bind(u64::from(kept.status)).bind(kept.answer.as_slice()).bind(kept.created);
    Ok(Some(write.or(Conflict::Kept)))
}

/// What was kept then or before is kept no more.
fn oldest(now: Timestamp) -> u64 {
    now.nanos().saturating_sub(u64::try_from(KEPT_FOR.as_nanos()).unwrap_or(u64::MAX))
}

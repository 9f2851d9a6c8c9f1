//! The one writer: takes all requests that wait, applies them in order, commits them together, and only then answers.
//!
//! While a commit waits for the disk the next requests gather, so that the more callers there are, the more of them share
//! one fsync. No request waits for another to come.
//!
//! A request may write rows beside its events. Then they are written within the same transaction, each request behind a
//! savepoint of its own: what one is refused for undoes its own rows and events and nobody else's.

use std::time::Duration;

use ledger::{ApplyError, Event, Head, Ledger, Outcome, Timestamp};
use sqlx::{AnyConnection, Connection};
use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
    time::{MissedTickBehavior, interval},
};

use crate::{access::Clock, change::Change, database::Database, error::RecordsError, rows};

/// Requests that share a commit.
const BATCH_MAX: usize = 1024;
/// Events of a request.
pub(crate) const CHAIN_EVENTS_MAX: usize = 64;
/// Requests that wait for the writer.
pub(crate) const WAITING_MAX: usize = 8192;
/// Accounts and ids that are kept in memory between commits.
const LOADED_MAX: usize = 200_000;
/// Holds that are expired in one commit.
const DUE_MAX: usize = 1000;
/// How often a commit is tried while other processes write.
const ATTEMPTS_MAX: usize = 20;
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// What comes of a request.
pub(crate) type Answer = Result<Vec<Outcome>, RecordsError>;

pub(crate) struct Request {
    pub(crate) change: Change,
    pub(crate) answer: oneshot::Sender<Answer>,
}

pub(crate) struct Writer {
    database: Database,
    clock: Clock,
    /// What is known of the database; nothing after a failure, for then it may have written or not.
    state: Option<(AnyConnection, Ledger)>,
}

impl Writer {
    pub(crate) fn new(database: Database, clock: Clock) -> Self {
        Self { database, clock, state: None }
    }

    /// Serves until `stop` is told or dropped, and then what has come before.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>, mut stop: oneshot::Receiver<()>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut sweeps = interval(SWEEP_EVERY);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                taken = requests.recv_many(&mut batch, BATCH_MAX) => {
                    if taken == 0 {
                        break;
                    }
                    self.serve(&mut batch).await;
                    // Whoever was answered and has more to ask does so now, and not one commit later.
                    yield_now().await;
                }
                _ = sweeps.tick() => self.sweep().await,
                _ = &mut stop, if !requests.is_closed() => requests.close(),
            }
        }
        if let Some((connection, _)) = self.state.take()
            && let Err(error) = sqlx::Connection::close(connection).await
        {
            tracing::warn!(%error, "closing the connection of the records' writer");
        }
    }

    async fn serve(&mut self, batch: &mut Vec<Request>) {
        let (changes, answers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|request| (request.change, request.answer)).unzip();
        // Whoever no longer listens asks again, with the same ids.
        match self.commit(&changes).await {
            Ok(outcomes) => answers.into_iter().zip(outcomes).for_each(|(answer, outcome)| drop(answer.send(outcome))),
            Err(error) => answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone())))),
        }
    }

    /// Frees what holds set aside whose time is over.
    async fn sweep(&mut self) {
        let swept = async {
            let (now, database) = ((self.clock)(), self.database.clone());
            let (connection, _) = self.ready().await?;
            let due = rows::due(&database, connection, now, DUE_MAX).await?;
            let expiry = |hold| Change::new(Vec::new(), vec![Event::Expire(hold)]);
            let changes: Vec<_> = due.into_iter().map(expiry).collect();
            if !changes.is_empty() {
                let answers = self.commit(&changes).await?;
                for (change, answer) in changes.iter().zip(answers).filter(|(_, answer)| is_refused(answer)) {
                    tracing::warn!(hold = ?change.chain, ?answer, "a hold that cannot be expired");
                }
            }
            Ok::<_, RecordsError>(())
        };
        if let Err(error) = swept.await {
            self.state = None;
            tracing::warn!(error = &error as &dyn std::error::Error, "expiring holds");
        }
    }

    async fn commit(&mut self, changes: &[Change]) -> Result<Vec<Answer>, RecordsError> {
        for _ in 0..ATTEMPTS_MAX {
            let now = (self.clock)();
            let result = self.try_commit(now, changes).await;
            match result {
                Ok(Some(answers)) => return Ok(answers),
                // What is known is not what is stored any more, or nobody knows.
                Ok(None) => self.state = None,
                Err(error) => {
                    self.state = None;
                    return Err(error);
                }
            }
        }
        Err(RecordsError::Contended { database: self.database.name() })
    }

    /// `None` if another process has written since the ledger was loaded.
    async fn try_commit(&mut self, now: Timestamp, changes: &[Change]) -> Result<Option<Vec<Answer>>, RecordsError> {
        let database = self.database.clone();
        let unavailable = |error| database.unavailable(error);
        let (connection, ledger) = self.ready().await?;
        let before: Head = ledger.head();
        rows::load(&database, connection, ledger, changes.iter().flat_map(|change| &change.chain)).await?;
        let writes = changes.iter().any(|change| !change.writes.is_empty());
        let mut answers = Vec::with_capacity(changes.len());
        if !writes {
            answers.extend(changes.iter().map(|change| apply(&database, ledger, now, &change.chain)));
            let effects = ledger.take_effects();
            // Repetitions, and refusals that say nothing about the state, are answered from what is stored.
            if effects.entries.is_empty() {
                return Ok(Some(answers));
            }
            let mut transaction = connection.begin().await.map_err(unavailable)?;
            if !rows::take(&mut transaction, &before, ledger.head().sequence).await.map_err(unavailable)? {
                transaction.rollback().await.map_err(unavailable)?;
                return Ok(None);
            }
            rows::write(&database, &mut transaction, &effects).await.map_err(unavailable)?;
            transaction.commit().await.map_err(unavailable)?;
            return Ok(Some(answers));
        }
        let mut transaction = connection.begin().await.map_err(unavailable)?;
        if !rows::take(&mut transaction, &before, before.sequence).await.map_err(unavailable)? {
            transaction.rollback().await.map_err(unavailable)?;
            return Ok(None);
        }
        for change in changes {
            answers.push(apply_all(&database, &mut transaction, ledger, now, change).await?);
        }
        let effects = ledger.take_effects();
        if !effects.entries.is_empty() {
            rows::take(&mut transaction, &before, ledger.head().sequence).await.map_err(unavailable)?;
            rows::write(&database, &mut transaction, &effects).await.map_err(unavailable)?;
        }
        transaction.commit().await.map_err(unavailable)?;
        Ok(Some(answers))
    }

    /// A connection, and a ledger that stands at the end of the stored journal.
    async fn ready(&mut self) -> Result<&mut (AnyConnection, Ledger), RecordsError> {
        let state = match self.state.take() {
            Some((connection, ledger)) if ledger.loaded() <= LOADED_MAX => (connection, ledger),
            Some((connection, ledger)) => (connection, Ledger::resume(ledger.head())),
            None => {
                let mut connection = self.database.connect().await?;
                let head = rows::head(&self.database, &mut connection).await?;
                (connection, Ledger::resume(head))
            }
        };
        Ok(self.state.insert(state))
    }
}

fn apply(database: &Database, ledger: &mut Ledger, now: Timestamp, chain: &[Event]) -> Answer {
    ledger.apply(now, chain).map_err(|error| match error {
        ApplyError::Missing(_) | ApplyError::Damaged(_) | ApplyError::Full => database.foreign(error.to_string()),
    })
}

/// Writes and events of one request, all or none. An error is the whole batch's; what is wrong with the request is its answer.
async fn apply_all(
    database: &Database,
    transaction: &mut AnyConnection,
    ledger: &mut Ledger,
    now: Timestamp,
    change: &Change,
) -> Result<Answer, RecordsError> {
    if change.writes.is_empty() {
        return Ok(apply(database, ledger, now, &change.chain));
    }
    let unavailable = |error| database.unavailable(error);
    let mut part = transaction.begin().await.map_err(unavailable)?;
    let mut written = Ok(());
    for write in &change.writes {
        written = write.run(database, &mut part).await;
        if written.is_err() {
            break;
        }
    }
    let answer = match written {
        Ok(()) => apply(database, ledger, now, &change.chain),
        Err(error @ (RecordsError::Conflict(_) | RecordsError::Row { .. })) => Err(error),
        Err(error) => return Err(error),
    };
    let done = if is_refused(&answer) { part.rollback().await } else { part.commit().await };
    done.map_err(unavailable)?;
    Ok(answer)
}

fn is_refused(answer: &Answer) -> bool {
    !answer.as_ref().is_ok_and(|outcomes| outcomes.iter().all(Result::is_ok))
}

//! The one writer: takes all requests that wait, applies them in order, commits them together, and only then answers.
//!
//! While a commit waits for the disk the next requests gather, so that the more callers there are, the more of them share
//! one fsync. No request waits for another to come.
//!
//! A request may write rows beside its events, in the same transaction. Rows of several requests are added with one statement;
//! if one of these is refused, all of it is undone and done again, each request behind a savepoint of its own: what one is
//! refused for undoes its own rows and events and nobody else's.

use std::time::{Duration, Instant};

use ledger::{ApplyError, Event, Head, Ledger, Outcome, Timestamp};
use sqlx::{Any, AnyConnection, Connection, Transaction};
use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
    time::{MissedTickBehavior, interval},
};

use crate::{
    access::Clock,
    change::{Change, Prepared, Write, run_at_once, run_together},
    database::Database,
    error::RecordsError,
    latest::Latest,
    rows,
    url::DatabaseKind,
    usage,
};

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
/// Which part of the time of a commit its callers have to come again.
const GATHER_SHARE: u32 = 4;
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
    latest: Latest,
    /// What is known of the database; nothing after a failure, for then it may have written or not.
    state: Option<(AnyConnection, Ledger)>,
}

/// What a commit is decided on.
#[derive(Clone, Copy)]
enum Footing {
    /// What is known of the database: right if nobody else has written since.
    Known,
    /// What the database says, while nobody else can write.
    Locked,
}

/// How far a commit came.
enum Tried {
    Done(Vec<Answer>),
    /// Somebody else has written since: nothing was done.
    Overtaken,
    /// One of the requests is refused for its rows, and nobody says which: nothing was done.
    Parted,
}

impl Writer {
    pub(crate) fn new(database: Database, clock: Clock, latest: Latest) -> Self {
        Self { database, clock, latest, state: None }
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
                    let begun = Instant::now();
                    self.serve(&mut batch).await;
                    // Who comes alone waits for nobody.
                    if taken > 1 {
                        gather(&requests, taken, begun.elapsed() / GATHER_SHARE).await;
                    }
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

    /// Frees what holds set aside whose time is over, and gives up the attempts that they were for.
    async fn sweep(&mut self) {
        let swept = async {
            let (now, database) = ((self.clock)(), self.database.clone());
            let (connection, _) = self.ready().await?;
            let due = rows::due(&database, connection, now, DUE_MAX).await?;
            let is_any_lost = usage::is_any_lost(&database, connection, now).await?;
            let expiry = |hold| Change::new(Vec::new(), vec![Event::Expire(hold)]);
            let lost = is_any_lost.then(|| Change::new(vec![usage::lose(now)], Vec::new()));
            let changes: Vec<_> = due.into_iter().map(expiry).chain(lost).collect();
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
        let result = self.try_commit(changes).await;
        if result.is_err() {
            self.state = None;
        }
        result
    }

    async fn try_commit(&mut self, changes: &[Change]) -> Result<Vec<Answer>, RecordsError> {
        if changes.iter().flat_map(|change| &change.writes).all(Write::is_free) {
            let mut tried = self.commit_together(changes, Footing::Known).await?;
            if matches!(tried, Tried::Overtaken) {
                tried = self.commit_together(changes, Footing::Locked).await?;
            }
            if let Tried::Done(answers) = tried {
                return Ok(answers);
            }
        }
        self.commit_apart(changes).await
    }

    /// All is decided, and then written with one statement for the rows of a kind.
    async fn commit_together(&mut self, changes: &[Change], footing: Footing) -> Result<Tried, RecordsError> {
        let (now, database, latest) = ((self.clock)(), self.database.clone(), self.latest.clone());
        let unavailable = |error| database.unavailable(error);
        let (connection, ledger) = self.ready().await?;
        let mut transaction = match footing {
            Footing::Known => {
                rows::load(&database, connection, ledger, events(changes)).await?;
                connection.begin().await.map_err(unavailable)?
            }
            Footing::Locked => begin(&database, connection, ledger, changes).await?,
        };
        let before = ledger.head();
        let answers: Vec<_> = changes.iter().map(|change| apply(&database, ledger, now, &change.chain)).collect();
        let effects = ledger.take_effects();
        let (granted, refused): (Vec<_>, Vec<_>) =
            changes.iter().zip(&answers).partition(|(_, answer)| !is_refused(answer));
        // What the ledger refuses writes nothing, but may be refused by a guard first.
        if refused.iter().flat_map(|(change, _)| &change.writes).any(Write::is_guarded) {
            return undone(&database, transaction, ledger, before, Tried::Parted).await;
        }
        let granted: Vec<_> = granted.into_iter().map(|(change, _)| change).collect();
        // Repetitions, and refusals that say nothing about the state, are answered from what is stored.
        if effects.entries.is_empty() && granted.iter().all(|change| change.writes.is_empty()) {
            transaction.rollback().await.map_err(unavailable)?;
            return Ok(Tried::Done(answers));
        }
        let take = rows::take(&database, &before, ledger.head().sequence);
        let write = rows::write(&database, &effects);
        match write_all(&database, &mut transaction, footing, take, &granted, write).await {
            Ok(true) => {}
            Ok(false) => return undone(&database, transaction, ledger, Head::default(), Tried::Overtaken).await,
            Err(RecordsError::Conflict(_) | RecordsError::Row { .. }) => {
                return undone(&database, transaction, ledger, before, Tried::Parted).await;
            }
            Err(error) => return Err(error),
        }
        transaction.commit().await.map_err(unavailable)?;
        latest.tell(&effects.accounts);
        Ok(Tried::Done(answers))
    }

    /// Each request behind a savepoint of its own, so that what one is refused for is undone and no more.
    async fn commit_apart(&mut self, changes: &[Change]) -> Result<Vec<Answer>, RecordsError> {
        let (now, database, latest) = ((self.clock)(), self.database.clone(), self.latest.clone());
        let unavailable = |error| database.unavailable(error);
        let (connection, ledger) = self.ready().await?;
        let mut transaction = begin(&database, connection, ledger, changes).await?;
        let before = ledger.head();
        let mut answers = Vec::with_capacity(changes.len());
        for change in changes {
            answers.push(apply_all(&database, &mut transaction, ledger, now, change).await?);
        }
        let effects = ledger.take_effects();
        if !effects.entries.is_empty() {
            let take = rows::take(&database, &before, ledger.head().sequence);
            run_each(&[take], &database, &mut transaction).await?;
            run_each(&rows::write(&database, &effects), &database, &mut transaction).await?;
        }
        transaction.commit().await.map_err(unavailable)?;
        latest.tell(&effects.accounts);
        Ok(answers)
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

/// Keeps other processes away until the transaction ends, so that nothing has to be tried again, and loads what the requests
/// want.
async fn begin<'c>(
    database: &Database,
    connection: &'c mut AnyConnection,
    ledger: &mut Ledger,
    changes: &[Change],
) -> Result<Transaction<'c, Any>, RecordsError> {
    let mut transaction = connection.begin().await.map_err(|error| database.unavailable(error))?;
    if rows::lock(database, &mut transaction).await? != ledger.head().sequence {
        *ledger = Ledger::resume(rows::head(database, &mut transaction).await?);
    }
    rows::load(database, &mut transaction, ledger, events(changes)).await?;
    Ok(transaction)
}

/// Writes what was decided; `false` if somebody else has written since, or may have.
async fn write_all(
    database: &Database,
    connection: &mut AnyConnection,
    footing: Footing,
    take: Prepared,
    granted: &[&Change],
    write: Vec<Prepared>,
) -> Result<bool, RecordsError> {
    if let (Footing::Known, [change]) = (footing, granted)
        && is_short(database, change)
    {
        return run_at_once(take, change, write, database, connection).await;
    }
    if take.run(connection).await.map_err(|error| database.unavailable(error))? == 0 {
        return Ok(false);
    }
    run_together(granted.iter().copied(), database, connection).await?;
    run_each(&write, database, connection).await?;
    Ok(true)
}

async fn run_each(
    statements: &[Prepared],
    database: &Database,
    connection: &mut AnyConnection,
) -> Result<(), RecordsError> {
    for statement in statements {
        statement.run(connection).await.map_err(|error| database.unavailable(error))?;
    }
    Ok(())
}

/// Whether all of a request can be written as one text.
fn is_short(database: &Database, change: &Change) -> bool {
    database.kind() == DatabaseKind::Sqlite && change.writes.iter().all(Write::is_rows)
}

/// What was decided has not happened: the ledger goes back to `head`.
async fn undone(
    database: &Database,
    transaction: Transaction<'_, Any>,
    ledger: &mut Ledger,
    head: Head,
    tried: Tried,
) -> Result<Tried, RecordsError> {
    transaction.rollback().await.map_err(|error| database.unavailable(error))?;
    *ledger = Ledger::resume(head);
    Ok(tried)
}

fn events(changes: &[Change]) -> impl Iterator<Item = &Event> + Clone {
    changes.iter().flat_map(|change| &change.chain)
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
        written = write.clone().run(database, &mut part).await;
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

/// Waits until as many requests are here again as were answered, for `at_most`: whoever has more to ask asks as soon as it is
/// answered, and would else wait for a commit of the few who came first, and then for its own.
async fn gather(requests: &mpsc::Receiver<Request>, answered: usize, at_most: Duration) {
    let until = Instant::now() + at_most;
    yield_now().await;
    while requests.len() < answered && !requests.is_closed() && Instant::now() < until {
        yield_now().await;
    }
}

fn is_refused(answer: &Answer) -> bool {
    !answer.as_ref().is_ok_and(|outcomes| outcomes.iter().all(Result::is_ok))
}

//! The one writer: takes all requests that wait, applies them in order, commits them together, and only then answers.
//!
//! While a commit waits for the disk the next requests gather, so that the more callers there are, the more of them share
//! one fsync. No request waits for another to come.

use std::time::Duration;

use ledger::{ApplyError, Event, Head, Ledger, Outcome, Timestamp};
use sqlx::AnyConnection;
use tokio::{
    sync::{mpsc, oneshot},
    task::yield_now,
    time::{MissedTickBehavior, interval},
};

use crate::{database::Database, error::RecordsError, rows};

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
    pub(crate) chain: Vec<Event>,
    pub(crate) answer: oneshot::Sender<Answer>,
}

pub(crate) struct Writer<C> {
    database: Database,
    clock: C,
    /// What is known of the database; nothing after a failure, for then it may have written or not.
    state: Option<(AnyConnection, Ledger)>,
}

impl<C: Fn() -> Timestamp> Writer<C> {
    pub(crate) fn new(database: Database, clock: C) -> Self {
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
        let (chains, answers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|request| (request.chain, request.answer)).unzip();
        // Whoever no longer listens asks again, with the same ids.
        match self.commit(&chains).await {
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
            let chains: Vec<_> = due.into_iter().map(|hold| vec![Event::Expire(hold)]).collect();
            if !chains.is_empty() {
                let answers = self.commit(&chains).await?;
                for (chain, answer) in chains.iter().zip(answers).filter(|(_, answer)| is_refused(answer)) {
                    tracing::warn!(hold = ?chain, ?answer, "a hold that cannot be expired");
                }
            }
            Ok::<_, RecordsError>(())
        };
        if let Err(error) = swept.await {
            self.state = None;
            tracing::warn!(error = &error as &dyn std::error::Error, "expiring holds");
        }
    }

    async fn commit(&mut self, chains: &[Vec<Event>]) -> Result<Vec<Answer>, RecordsError> {
        for _ in 0..ATTEMPTS_MAX {
            let now = (self.clock)();
            let result = self.try_commit(now, chains).await;
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
    async fn try_commit(&mut self, now: Timestamp, chains: &[Vec<Event>]) -> Result<Option<Vec<Answer>>, RecordsError> {
        let database = self.database.clone();
        let (connection, ledger) = self.ready().await?;
        let before: Head = ledger.head();
        rows::load(&database, connection, ledger, chains).await?;
        let answers = chains.iter().map(|chain| {
            ledger.apply(now, chain).map_err(|error| match error {
                ApplyError::Missing(_) | ApplyError::Damaged(_) | ApplyError::Full => {
                    database.foreign(error.to_string())
                }
            })
        });
        let answers = answers.collect();
        let effects = ledger.take_effects();
        // Repetitions, and refusals that say nothing about the state, are answered from what is stored.
        let is_written = effects.entries.is_empty()
            || rows::write(&database, connection, &before, &effects)
                .await
                .map_err(|error| database.unavailable(error))?;
        Ok(is_written.then_some(answers))
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

fn is_refused(answer: &Answer) -> bool {
    !answer.as_ref().is_ok_and(|outcomes| outcomes.iter().all(Result::is_ok))
}

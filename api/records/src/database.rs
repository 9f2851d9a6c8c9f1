//! Connections to either database, its tables, and what its failures are called.

use std::{borrow::Cow, sync::Arc, time::Duration};

use sqlx::{
    AnyConnection, AnyPool, Connection, Executor,
    any::AnyPoolOptions,
    error::ErrorKind,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use crate::{
    error::RecordsError,
    url::{DatabaseKind, RecordsUrl},
};

const READERS_MAX: u32 = 4;
const ACQUIRE_MAX: Duration = Duration::from_secs(10);
const MIGRATE_TRIES_MAX: u32 = 10;

const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "ledger", include_str!("../migrations/0001_ledger.sql")),
    (2, "accounts", include_str!("../migrations/0002_accounts.sql")),
    (3, "open attempts", include_str!("../migrations/0003_open_attempts.sql")),
];

/// A database whose tables are those of this version.
#[derive(Clone)]
pub(crate) struct Database {
    url: RecordsUrl,
    /// For readers; the writer has a connection of its own.
    pub(crate) pool: AnyPool,
}

impl Database {
    pub(crate) async fn open(url: RecordsUrl) -> Result<Self, RecordsError> {
        sqlx::any::install_default_drivers();
        let kind = url.kind;
        let options = AnyPoolOptions::new().max_connections(READERS_MAX).acquire_timeout(ACQUIRE_MAX);
        let options = options.after_connect(move |connection, _| Box::pin(set_up(connection, kind)));
        let pool = options.connect_lazy(&url.url).map_err(|error| unavailable(&url.name, error))?;
        let database = Self { url, pool };
        database.migrate().await?;
        Ok(database)
    }

    /// Processes that begin at the same time all try to make the tables. PostgreSQL makes them wait; on SQLite all but one
    /// fail, and find the tables made when they try again.
    async fn migrate(&self) -> Result<(), RecordsError> {
        let migrator = migrator(self.url.kind);
        let mut tries = 1..=MIGRATE_TRIES_MAX;
        loop {
            let is_last = tries.next().is_none() || self.url.kind == DatabaseKind::Postgres;
            match migrator.run(&self.pool).await {
                Ok(()) => return Ok(()),
                Err(MigrateError::Execute(_) | MigrateError::ExecuteMigration(..)) if !is_last => {}
                Err(MigrateError::Execute(error)) => return Err(self.unavailable(error)),
                Err(source) => return Err(RecordsError::Schema { database: self.name(), source: Arc::new(source) }),
            }
        }
    }

    /// A connection that is nobody else's.
    pub(crate) async fn connect(&self) -> Result<AnyConnection, RecordsError> {
        let connected = async {
            let mut connection = AnyConnection::connect(&self.url.url).await?;
            set_up(&mut connection, self.url.kind).await?;
            Ok(connection)
        };
        connected.await.map_err(|error| self.unavailable(error))
    }

    /// Makes all reads of a transaction that has just begun see one moment; on SQLite they do.
    pub(crate) async fn freeze(&self, connection: &mut AnyConnection) -> Result<(), RecordsError> {
        if self.url.kind == DatabaseKind::Postgres {
            let frozen = connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await;
            frozen.map_err(|error| self.unavailable(error))?;
        }
        Ok(())
    }

    pub(crate) fn kind(&self) -> DatabaseKind {
        self.url.kind
    }

    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.url.name)
    }

    pub(crate) fn unavailable(&self, error: sqlx::Error) -> RecordsError {
        unavailable(&self.url.name, error)
    }

    /// A statement failed: by its values, or by the database.
    pub(crate) fn failed(&self, error: sqlx::Error) -> RecordsError {
        if is_about_values(&error) {
            RecordsError::Row { database: self.name(), source: Arc::new(error) }
        } else {
            self.unavailable(error)
        }
    }

    pub(crate) fn foreign(&self, what: impl Into<String>) -> RecordsError {
        RecordsError::Foreign { database: self.name(), what: what.into() }
    }
}

fn unavailable(name: &Arc<str>, error: sqlx::Error) -> RecordsError {
    RecordsError::Unavailable { database: Arc::clone(name), source: Arc::new(error) }
}

/// A bound of a table, or values that PostgreSQL cannot store (its class 22) or not together (21): the next statement may
/// succeed.
fn is_about_values(error: &sqlx::Error) -> bool {
    let is_of_class = |code: &str| code.starts_with("21") || code.starts_with("22");
    error.as_database_error().is_some_and(|error| {
        !matches!(error.kind(), ErrorKind::Other)
            || error.code().is_some_and(|code| code.len() == 5 && is_of_class(&code))
    })
}

/// What is answered is on the disk: a commit returns after fsync on both.
async fn set_up(connection: &mut AnyConnection, kind: DatabaseKind) -> Result<(), sqlx::Error> {
    let settings = match kind {
        // Pages that change in every commit are copied out of the log once in 16 MB, not once in four.
        DatabaseKind::Sqlite => {
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000"
        }
        DatabaseKind::Postgres => "SET synchronous_commit = on; SET statement_timeout = '30s'",
    };
    connection.execute(settings).await?;
    Ok(())
}

fn migrator(kind: DatabaseKind) -> Migrator {
    let migration = |(version, name, sql): &(i64, &'static str, &'static str)| {
        let sql = match kind {
            // The one word for which they have no common one.
            DatabaseKind::Sqlite => Cow::Owned(sql.replace("BYTEA", "BLOB")),
            DatabaseKind::Postgres => Cow::Borrowed(*sql),
        };
        Migration::new(*version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    };
    Migrator { migrations: MIGRATIONS.iter().map(migration).collect(), ..Migrator::DEFAULT }
}

#[cfg(test)]
mod tests {
    use sqlx::Row;

    use super::*;

    #[tokio::test]
    async fn a_commit_on_sqlite_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("records.db").display());
        let database = Database::open(RecordsUrl::parse(&url).unwrap()).await.unwrap();
        let mut connection = database.connect().await.unwrap();
        let mode = connection.fetch_one("PRAGMA journal_mode").await.unwrap();
        assert_eq!(mode.get::<String, _>(0), "wal");
        // 2 is FULL: the log is synchronised at each commit, and not only at its checkpoints.
        let synchronous = connection.fetch_one("PRAGMA synchronous").await.unwrap();
        assert_eq!(synchronous.get::<i64, _>(0), 2);
    }
}

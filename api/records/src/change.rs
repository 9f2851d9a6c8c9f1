//! What a request writes beside its events: statements with values, some of which must find what they expect.

use ledger::{Event, Micros, Timestamp};
use sqlx::AnyConnection;

use crate::{
    chart::{KeyId, UserId},
    database::Database,
    error::{Conflict, RecordsError},
    rows::{AnyQuery, placeholders, signed},
    text::Text,
};

/// Values of one statement: PostgreSQL takes 65,535, SQLite 32,766.
const VALUES_MAX: usize = 30_000;

/// A request: its writes and its events happen together or not at all.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) writes: Vec<Write>,
    pub(crate) chain: Vec<Event>,
}

/// One statement.
#[derive(Clone)]
pub(crate) struct Write {
    statement: Statement,
    values: Vec<Value>,
    /// Why the request is refused if no row is touched.
    guard: Option<Conflict>,
}

#[derive(Clone, Copy)]
enum Statement {
    One(&'static str),
    Rows(&'static Rows),
}

/// A statement over rows, `head VALUES … tail`, as many at once as there are.
pub(crate) struct Rows {
    pub(crate) head: &'static str,
    pub(crate) columns: usize,
    pub(crate) tail: &'static str,
}

/// A statement that can be run.
pub(crate) struct Prepared {
    pub(crate) sql: String,
    pub(crate) values: Vec<Value>,
    /// How many rows it touches at most.
    pub(crate) rows: u64,
}

/// A value of a column.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Number(Option<i64>),
    Text(Option<String>),
    Bytes(Vec<u8>),
}

impl Change {
    pub(crate) fn new(writes: Vec<Write>, chain: Vec<Event>) -> Self {
        Self { writes, chain }
    }
}

impl Write {
    pub(crate) fn new(sql: &'static str) -> Self {
        Self { statement: Statement::One(sql), values: Vec::new(), guard: None }
    }

    pub(crate) fn rows(rows: &'static Rows) -> Self {
        Self { statement: Statement::Rows(rows), values: Vec::with_capacity(rows.columns), guard: None }
    }

    /// The next value, in the order of the statement's places.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Refuses the request if the statement touches no row.
    pub(crate) fn or(mut self, conflict: Conflict) -> Self {
        self.guard = Some(conflict);
        self
    }

    /// Makes what this request changes known to [`crate::Keys::changes`]: the statements of the request take the number that
    /// is in the table now. Requests come one after the other, also those of other processes, so that whoever has seen a
    /// number has seen all below it.
    pub(crate) fn next_version() -> Self {
        Self::new("UPDATE counters SET value = value + 1 WHERE name = 'version'")
    }

    /// Whether it may refuse its request.
    pub(crate) fn is_guarded(&self) -> bool {
        self.guard.is_some()
    }

    /// Whether it is rows.
    pub(crate) fn is_rows(&self) -> bool {
        matches!(self.statement, Statement::Rows(_))
    }

    /// Whether it can be run in one statement with others of its kind, or at any time.
    pub(crate) fn is_free(&self) -> bool {
        self.is_rows() || self.guard.is_none()
    }

    pub(crate) async fn run(self, database: &Database, connection: &mut AnyConnection) -> Result<(), RecordsError> {
        let guard = self.guard;
        let touched = self.prepare(database).run(connection).await.map_err(|error| database.failed(error))?;
        match guard {
            Some(conflict) if touched == 0 => Err(RecordsError::Conflict(conflict)),
            _ => Ok(()),
        }
    }

    fn prepare(self, database: &Database) -> Prepared {
        let sql = match self.statement {
            Statement::One(sql) => sql.to_owned(),
            Statement::Rows(Rows { head, columns, tail }) => {
                let values = placeholders(database, self.values.len() / columns, *columns);
                format!("{head} VALUES {values} {tail}")
            }
        };
        Prepared { sql, rows: self.rows_written(), values: self.values }
    }

    fn rows_written(&self) -> u64 {
        match self.statement {
            Statement::One(_) => 1,
            Statement::Rows(rows) => (self.values.len() / rows.columns) as u64,
        }
    }

    /// Whether both are rows for the same statement.
    fn is_like(&self, other: &Self) -> bool {
        match (&self.statement, &other.statement) {
            (Statement::Rows(rows), Statement::Rows(others)) => std::ptr::eq(rows, others),
            _ => false,
        }
    }
}

impl Prepared {
    /// How many rows it touched.
    pub(crate) async fn run(&self, connection: &mut AnyConnection) -> Result<u64, sqlx::Error> {
        let done = bound(sqlx::query(&self.sql), &self.values).execute(connection).await;
        done.map(|done| done.rows_affected())
    }
}

/// Runs the writes of several requests, all of them free, with as few statements as there are kinds of rows.
///
/// # Errors
/// Also if a guard touches no row, and nobody says whose: then they are to be run one by one.
pub(crate) async fn run_together<'c>(
    changes: impl Iterator<Item = &'c Change>,
    database: &Database,
    connection: &mut AnyConnection,
) -> Result<(), RecordsError> {
    for write in gathered(changes) {
        let guard = write.guard;
        let prepared = write.prepare(database);
        let touched = prepared.run(connection).await.map_err(|error| database.failed(error))?;
        match guard {
            Some(conflict) if touched < prepared.rows => return Err(conflict.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Runs the writes of one request, all of them rows, behind `first` and before `last` as one text of several statements:
/// SQLite runs them on a thread of its own, and most of the time of a small commit goes into waking it. Only SQLite takes such a
/// text, and says no more than how many rows were touched by all: `false` if these are not all that there are.
///
/// # Errors
/// If a statement fails.
pub(crate) async fn run_at_once(
    first: Prepared,
    change: &Change,
    last: Vec<Prepared>,
    database: &Database,
    connection: &mut AnyConnection,
) -> Result<bool, RecordsError> {
    let writes = change.writes.iter().cloned().map(|write| write.prepare(database));
    let mut all = Prepared { sql: String::new(), values: Vec::new(), rows: 0 };
    for Prepared { sql, values, rows } in [first].into_iter().chain(writes).chain(last) {
        all.sql.push_str(&sql);
        all.sql.push(';');
        all.values.extend(values);
        all.rows += rows;
    }
    let touched = all.run(connection).await.map_err(|error| database.failed(error))?;
    Ok(touched == all.rows)
}

/// One write for all rows of a kind, as far as a statement can have so many values.
fn gathered<'c>(changes: impl Iterator<Item = &'c Change>) -> Vec<Write> {
    let mut gathered: Vec<Write> = Vec::new();
    for write in changes.flat_map(|change| &change.writes) {
        let room = VALUES_MAX - write.values.len();
        match gathered.iter_mut().find(|other| other.is_like(write) && other.values.len() <= room) {
            Some(other) => other.values.extend_from_slice(&write.values),
            None => gathered.push(write.clone()),
        }
    }
    gathered
}

/// A query with its values.
pub(crate) fn bound<'q>(query: AnyQuery<'q>, values: &'q [Value]) -> AnyQuery<'q> {
    values.iter().fold(query, |query, value| match value {
        Value::Number(number) => query.bind(*number),
        Value::Text(text) => query.bind(text.as_deref()),
        Value::Bytes(bytes) => query.bind(bytes.as_slice()),
    })
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(Some(signed(number)))
    }
}

impl From<Option<u64>> for Value {
    fn from(number: Option<u64>) -> Self {
        Self::Number(number.map(signed))
    }
}

impl From<Micros> for Value {
    fn from(micros: Micros) -> Self {
        micros.get().into()
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        time.nanos().into()
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(time: Option<Timestamp>) -> Self {
        time.map(Timestamp::nanos).into()
    }
}

impl From<UserId> for Value {
    fn from(user: UserId) -> Self {
        user.0.into()
    }
}

impl From<KeyId> for Value {
    fn from(key: KeyId) -> Self {
        key.0.into()
    }
}

impl From<Option<KeyId>> for Value {
    fn from(key: Option<KeyId>) -> Self {
        key.map(|key| key.0).into()
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl<const MAX: usize> From<&Text<MAX>> for Value {
    fn from(text: &Text<MAX>) -> Self {
        text.as_str().into()
    }
}

impl<const MAX: usize> From<Option<&Text<MAX>>> for Value {
    fn from(text: Option<&Text<MAX>>) -> Self {
        text.map(Text::as_str).into()
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<&[u8; 32]> for Value {
    fn from(bytes: &[u8; 32]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

//! What a request writes beside its events: statements with values, some of which must find what they expect.

use std::borrow::Cow;

use ledger::{Event, Micros, Timestamp};
use sqlx::AnyConnection;

use crate::{
    chart::{KeyId, UserId},
    database::Database,
    error::{Conflict, RecordsError},
    rows::{AnyQuery, signed},
    text::Text,
};

/// A request: its writes and its events happen together or not at all.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) writes: Vec<Write>,
    pub(crate) chain: Vec<Event>,
}

/// One statement.
pub(crate) struct Write {
    sql: Cow<'static, str>,
    values: Vec<Value>,
    /// Why the request is refused if no row is touched.
    guard: Option<Conflict>,
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
    pub(crate) fn new(sql: impl Into<Cow<'static, str>>) -> Self {
        Self { sql: sql.into(), values: Vec::new(), guard: None }
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

    pub(crate) async fn run(&self, database: &Database, connection: &mut AnyConnection) -> Result<(), RecordsError> {
        let done = bound(sqlx::query(&self.sql), &self.values).execute(connection).await;
        let touched = done.map_err(|error| database.failed(error))?.rows_affected();
        match self.guard {
            Some(conflict) if touched == 0 => Err(RecordsError::Conflict(conflict)),
            _ => Ok(()),
        }
    }
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

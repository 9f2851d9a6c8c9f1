//! Reads the columns of a row. What cannot be what this crate wrote is [`RecordsError::Foreign`].

use ledger::{Micros, Timestamp};
use sqlx::{Any, Decode, Row, Type, any::AnyRow};

use crate::{
    chart::{KeyId, UserId},
    database::Database,
    error::RecordsError,
    text::Text,
};

/// A row and where it comes from.
pub(crate) struct Fields<'r> {
    database: &'r Database,
    row: &'r AnyRow,
}

impl<'r> Fields<'r> {
    pub(crate) fn new(database: &'r Database, row: &'r AnyRow) -> Self {
        Self { database, row }
    }

    pub(crate) fn number(&self, column: &str) -> Result<u64, RecordsError> {
        self.maybe_number(column)?.ok_or_else(|| self.wrong(column))
    }

    pub(crate) fn maybe_number(&self, column: &str) -> Result<Option<u64>, RecordsError> {
        let number = self.get::<Option<i64>>(column)?;
        number.map(|number| u64::try_from(number).map_err(|_| self.wrong(column))).transpose()
    }

    pub(crate) fn small<T: TryFrom<u64>>(&self, column: &str) -> Result<T, RecordsError> {
        self.number(column)?.try_into().map_err(|_| self.wrong(column))
    }

    pub(crate) fn signed(&self, column: &str) -> Result<i64, RecordsError> {
        self.get(column)
    }

    pub(crate) fn micros(&self, column: &str) -> Result<Micros, RecordsError> {
        Micros::new(self.number(column)?).ok_or_else(|| self.wrong(column))
    }

    pub(crate) fn maybe_micros(&self, column: &str) -> Result<Option<Micros>, RecordsError> {
        Ok(self.maybe_number(column)?.and_then(Micros::new))
    }

    pub(crate) fn time(&self, column: &str) -> Result<Timestamp, RecordsError> {
        Timestamp::new(self.number(column)?).ok_or_else(|| self.wrong(column))
    }

    pub(crate) fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, RecordsError> {
        Ok(self.maybe_number(column)?.and_then(Timestamp::new))
    }

    pub(crate) fn user(&self, column: &str) -> Result<UserId, RecordsError> {
        self.number(column).map(UserId)
    }

    pub(crate) fn maybe_key(&self, column: &str) -> Result<Option<KeyId>, RecordsError> {
        Ok(self.maybe_number(column)?.map(KeyId))
    }

    pub(crate) fn text<const MAX: usize>(&self, column: &str) -> Result<Text<MAX>, RecordsError> {
        Text::new(self.get::<String>(column)?).map_err(|_| self.wrong(column))
    }

    pub(crate) fn maybe_text<const MAX: usize>(&self, column: &str) -> Result<Option<Text<MAX>>, RecordsError> {
        let text = self.get::<Option<String>>(column)?;
        text.map(|text| Text::new(text).map_err(|_| self.wrong(column))).transpose()
    }

    pub(crate) fn string(&self, column: &str) -> Result<String, RecordsError> {
        self.get(column)
    }

    pub(crate) fn bytes(&self, column: &str) -> Result<Vec<u8>, RecordsError> {
        self.get(column)
    }

    pub(crate) fn hash(&self, column: &str) -> Result<[u8; 32], RecordsError> {
        self.bytes(column)?.try_into().map_err(|_| self.wrong(column))
    }

    pub(crate) fn wrong(&self, column: &str) -> RecordsError {
        self.database.foreign(format!("no valid {column}"))
    }

    fn get<T: Decode<'r, Any> + Type<Any>>(&self, column: &str) -> Result<T, RecordsError> {
        self.row.try_get(column).map_err(|error| self.database.foreign(error.to_string()))
    }
}

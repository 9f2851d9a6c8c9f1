//! The embedded store: one redb file.
//!
//! A batch is one transaction. Its commit returns after fsync, in two phases, and carries the allocator's state, so that a
//! file whose process was killed opens at once, whatever its size. One process at a time has the file open.

mod read;
mod write;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use redb::{Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition};

use crate::{access::Keep, error::StoreError};

/// Sources by name, and their numbers in the keys of the other tables.
const SOURCES: TableDefinition<'_, &str, u32> = TableDefinition::new("sources");
/// Which intervals of a source there are: (source, interval).
const SERIES: TableDefinition<'_, (u32, u8), ()> = TableDefinition::new("series");
/// (source, interval, open time) → encoded candle.
const CANDLES: TableDefinition<'_, (u32, u8, i64), &[u8]> = TableDefinition::new("candles");
/// (source, time, id) → encoded trade.
const TRADES: TableDefinition<'_, (u32, i64, u64), &[u8]> = TableDefinition::new("trades");
/// How many trades of a source there are.
const COUNTS: TableDefinition<'_, u32, u64> = TableDefinition::new("trade_counts");
/// Positions and values.
const VALUES: TableDefinition<'_, &str, &str> = TableDefinition::new("values");

/// How this file is laid out; a file of another layout is refused.
const LAYOUT: &str = "1";

/// How the system says that there is no room.
const FULL: [io::ErrorKind; 3] =
    [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];

/// Memory for pages of the file.
const CACHE_BYTES: usize = 64 << 20;

/// Candles in a redb file.
pub struct Embedded {
    path: PathBuf,
    keep: Keep,
    opened: RwLock<Opened>,
}

/// The open file. Calls share it; who opens it anew waits until they have ended, since it cannot be open twice.
#[derive(Default)]
struct Opened {
    /// `None` after a failure of the disk: redb then wants to be opened anew, which the next call does.
    database: Option<Database>,
    /// How often it was opened, so that a late failure does not close its successor.
    times: u64,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Embedded {
    pub(crate) fn open(path: PathBuf, keep: Keep) -> Result<Self, StoreError> {
        let store = Self { path, keep, opened: RwLock::default() };
        drop(store.opened()?);
        Ok(store)
    }

    fn opened(&self) -> Result<RwLockReadGuard<'_, Opened>, StoreError> {
        loop {
            let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
            if opened.database.is_some() {
                return Ok(opened);
            }
            drop(opened);
            let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
            if opened.database.is_none() {
                opened.database = Some(self.open_file()?);
                opened.times += 1;
            }
        }
    }

    fn open_file(&self) -> Result<Database, StoreError> {
        if !self.path.exists() {
            self.create_file()?;
        }
        let database = self.open_at(&self.path).map_err(|error| self.not_opened(error))?;
        // A file that has its tables is opened without writing: its disk may be full.
        match layout(&database).map_err(|error| self.failed(error))?.as_deref() {
            None => prepare(&database).map_err(|error| self.failed(error))?,
            Some(LAYOUT) => {}
            Some(found) => return Err(self.foreign(format!("layout {found:?}, not {LAYOUT:?}"))),
        }
        Ok(database)
    }

    /// Creates the file under another name and gives it its own once it is whole: a process that is killed while redb lays
    /// out a new file leaves one that redb does not know again.
    fn create_file(&self) -> Result<(), StoreError> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| self.failed(error.into()))?;
        let mut draft = self.path.clone().into_os_string();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        let database = match self.open_at(&draft) {
            Err(DatabaseError::Storage(StorageError::Io(error))) if error.kind() == io::ErrorKind::InvalidData => {
                fs::remove_file(&draft).map_err(|error| self.failed(error.into()))?;
                self.open_at(&draft)
            }
            opened => opened,
        };
        let database = database.map_err(|error| self.not_opened(error))?;
        prepare(&database).map_err(|error| self.failed(error))?;
        drop(database);
        // The name has to survive a power cut as well.
        let named = fs::rename(&draft, &self.path).and_then(|()| File::open(folder)?.sync_all());
        named.map_err(|error| self.failed(error.into()))
    }

    fn open_at(&self, path: &Path) -> Result<Database, DatabaseError> {
        Database::builder().set_cache_size(CACHE_BYTES).create(path)
    }

    fn not_opened(&self, error: DatabaseError) -> StoreError {
        match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse { path: self.path.clone() },
            DatabaseError::UpgradeRequired(version) => self.foreign(format!("redb file format {version}")),
            other => self.failed(other.into()),
        }
    }

    /// Runs `call`. After a failure of the disk the file is opened anew by the next call, and by this one if the failure
    /// was that of another call.
    fn run<T>(&self, call: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let mut is_again = false;
        loop {
            let opened = self.opened()?;
            let times = opened.times;
            let outcome = opened.database.as_ref().map_or(Err(redb::Error::PreviousIo), &call);
            drop(opened);
            let error = match outcome {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let is_late = matches!(error, redb::Error::PreviousIo);
            if is_late || matches!(error, redb::Error::Io(_) | redb::Error::LockPoisoned(_)) {
                let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
                if opened.times == times {
                    opened.database = None;
                }
            }
            if is_again || !is_late {
                return Err(self.failed(error));
            }
            is_again = true;
        }
    }

    fn failed(&self, error: redb::Error) -> StoreError {
        match error {
            redb::Error::Corrupted(what) => self.foreign(what),
            redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => self.foreign(source.to_string()),
            redb::Error::Io(source) if FULL.contains(&source.kind()) => {
                StoreError::Full { path: self.path.clone(), source }
            }
            redb::Error::Io(source) => self.unavailable(source),
            redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. } => {
                self.foreign(error.to_string())
            }
            other => self.unavailable(other),
        }
    }

    fn unavailable(&self, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
        StoreError::Unavailable { store: self.path.display().to_string(), source: Box::new(source) }
    }

    fn foreign(&self, what: String) -> StoreError {
        StoreError::Foreign { store: self.path.display().to_string(), what }
    }
}

/// Creates the tables, so that reads need not ask whether they exist. The layout is written with them.
fn prepare(database: &Database) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    write.open_table(SOURCES)?;
    write.open_table(SERIES)?;
    write.open_table(CANDLES)?;
    write.open_table(TRADES)?;
    write.open_table(COUNTS)?;
    write.open_table(VALUES)?.insert("layout", LAYOUT)?;
    Ok(write.commit()?)
}

/// Which layout a file has; none if it is new.
fn layout(database: &Database) -> Result<Option<String>, redb::Error> {
    match database.begin_read()?.open_table(VALUES) {
        Ok(values) => Ok(values.get("layout")?.map(|text| text.value().to_owned())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A row that this version cannot read.
fn unreadable(what: &str) -> redb::Error {
    StorageError::Corrupted(format!("a {what} that cannot be read")).into()
}

//! What must outlive a kill of the process: batches are noted in a file before anybody is told of them, and stored after.
//!
//! An append is one `write` without fsync, a few microseconds: the bytes belong to the system then, and a killed process loses
//! none of them. A power cut may, as it may lose what no store had synced yet. Once a file is large, a [`Rotation`] puts the
//! next one in its place and deletes it when all of its batches are stored.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use crate::{
    batch::Batch,
    spill::{self, SpillError, failed_at},
};

/// From which size on a file is replaced.
const FILE_BYTES: u64 = 4 << 20;
/// The largest file: reached only while neither the store nor the spill folder takes anything.
const FILE_BYTES_MAX: u64 = 256 << 20;
const ENDING: &str = "journal";

/// What both ends know of the file that is written.
#[derive(Debug, Default)]
struct Shared {
    number: AtomicU64,
    bytes: AtomicU64,
}

/// The writing end. It belongs to one thread.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    file: File,
    bytes: u64,
    next: Receiver<(u64, File)>,
    shared: Arc<Shared>,
    lane: usize,
}

/// The end that replaces files.
#[derive(Debug)]
pub struct Rotation {
    folder: PathBuf,
    lane: usize,
    /// The oldest file that is left.
    oldest: u64,
    /// The newest file.
    number: u64,
    next: SyncSender<(u64, File)>,
    shared: Arc<Shared>,
}

impl Journal {
    /// A new file of `lane` in `folder`, which is created; each writer has a lane of its own. Files of earlier runs stay as they are.
    ///
    /// # Errors
    /// [`SpillError`] if the folder cannot be used.
    pub fn open(folder: &Path, lane: usize) -> Result<(Self, Rotation), SpillError> {
        fs::create_dir_all(folder).map_err(failed_at(folder))?;
        let earlier = paths(folder)?;
        let number = |path: &PathBuf| path.file_stem()?.to_str()?.split_once('-')?.1.parse::<u64>().ok();
        let number = earlier.iter().filter_map(number).max().unwrap_or(0) + 1;
        let file = create(folder, lane, number)?;
        let (sender, next) = sync_channel(1);
        let shared = Arc::new(Shared { number: AtomicU64::new(number), bytes: AtomicU64::new(0) });
        let journal = Self { folder: folder.into(), file, bytes: 0, next, shared: Arc::clone(&shared), lane };
        Ok((journal, Rotation { folder: folder.into(), lane, oldest: number, number, next: sender, shared }))
    }

    /// Notes a batch. Hand it to the writer afterwards, before the next append.
    ///
    /// # Errors
    /// [`SpillError`] if the disk is full or fails, or the file has reached its bound; it is then as it was before.
    pub fn append(&mut self, batch: &Batch) -> Result<(), SpillError> {
        if let Ok((number, file)) = self.next.try_recv() {
            (self.file, self.bytes) = (file, 0);
            self.shared.number.store(number, Ordering::Release);
        }
        let framed = spill::framed(&batch.encode());
        if self.bytes + framed.len() as u64 > FILE_BYTES_MAX {
            return Err(SpillError::Full { folder: self.folder.clone(), bytes: self.bytes });
        }
        if let Err(source) = self.file.write_all(&framed) {
            // Half a record ends what can be read: away with it.
            let _ = self.file.set_len(self.bytes).and_then(|()| self.file.seek(SeekFrom::Start(self.bytes)));
            let number = self.shared.number.load(Ordering::Relaxed);
            return Err(SpillError::Io { path: path(&self.folder, self.lane, number), source });
        }
        self.bytes += framed.len() as u64;
        self.shared.bytes.store(self.bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Rotation {
    /// Whether the file has grown so large that another should follow.
    pub fn is_due(&self) -> bool {
        self.is_switched() && self.shared.bytes.load(Ordering::Relaxed) >= FILE_BYTES
    }

    /// Offers the writing end its next file.
    ///
    /// # Errors
    /// [`SpillError`] if it cannot be created.
    pub fn begin(&mut self) -> Result<(), SpillError> {
        let number = self.number + 1;
        let file = create(&self.folder, self.lane, number)?;
        if self.next.try_send((number, file)).is_ok() {
            self.number = number;
        }
        Ok(())
    }

    /// Whether the writing end has gone over to the newest file: what stands in those before it was handed to the writer.
    fn is_switched(&self) -> bool {
        self.shared.number.load(Ordering::Acquire) == self.number
    }

    /// Whether the writing end has left a file that is still there: it may go once its batches are stored.
    pub fn has_left(&self) -> bool {
        self.oldest < self.number && self.is_switched()
    }

    /// What stands in the files before the newest one.
    ///
    /// # Errors
    /// [`SpillError`] if one cannot be read.
    pub fn left(&self) -> Result<Vec<Batch>, SpillError> {
        let mut batches = Vec::new();
        for number in self.oldest..self.number {
            batches.extend(read(&path(&self.folder, self.lane, number))?);
        }
        Ok(batches)
    }

    /// Deletes the files before the newest one: everything in them is stored.
    pub fn discard(&mut self) {
        for number in self.oldest..self.number {
            // One that cannot be deleted is stored again after the next start: that changes nothing.
            let _ = fs::remove_file(path(&self.folder, self.lane, number));
        }
        self.oldest = self.number;
    }
}

/// The files that an earlier run left in `folder`, oldest first, with what can be read of each. Delete them once it is stored.
///
/// # Errors
/// [`SpillError`] if the folder cannot be read.
pub fn recover(folder: &Path) -> Result<Vec<(PathBuf, Vec<Batch>)>, SpillError> {
    paths(folder)?.into_iter().map(|path| Ok((path.clone(), read(&path)?))).collect()
}

/// All whole batches of a file.
fn read(path: &Path) -> Result<Vec<Batch>, SpillError> {
    let failed = failed_at(path);
    let mut file = File::open(path).map_err(&failed)?;
    let mut batches = Vec::new();
    while let Some(record) = spill::read_record(&mut file).map_err(&failed)? {
        batches.extend(Batch::decode(&record));
    }
    Ok(batches)
}

/// The files in `folder`, by lane, then age; none if there is no such folder.
fn paths(folder: &Path) -> Result<Vec<PathBuf>, SpillError> {
    let mut paths = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(paths),
        entries => entries.map_err(failed_at(folder))?,
    };
    for entry in entries {
        let path = entry.map_err(failed_at(folder))?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn path(folder: &Path, lane: usize, number: u64) -> PathBuf {
    folder.join(format!("{lane:03}-{number:08}.{ENDING}"))
}

fn create(folder: &Path, lane: usize, number: u64) -> Result<File, SpillError> {
    let path = path(folder, lane, number);
    OpenOptions::new().write(true).create(true).truncate(true).open(&path).map_err(failed_at(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: usize) -> Batch {
        let mut batch = Batch::new();
        batch.value(&format!("n{number}"), "x").unwrap();
        batch
    }

    fn left(folder: &Path) -> Vec<Batch> {
        recover(folder).unwrap().into_iter().flat_map(|(_, batches)| batches).collect()
    }

    #[test]
    fn what_was_noted_is_there_after_a_kill_but_for_a_torn_end() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _rotation) = Journal::open(folder.path(), 0).unwrap();
        (0..5).for_each(|number| journal.append(&batch(number)).unwrap());
        assert_eq!(left(folder.path()), (0..5).map(batch).collect::<Vec<_>>());
        let file = paths(folder.path()).unwrap().remove(0);
        let length = fs::metadata(&file).unwrap().len();
        OpenOptions::new().write(true).open(&file).unwrap().set_len(length - 1).unwrap();
        let (mut next, _rotation) = Journal::open(folder.path(), 0).unwrap();
        next.append(&batch(9)).unwrap();
        assert_eq!(left(folder.path()), [0, 1, 2, 3, 9].map(batch), "a new run leaves the file of the last one alone");
    }

    #[test]
    fn a_file_goes_only_after_the_writing_end_has_left_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, mut rotation) = Journal::open(folder.path(), 7).unwrap();
        journal.append(&batch(0)).unwrap();
        rotation.begin().unwrap();
        assert!(!rotation.has_left() && !rotation.is_due());
        assert_eq!(left(folder.path()), [batch(0)]);
        journal.append(&batch(1)).unwrap();
        assert!(rotation.has_left());
        rotation.discard();
        assert_eq!(left(folder.path()), [batch(1)]);
    }
}

//! The spill file: batches that the store could not take yet, in their order, on the local disk.
//!
//! A folder of segments `00000001.spill`, appended to at the end and read from the front; a segment is deleted once all
//! of it is stored, so the folder shrinks while it is drained. A record is its length and CRC-32 (four bytes each, lowest
//! first) and its bytes. An append returns after fsync. What a crash left unfinished at the end of a segment is cut off.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// The longest record that is written or read.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;
const HEAD_BYTES: u64 = 8;

/// Where batches wait, and how many bytes of them.
#[derive(Clone, Debug)]
pub struct SpillConfig {
    /// The folder; it is created. One writer at a time may use it.
    pub folder: PathBuf,
    /// The most bytes of all segments together.
    pub bytes_max: u64,
    /// At which size a segment is ended.
    pub segment_bytes: u64,
}

impl SpillConfig {
    /// Up to 1 GiB in `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), bytes_max: 1 << 30, segment_bytes: 8 << 20 }
    }
}

/// A batch could not be put into the spill folder.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// The bound of the configuration is reached.
    #[error("{folder} holds {bytes} bytes, its bound")]
    Full {
        /// The folder.
        folder: PathBuf,
        /// How much it holds.
        bytes: u64,
    },
    /// Another writer, here or in another process, has the folder.
    #[error("{folder} is in use by another writer")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk is full, or fails.
    #[error("cannot write {path}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    /// Its valid part.
    bytes: u64,
}

/// The open spill folder.
#[derive(Debug)]
pub(crate) struct Spill {
    config: SpillConfig,
    /// Locked as long as the folder is used; the system unlocks it when the process ends, however it ends.
    _lock: File,
    /// Oldest first; the last one is appended to if `tail` is open.
    segments: VecDeque<Segment>,
    next_number: u64,
    tail: Option<File>,
    head: Option<File>,
    /// How far the first segment is stored.
    stored: u64,
    /// Where the record that was read last ends.
    read: u64,
    /// Bytes of all segments.
    bytes: u64,
    /// Bytes that were cut off because they were no whole record.
    pub(crate) torn_bytes: u64,
}

impl Spill {
    pub(crate) fn open(config: SpillConfig) -> Result<Self, SpillError> {
        let failed = failed_at(&config.folder);
        fs::create_dir_all(&config.folder).map_err(&failed)?;
        let lock = File::create(config.folder.join("lock")).map_err(&failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => SpillError::InUse { folder: config.folder.clone() },
            TryLockError::Error(source) => failed(source),
        })?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&config.folder).map_err(&failed)? {
            let path = entry.map_err(&failed)?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
            if let (Some(number), Some("spill")) = (number, path.extension().and_then(|ending| ending.to_str())) {
                numbers.push((number, path));
            }
        }
        numbers.sort();
        let next_number = numbers.last().map_or(1, |(number, _)| number + 1);
        let mut spill = Self {
            config,
            _lock: lock,
            segments: VecDeque::new(),
            next_number,
            tail: None,
            head: None,
            stored: 0,
            read: 0,
            bytes: 0,
            torn_bytes: 0,
        };
        for (_, path) in numbers {
            spill.take_over(path)?;
        }
        Ok(spill)
    }

    /// Takes over a segment of an earlier run and cuts off what is no whole record.
    fn take_over(&mut self, path: PathBuf) -> Result<(), SpillError> {
        let failed = failed_at(&path);
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(&failed)?;
        let length = file.metadata().map_err(&failed)?.len();
        let mut bytes = 0;
        while let Some(record) = read_record(&mut file).map_err(&failed)? {
            bytes += HEAD_BYTES + record.len() as u64;
        }
        if bytes < length {
            self.torn_bytes += length - bytes;
            file.set_len(bytes).and_then(|()| file.sync_data()).map_err(&failed)?;
        }
        if bytes == 0 {
            return fs::remove_file(&path).map_err(&failed);
        }
        self.bytes += bytes;
        self.segments.push_back(Segment { path, bytes });
        Ok(())
    }

    /// Bytes that wait, those of a segment that is stored in part included.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Appends a record; it is on the disk when this returns. After an error the folder is as it was before.
    pub(crate) fn append(&mut self, record: &[u8]) -> Result<(), SpillError> {
        let added = HEAD_BYTES + record.len() as u64;
        if self.bytes + added > self.config.bytes_max || record.len() > RECORD_BYTES_MAX {
            return Err(SpillError::Full { folder: self.config.folder.clone(), bytes: self.bytes });
        }
        let is_new = self.tail.is_none();
        if is_new {
            self.begin()?;
        }
        let (Some(tail), Some(segment)) = (self.tail.as_mut(), self.segments.back_mut()) else { return Ok(()) };
        let framed = framed(record);
        if let Err(source) = tail.write_all(&framed).and_then(|()| tail.sync_data()) {
            let path = segment.path.clone();
            // Half a record, or one that may not be on the disk: away with it. If even that fails, nothing more is
            // appended behind it, and it is cut off when it is read.
            let cut = tail.set_len(segment.bytes).and_then(|()| tail.seek(SeekFrom::Start(segment.bytes)));
            if cut.is_err() || is_new {
                self.end();
            }
            return Err(SpillError::Io { path, source });
        }
        segment.bytes += added;
        self.bytes += added;
        if segment.bytes >= self.config.segment_bytes {
            self.tail = None;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), SpillError> {
        let path = self.config.folder.join(format!("{:08}.spill", self.next_number));
        let failed = failed_at(&path);
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(&failed)?;
        self.next_number += 1;
        // The name has to survive a power cut as well.
        sync_folder(&self.config.folder).map_err(&failed)?;
        self.tail = Some(file);
        self.segments.push_back(Segment { path, bytes: 0 });
        Ok(())
    }

    /// Ends the segment that is appended to, and drops it if nothing is in it.
    fn end(&mut self) {
        self.tail = None;
        if self.segments.back().is_some_and(|segment| segment.bytes == 0)
            && let Some(segment) = self.segments.pop_back()
        {
            let _ = fs::remove_file(&segment.path);
            if self.segments.is_empty() {
                (self.head, self.stored, self.read) = (None, 0, 0);
            }
        }
    }

    /// The oldest records that are not stored: one, and more of its segment up to `bytes_max` together. The same come again
    /// until [`Self::pop`].
    pub(crate) fn peek(&mut self, bytes_max: usize) -> Result<Vec<Vec<u8>>, SpillError> {
        while let Some(segment) = self.segments.front() {
            let failed = failed_at(&segment.path);
            let mut head = match self.head.take() {
                Some(head) => head,
                None => File::open(&segment.path).map_err(&failed)?,
            };
            head.seek(SeekFrom::Start(self.stored)).map_err(&failed)?;
            let (mut records, mut bytes) = (Vec::new(), 0);
            self.read = self.stored;
            while self.read < segment.bytes && (records.is_empty() || bytes < bytes_max) {
                let Some(record) = read_record(&mut head).map_err(&failed)? else { break };
                self.read += HEAD_BYTES + record.len() as u64;
                bytes += record.len();
                records.push(record);
            }
            if !records.is_empty() {
                self.head = Some(head);
                return Ok(records);
            }
            // They were whole when they were written or taken over: the disk lost them since.
            self.torn_bytes += segment.bytes - self.stored;
            tracing::error!(path = %segment.path.display(), "a spilled record cannot be read any more");
            self.drop_first();
        }
        Ok(Vec::new())
    }

    /// The records of the last [`Self::peek`] are stored.
    pub(crate) fn pop(&mut self) {
        self.stored = self.stored.max(self.read);
        if self.segments.front().is_some_and(|segment| self.stored >= segment.bytes) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some(segment) = self.segments.pop_front() else { return };
        if self.segments.is_empty() {
            self.tail = None;
        }
        (self.head, self.stored, self.read) = (None, 0, 0);
        self.bytes = self.bytes.saturating_sub(segment.bytes);
        // If it cannot be deleted, it is stored again after the next start: that changes nothing.
        if let Err(error) = fs::remove_file(&segment.path) {
            tracing::warn!(path = %segment.path.display(), %error, "a spill file that is stored cannot be deleted");
        }
    }
}

/// A record as it stands in a file.
pub(crate) fn framed(record: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(record.len() + 8);
    framed.extend_from_slice(&(record.len() as u32).to_le_bytes());
    framed.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
    framed.extend_from_slice(record);
    framed
}

/// The next whole record, `None` at the end or where no whole record stands.
pub(crate) fn read_record(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 8];
    if !filled(file, &mut head)? {
        return Ok(None);
    }
    let [a, b, c, d, crc @ ..] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > RECORD_BYTES_MAX {
        return Ok(None);
    }
    let mut record = Vec::new();
    file.take(length as u64).read_to_end(&mut record)?;
    let is_whole = record.len() == length && crc32fast::hash(&record) == u32::from_le_bytes(crc);
    Ok(is_whole.then_some(record))
}

fn filled(file: &mut File, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(crate) fn failed_at(path: &Path) -> impl Fn(io::Error) -> SpillError + use<> {
    let path = path.to_owned();
    move |source| SpillError::Io { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> SpillConfig {
        SpillConfig { folder: folder.to_owned(), bytes_max: 400, segment_bytes: 60 }
    }

    fn drain(spill: &mut Spill) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        loop {
            let more = spill.peek(30).unwrap();
            if more.is_empty() {
                return records;
            }
            records.extend(more);
            spill.pop();
        }
    }

    #[test]
    fn records_come_back_in_order_also_after_a_restart_and_their_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(config(folder.path())).unwrap();
        for number in 0..6_u8 {
            spill.append(&[number; 20]).unwrap();
        }
        assert_eq!(spill.peek(0).unwrap(), [vec![0; 20]]);
        spill.pop();
        drop(spill);
        // What was stored but stands in a file with others comes again: writing it twice changes nothing.
        let mut spill = Spill::open(config(folder.path())).unwrap();
        spill.append(&[6; 20]).unwrap();
        assert_eq!(drain(&mut spill), (0..7_u8).map(|number| vec![number; 20]).collect::<Vec<_>>());
        assert!(spill.is_empty() && spill.bytes() == 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the lock alone");
        assert!(matches!(Spill::open(config(folder.path())), Err(SpillError::InUse { .. })));
    }

    #[test]
    fn the_bound_holds_and_room_comes_back_while_it_is_drained() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(config(folder.path())).unwrap();
        let mut count = 0;
        while spill.append(&[7; 20]).is_ok() {
            count += 1;
        }
        assert_eq!((count, spill.bytes()), (14, 392));
        assert!(matches!(spill.append(&[7; 20]), Err(SpillError::Full { bytes: 392, .. })));
        for _ in 0..3 {
            spill.peek(0).unwrap();
            spill.pop();
        }
        assert_eq!(spill.bytes(), 392 - 84, "a segment of three records is gone");
        spill.append(&[7; 20]).unwrap();
    }

    #[test]
    fn a_file_cut_at_any_byte_of_its_last_record_loses_that_record_alone() {
        for cut in 1..=28 {
            let folder = tempfile::tempdir().unwrap();
            let mut spill = Spill::open(SpillConfig::new(folder.path())).unwrap();
            for number in 0..3_u8 {
                spill.append(&[number; 20]).unwrap();
            }
            drop(spill);
            let file = OpenOptions::new().write(true).open(folder.path().join("00000001.spill")).unwrap();
            file.set_len(3 * 28 - cut).unwrap();
            let mut spill = Spill::open(SpillConfig::new(folder.path())).unwrap();
            assert_eq!(spill.torn_bytes, 28 - cut, "cut at {cut}");
            spill.append(&[9; 20]).unwrap();
            assert_eq!(drain(&mut spill), [vec![0; 20], vec![1; 20], vec![9; 20]], "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_ends_a_file_and_nothing_behind_it_is_believed() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::open(SpillConfig::new(folder.path())).unwrap();
        for number in 0..3_u8 {
            spill.append(&[number; 20]).unwrap();
        }
        drop(spill);
        let path = folder.path().join("00000001.spill");
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 1;
        fs::write(&path, bytes).unwrap();
        let mut spill = Spill::open(SpillConfig::new(folder.path())).unwrap();
        assert_eq!(spill.torn_bytes, 56);
        assert_eq!(drain(&mut spill), [vec![0; 20]]);
    }
}

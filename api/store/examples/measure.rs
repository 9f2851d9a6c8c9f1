//! What the embedded store costs, beside SQLite with the same rows, and QuestDB where `KANDLE_QUESTDB` names one.
//!
//! `cargo run --release -p store --example measure [CANDLES]`: reads of 1,000 and 10,000 candles, write rate, bytes on disk a
//! million candles. The stores take turns within each round, so that a slow moment of the machine meets all of them.
//! SQLite is asked as well as it can be: WAL, prepared statements, keys without a rowid, the same fields in a row. On QuestDB the
//! rows stay in tables `measure_…`.

use std::{
    env, fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use engine::{
    candle::{Candle, State},
    interval::Interval,
    market::{Price, Timestamp},
    number::Scale,
};
use store::{Batch, Keep, Scales, Series, Source, Store, StoreUrl, StoredCandle};

type Error = Box<dyn std::error::Error>;

/// Rows of a batch: what a second of a busy deployment closes, or a page of backfill.
const BATCH_ROWS: usize = 1000;
const ROUNDS: usize = 7;
const START_SECONDS: i64 = 1_704_067_200;
const SOURCES: usize = 20;

fn main() -> Result<(), Error> {
    let count = env::args().nth(1).map_or(Ok(400_000), |text| text.parse::<usize>())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure(count))
}

async fn measure(count: usize) -> Result<(), Error> {
    let folder = tempfile::tempdir_in(env::var_os("TMPDIR").map_or_else(env::temp_dir, Into::into))?;
    let sources: Result<Vec<_>, _> =
        (0..SOURCES).map(|number| Source::parse(&format!("binance:C{number}USDT"))).collect();
    let sources = sources?;
    let batches = batches(&sources, count)?;

    let path = folder.path().join("history.redb");
    let redb = Store::open(&StoreUrl::Redb(path.clone()), Keep::default()).await?;
    report("redb", count, write(&redb, &batches).await?, size_of(&path)?);

    let path = folder.path().join("history.sqlite");
    let mut sqlite = Sqlite::open(&path)?;
    let begin = Instant::now();
    for batch in &batches {
        sqlite.write(batch)?;
    }
    let took = begin.elapsed();
    sqlite.checkpoint()?;
    report("sqlite", count, took, size_of(&path)?);

    let served = match env::var("KANDLE_QUESTDB") {
        Ok(address) => {
            let url = StoreUrl::parse(&format!("questdb:{address}/?tables=measure_"))?;
            let store = Store::open(&url, Keep::default()).await?;
            let took = write(&store, &batches).await?;
            report("questdb", count, took, 0);
            Some(store)
        }
        Err(_) => None,
    };
    for rows in [1000, 10_000] {
        read(rows, count, &sources, &redb, &sqlite, served.as_ref()).await?;
    }
    Ok(())
}

/// Median of the rounds; in each, every store is read once, from another place.
async fn read(
    rows: usize,
    count: usize,
    sources: &[Source],
    redb: &Store,
    sqlite: &Sqlite,
    served: Option<&Store>,
) -> Result<(), Error> {
    let mut took: [Vec<Duration>; 3] = Default::default();
    for round in 0..ROUNDS * 4 {
        let source = &sources[round % SOURCES];
        let series = Series { source: source.clone(), interval: Interval::M1 };
        let each = (count / SOURCES).saturating_sub(rows).max(1);
        let from = Timestamp((START_SECONDS + (round * 7919 % each) as i64 * 60) * 1_000_000_000);
        let end = Timestamp(i64::MAX);
        let begin = Instant::now();
        let found = redb.candles(&series, from, end, rows).await?;
        took[0].push(begin.elapsed());
        let begin = Instant::now();
        let same = sqlite.read(source.as_str(), from, rows)?;
        took[1].push(begin.elapsed());
        assert_eq!(found.len(), same.len());
        if let Some(store) = served {
            let begin = Instant::now();
            assert_eq!(store.candles(&series, from, end, rows).await?, found);
            took[2].push(begin.elapsed());
        }
    }
    let names = ["redb", "sqlite", "questdb"];
    for (name, took) in names.into_iter().zip(&mut took).filter(|(_, took)| !took.is_empty()) {
        took.sort();
        println!("{name:8} {rows:6} candles read in {:?} (median of {})", took[took.len() / 2], took.len());
    }
    Ok(())
}

async fn write(store: &Store, batches: &[Arc<Batch>]) -> Result<Duration, Error> {
    let begin = Instant::now();
    for batch in batches {
        store.write(batch).await?;
    }
    store.settled().await?;
    Ok(begin.elapsed())
}

fn report(name: &str, count: usize, took: Duration, bytes: u64) {
    let rate = count as f64 / took.as_secs_f64();
    let size = bytes as f64 / count as f64;
    println!("{name:8} {rate:9.0} candles/s written in batches of {BATCH_ROWS}, {size:5.1} MB a million on disk");
}

/// Candles as they close: all sources of one minute, then the next minute.
fn batches(sources: &[Source], count: usize) -> Result<Vec<Arc<Batch>>, Error> {
    let scale = |decimals| Scale::new(decimals).ok_or("a scale");
    let scales = Scales { price: scale(2)?, quantity: scale(5)? };
    let mut batches = Vec::new();
    let mut batch = Batch::new();
    for number in 0..count {
        let at = START_SECONDS + (number / SOURCES) as i64 * 60;
        let price = 6_800_000 + (number * 7919 % 10_000) as i64;
        let mut candle = Candle::flat(Interval::M1, Timestamp(at * 1_000_000_000), Price(price));
        (candle.high, candle.low, candle.close) = (Price(price + 900), Price(price - 1200), Price(price + 333));
        (candle.volume, candle.buy_volume) = (12_345_678 + number as u128, 6_000_000);
        candle.quote_volume = candle.volume * price as u128;
        (candle.trades, candle.first_id) = (1500, 3_000_000_000 + number as u64 * 1500);
        candle.last_id = candle.first_id + 1499;
        (candle.is_closed, candle.state) = (true, State::Complete);
        batch.candle(&sources[number % SOURCES], StoredCandle { scales, candle })?;
        if batch.rows() == BATCH_ROWS || number + 1 == count {
            batches.push(Arc::new(std::mem::take(&mut batch)));
        }
    }
    Ok(batches)
}

fn size_of(path: &Path) -> Result<u64, Error> {
    use std::os::unix::fs::MetadataExt;
    // What the disk gives for it: a file may have holes.
    Ok(fs::metadata(path)?.blocks() * 512)
}

/// The same rows in SQLite.
struct Sqlite(rusqlite::Connection);

impl Sqlite {
    fn open(path: &Path) -> Result<Self, Error> {
        let connection = rusqlite::Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "cache_size", -65_536)?;
        connection.execute_batch(
            "CREATE TABLE candles (source INTEGER, interval INTEGER, open_time INTEGER, revision INTEGER, flags INTEGER,
                open INTEGER, high INTEGER, low INTEGER, close INTEGER, volume BLOB, quote_volume BLOB, buy_volume BLOB,
                trades INTEGER, first_id INTEGER, last_id INTEGER, PRIMARY KEY (source, interval, open_time)) WITHOUT ROWID;
             CREATE TABLE sources (id INTEGER PRIMARY KEY, name TEXT UNIQUE)",
        )?;
        Ok(Self(connection))
    }

    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let write = self.0.transaction()?;
        {
            let mut name = write.prepare_cached("INSERT INTO sources (name) VALUES (?1) ON CONFLICT DO NOTHING")?;
            let mut id = write.prepare_cached("SELECT id FROM sources WHERE name = ?1")?;
            let mut row = write.prepare_cached(
                "INSERT INTO candles VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)
                 ON CONFLICT DO UPDATE SET revision = excluded.revision WHERE excluded.revision >= revision",
            )?;
            for (source, stored) in batch.candles() {
                name.execute([source.as_str()])?;
                let id: i64 = id.query_row([source.as_str()], |row| row.get(0))?;
                let candle = &stored.candle;
                // A sum without its leading zeros: as short as a blob can be.
                let blob = |sum: u128| {
                    let bytes = sum.to_be_bytes();
                    bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(16)..].to_vec()
                };
                row.execute(rusqlite::params![
                    id,
                    candle.interval as u8,
                    candle.open_time.0,
                    candle.revision,
                    candle.state as u8,
                    candle.open.0,
                    candle.high.0,
                    candle.low.0,
                    candle.close.0,
                    blob(candle.volume),
                    blob(candle.quote_volume),
                    blob(candle.buy_volume),
                    candle.trades as i64,
                    candle.first_id as i64,
                    candle.last_id as i64,
                ])?;
            }
        }
        Ok(write.commit()?)
    }

    fn checkpoint(&self) -> Result<(), Error> {
        Ok(self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    fn read(&self, source: &str, from: Timestamp, limit: usize) -> Result<Vec<Candle>, Error> {
        let mut query = self.0.prepare_cached(
            "SELECT open_time, open, high, low, close, volume, quote_volume, buy_volume, trades, first_id, last_id, revision
             FROM candles WHERE source = (SELECT id FROM sources WHERE name = ?1) AND interval = ?2 AND open_time >= ?3
             ORDER BY open_time LIMIT ?4",
        )?;
        let sum = |row: &rusqlite::Row<'_>, index: usize| -> rusqlite::Result<u128> {
            let blob = row.get_ref(index)?.as_blob()?;
            Ok(blob.iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte)))
        };
        let rows = query.query_map(rusqlite::params![source, Interval::M1 as u8, from.0, limit as i64], |row| {
            let mut candle = Candle::flat(Interval::M1, Timestamp(row.get(0)?), Price(row.get(1)?));
            (candle.high, candle.low, candle.close) = (Price(row.get(2)?), Price(row.get(3)?), Price(row.get(4)?));
            (candle.volume, candle.quote_volume) = (sum(row, 5)?, sum(row, 6)?);
            candle.buy_volume = sum(row, 7)?;
            candle.trades = row.get::<_, i64>(8)? as u64;
            (candle.first_id, candle.last_id) = (row.get::<_, i64>(9)? as u64, row.get::<_, i64>(10)? as u64);
            candle.revision = row.get(11)?;
            Ok(candle)
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

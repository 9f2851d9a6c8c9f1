//! The same rows in SQLite, asked as well as it can be: WAL, prepared statements, keys without a rowid.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use engine::{
    candle::{Candle, State},
    interval::Interval,
    json::write_candle,
    market::{IdRule, Instrument, Price, Timestamp, Venue},
};
use rusqlite::{Connection, Row, params};
use store::{Batch, Source};

use crate::rows;

/// An open file.
pub(crate) struct Sqlite(Connection);

impl Sqlite {
    /// Creates the file and writes the batches, each durably.
    pub(crate) fn create(path: &Path, batches: &[Arc<Batch>]) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "cache_size", -65_536)?;
        connection.execute_batch(
            "CREATE TABLE candles (source TEXT, interval INTEGER, open_time INTEGER, revision INTEGER, state INTEGER,
                open INTEGER, high INTEGER, low INTEGER, close INTEGER, volume BLOB, quote_volume BLOB, buy_volume BLOB,
                trades INTEGER, first_id INTEGER, last_id INTEGER, PRIMARY KEY (source, interval, open_time)) WITHOUT ROWID",
        )?;
        let mut sqlite = Self(connection);
        for batch in batches {
            sqlite.write(batch)?;
        }
        sqlite.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(sqlite)
    }

    fn write(&mut self, batch: &Batch) -> anyhow::Result<()> {
        let write = self.0.transaction()?;
        {
            let mut insert = write.prepare_cached(
                "INSERT INTO candles VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15)
                 ON CONFLICT DO UPDATE SET revision = excluded.revision WHERE excluded.revision >= revision",
            )?;
            for (source, stored) in batch.candles() {
                let candle = &stored.candle;
                // A sum without its leading zeros: as short as a blob can be.
                let blob = |sum: u128| {
                    let bytes = sum.to_be_bytes();
                    bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<u8>>()
                };
                insert.execute(params![
                    source.as_str(),
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

    /// The candles that open in `[from, to)` nanoseconds, in the JSON of the API and by its encoder.
    pub(crate) fn json(&self, source: &Source, from: i64, to: i64) -> anyhow::Result<Vec<u8>> {
        let mut query = self.0.prepare_cached(
            "SELECT open_time, open, high, low, close, volume, quote_volume, buy_volume, trades, first_id, last_id, revision
             FROM candles WHERE source = ?1 AND interval = ?2 AND open_time >= ?3 AND open_time < ?4 ORDER BY open_time",
        )?;
        let scales = rows::scales()?;
        let name = source.as_str().split_once(':').context("a source")?.1;
        let instrument = Instrument {
            venue: Venue::Binance,
            name: name.into(),
            price_scale: scales.price,
            quantity_scale: scales.quantity,
            ids: IdRule::Contiguous,
        };
        let mut out = format!(r#"{{"symbol":"{source}","source":"{source}","interval":"1m","candles":["#).into_bytes();
        let mut found = query.query(params![source.as_str(), Interval::M1 as u8, from, to])?;
        let mut is_first = true;
        while let Some(row) = found.next()? {
            if !std::mem::replace(&mut is_first, false) {
                out.push(b',');
            }
            let candle = candle(row)?;
            write_candle(&mut out, &candle, &instrument, source.as_str(), engine::frame::Form::Number);
        }
        out.extend_from_slice(b"],\"next_cursor\":null}");
        Ok(out)
    }
}

fn candle(row: &Row<'_>) -> rusqlite::Result<Candle> {
    let sum = |index: usize| -> rusqlite::Result<u128> {
        let blob = row.get_ref(index)?.as_blob()?;
        Ok(blob.iter().fold(0, |sum, byte| sum << 8 | u128::from(*byte)))
    };
    let mut candle = Candle::flat(Interval::M1, Timestamp(row.get(0)?), Price(row.get(1)?));
    (candle.high, candle.low, candle.close) = (Price(row.get(2)?), Price(row.get(3)?), Price(row.get(4)?));
    (candle.volume, candle.quote_volume, candle.buy_volume) = (sum(5)?, sum(6)?, sum(7)?);
    candle.trades = row.get::<_, i64>(8)? as u64;
    (candle.first_id, candle.last_id) = (row.get::<_, i64>(9)? as u64, row.get::<_, i64>(10)? as u64);
    (candle.revision, candle.is_closed, candle.state) = (row.get(11)?, true, State::Complete);
    Ok(candle)
}

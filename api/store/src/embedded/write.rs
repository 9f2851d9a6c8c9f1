//! One batch, one transaction.

use std::collections::{BTreeMap, HashMap};

use engine::interval::Interval;
use redb::{Database, ReadableTable, WriteTransaction};

use super::{CANDLES, COUNTS, Embedded, SERIES, SOURCES, TRADES, VALUES};
use crate::{batch::Batch, codec, error::StoreError, row::Source};

/// The most old rows of a series that one batch removes beyond what it adds, so that a smaller bound takes effect step by step.
const TRIM_ROWS_MAX: usize = 10_000;

impl Embedded {
    pub(crate) fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        self.run(|database| self.commit(database, batch))
    }

    fn commit(&self, database: &Database, batch: &Batch) -> Result<(), redb::Error> {
        let mut write = database.begin_write()?;
        write.set_quick_repair(true);
        let ids = source_ids(&write, batch)?;
        self.add_candles(&write, batch, &ids)?;
        self.add_trades(&write, batch, &ids)?;
        let mut values = write.open_table(VALUES)?;
        for (name, text) in batch.values() {
            values.insert(&**name, &**text)?;
        }
        drop(values);
        Ok(write.commit()?)
    }

    fn add_candles(&self, write: &WriteTransaction, batch: &Batch, ids: &Ids<'_>) -> Result<(), redb::Error> {
        if batch.candles().is_empty() {
            return Ok(());
        }
        let mut candles = write.open_table(CANDLES)?;
        let mut series = write.open_table(SERIES)?;
        let mut added = BTreeMap::<(u32, u8), usize>::new();
        let mut bytes = Vec::new();
        for (source, stored) in batch.candles() {
            let Some(&id) = ids.get(source) else { continue };
            let interval = stored.candle.interval as u8;
            let key = (id, interval, stored.candle.open_time.0);
            bytes.clear();
            codec::encode_candle(&mut bytes, stored);
            let stays = candles.get(key)?.is_some_and(|old| {
                codec::rank(old.value()).is_some_and(|rank| rank > stored.rank()) || old.value() == bytes
            });
            if !stays && candles.insert(key, bytes.as_slice())?.is_none() {
                series.insert((id, interval), ())?;
                *added.entry((id, interval)).or_default() += 1;
            }
        }
        let Some(age) = self.keep.seconds_age else { return Ok(()) };
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        for ((id, interval), added) in added.into_iter().filter(|((_, interval), _)| *interval < Interval::M1 as u8) {
            let all = || (id, interval, i64::MIN)..=(id, interval, i64::MAX);
            let newest = candles.range(all())?.next_back().transpose()?;
            let cut = newest.map_or(i64::MIN, |(key, _)| key.value().2.saturating_sub(age));
            let mut old = Vec::new();
            for row in candles.range(all())?.take(added + TRIM_ROWS_MAX) {
                let key = row?.0.value();
                if key.2 >= cut {
                    break;
                }
                old.push(key);
            }
            for key in old {
                candles.remove(key)?;
            }
        }
        Ok(())
    }

    fn add_trades(&self, write: &WriteTransaction, batch: &Batch, ids: &Ids<'_>) -> Result<(), redb::Error> {
        if batch.trades().is_empty() {
            return Ok(());
        }
        let mut trades = write.open_table(TRADES)?;
        let mut counts = write.open_table(COUNTS)?;
        let mut added = BTreeMap::<u32, usize>::new();
        let mut bytes = Vec::new();
        for (source, trade) in batch.trades() {
            let Some(&id) = ids.get(source) else { continue };
            bytes.clear();
            codec::encode_trade(&mut bytes, trade);
            let is_new = trades.insert((id, trade.ts_event.0, trade.id), bytes.as_slice())?.is_none();
            *added.entry(id).or_default() += usize::from(is_new);
        }
        let age = i64::try_from(self.keep.trades_age.as_nanos()).unwrap_or(i64::MAX);
        let kept = self.keep.trades_max as u64;
        for (id, added) in added {
            let mut count = counts.get(id)?.map_or(0, |count| count.value()) + added as u64;
            let newest = trades.range((id, i64::MIN, 0)..=(id, i64::MAX, u64::MAX))?.next_back().transpose()?;
            let cut = newest.map_or(i64::MIN, |(key, _)| key.value().1.saturating_sub(age));
            let mut old = Vec::new();
            for row in trades.range((id, i64::MIN, 0)..=(id, i64::MAX, u64::MAX))?.take(added + TRIM_ROWS_MAX) {
                let key = row?.0.value();
                if count <= kept && key.1 >= cut {
                    break;
                }
                count -= 1;
                old.push(key);
            }
            for key in old {
                trades.remove(key)?;
            }
            counts.insert(id, count)?;
        }
        Ok(())
    }
}

type Ids<'a> = HashMap<&'a Source, u32>;

/// The numbers of the batch's sources; new sources get the next ones.
fn source_ids<'a>(write: &WriteTransaction, batch: &'a Batch) -> Result<Ids<'a>, redb::Error> {
    let mut table = write.open_table(SOURCES)?;
    let mut ids = Ids::new();
    let sources =
        batch.candles().iter().map(|(source, _)| source).chain(batch.trades().iter().map(|(source, _)| source));
    for source in sources {
        if ids.contains_key(source) {
            continue;
        }
        let known = table.get(source.as_str())?.map(|id| id.value());
        let id = match known {
            Some(id) => id,
            None => {
                let id = u32::try_from(redb::ReadableTableMetadata::len(&table)?).unwrap_or(u32::MAX);
                table.insert(source.as_str(), id)?;
                id
            }
        };
        ids.insert(source, id);
    }
    Ok(ids)
}

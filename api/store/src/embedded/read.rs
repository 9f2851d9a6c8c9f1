//! Pages of the file. A read sees one committed state and hinders no write.

use engine::{interval::Interval, market::Timestamp};
use redb::{Database, ReadTransaction, ReadableDatabase};

use super::{CANDLES, Embedded, SERIES, SOURCES, TRADES, VALUES, unreadable};
use crate::{
    access::TradeFrom,
    codec,
    error::StoreError,
    row::{Series, SeriesSpan, Source, StoredCandle, StoredTrade},
};

impl Embedded {
    pub(crate) fn candles(
        &self,
        series: &Series,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredCandle>, StoreError> {
        self.run(|database| candles(database, series, from, to, limit, false))
    }

    pub(crate) fn newest_candles(
        &self,
        series: &Series,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredCandle>, StoreError> {
        let mut newest = self.run(|database| candles(database, series, Timestamp(i64::MIN), before, limit, true))?;
        newest.reverse();
        Ok(newest)
    }

    pub(crate) fn open_times(
        &self,
        series: &Series,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        self.run(|database| {
            let read = database.begin_read()?;
            let Some(id) = source_id(&read, &series.source)? else { return Ok(Vec::new()) };
            let interval = series.interval as u8;
            let mut times = Vec::new();
            if from >= to {
                return Ok(times);
            }
            for row in read.open_table(CANDLES)?.range((id, interval, from.0)..(id, interval, to.0))? {
                if times.len() == limit {
                    break;
                }
                let (key, value) = row?;
                if codec::is_closed(value.value()) {
                    times.push(Timestamp(key.value().2));
                }
            }
            Ok(times)
        })
    }

    pub(crate) fn series(&self, after: Option<&Series>, limit: usize) -> Result<Vec<SeriesSpan>, StoreError> {
        self.run(|database| series(database, after, limit))
    }

    pub(crate) fn trades(
        &self,
        source: &Source,
        from: TradeFrom,
        limit: usize,
    ) -> Result<Vec<StoredTrade>, StoreError> {
        self.run(|database| {
            let read = database.begin_read()?;
            let Some(id) = source_id(&read, source)? else { return Ok(Vec::new()) };
            let (time, trade_id, skip) = match from {
                TradeFrom::Time(time) => (time.0, 0, None),
                TradeFrom::Behind(place) => (place.ts_event.0, place.id, Some((id, place.ts_event.0, place.id))),
            };
            let table = read.open_table(TRADES)?;
            let rows = table.range((id, time, trade_id)..=(id, i64::MAX, u64::MAX))?;
            let rows = rows.map(|row| row.map(|(key, value)| (key.value(), value)));
            rows.filter(|row| !matches!(row, Ok((key, _)) if Some(*key) == skip))
                .take(limit)
                .map(|row| row.map_err(Into::into).and_then(|(key, value)| trade(key, value.value())))
                .collect()
        })
    }

    pub(crate) fn newest_trades(&self, source: &Source, limit: usize) -> Result<Vec<StoredTrade>, StoreError> {
        let mut newest: Vec<_> = self.run(|database| {
            let read = database.begin_read()?;
            let Some(id) = source_id(&read, source)? else { return Ok(Vec::new()) };
            let table = read.open_table(TRADES)?;
            let rows = table.range((id, i64::MIN, 0)..=(id, i64::MAX, u64::MAX))?.rev().take(limit);
            rows.map(|row| row.map_err(Into::into).and_then(|(key, value)| trade(key.value(), value.value()))).collect()
        })?;
        newest.reverse();
        Ok(newest)
    }

    pub(crate) fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.run(|database| {
            let values = database.begin_read()?.open_table(VALUES)?;
            Ok(values.get(name)?.map(|text| text.value().to_owned()))
        })
    }
}

fn source_id(read: &ReadTransaction, source: &Source) -> Result<Option<u32>, redb::Error> {
    Ok(read.open_table(SOURCES)?.get(source.as_str())?.map(|id| id.value()))
}

fn candles(
    database: &Database,
    series: &Series,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
    newest_first: bool,
) -> Result<Vec<StoredCandle>, redb::Error> {
    let read = database.begin_read()?;
    let (Some(id), true) = (source_id(&read, &series.source)?, from < to) else { return Ok(Vec::new()) };
    let interval = series.interval as u8;
    let table = read.open_table(CANDLES)?;
    let mut rows = table.range((id, interval, from.0)..(id, interval, to.0))?;
    let mut found = Vec::new();
    while found.len() < limit {
        let Some(row) = (if newest_first { rows.next_back() } else { rows.next() }) else { break };
        let (key, value) = row?;
        let open_time = Timestamp(key.value().2);
        let candle = codec::decode_candle(&mut value.value(), series.interval, open_time);
        found.push(candle.ok_or_else(|| unreadable("candle"))?);
    }
    Ok(found)
}

fn trade(key: (u32, i64, u64), mut value: &[u8]) -> Result<StoredTrade, redb::Error> {
    codec::decode_trade(&mut value, Timestamp(key.1), key.2).ok_or_else(|| unreadable("trade"))
}

fn series(database: &Database, after: Option<&Series>, limit: usize) -> Result<Vec<SeriesSpan>, redb::Error> {
    let read = database.begin_read()?;
    let (sources, table) = (read.open_table(SOURCES)?, read.open_table(SERIES)?);
    let candles = read.open_table(CANDLES)?;
    let mut spans = Vec::new();
    for row in sources.range(after.map_or("", |after| after.source.as_str())..)? {
        let (name, id) = row?;
        let (source, id) = (Source::parse(name.value()).map_err(|_| unreadable("source"))?, id.value());
        for row in table.range((id, 0)..=(id, u8::MAX))? {
            let number = row?.0.value().1;
            let interval = *Interval::ALL.get(usize::from(number)).ok_or_else(|| unreadable("interval"))?;
            let series = Series { source: source.clone(), interval };
            if after.is_some_and(|after| series <= *after) {
                continue;
            }
            if spans.len() == limit {
                return Ok(spans);
            }
            let mut rows = candles.range((id, number, i64::MIN)..=(id, number, i64::MAX))?;
            let Some(first) = rows.next().transpose()? else { continue };
            let first = Timestamp(first.0.value().2);
            let last = rows.next_back().transpose()?.map_or(first, |row| Timestamp(row.0.value().2));
            spans.push(SeriesSpan { series, first, last });
        }
    }
    Ok(spans)
}

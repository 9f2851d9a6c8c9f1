//! Pages over SQL.
//!
//! A query reads in the order of time and stops at its limit, which the index of the instrument makes cheap; to sort by
//! anything else would read the whole range first. So the rows of one moment come in any order: they are put in order
//! here, and a moment that the limit cuts through is left to the next query.

use std::cmp::Ordering;

use engine::{
    candle::{Candle, State, Unknown},
    interval::Interval,
    market::{Price, Quantity, Timestamp},
    number::Scale,
};
use serde::Deserialize;

use super::{QuestDb, decimal::units, schema};
use crate::{
    access::{PAGE_ROWS_MAX, TradeFrom},
    error::StoreError,
    row::{ORIGINS, SIDES, Scales, Series, SeriesSpan, Source, StoredCandle, StoredTrade},
};

/// The most rows of one moment.
const MOMENT_ROWS_MAX: usize = 16 * PAGE_ROWS_MAX;

/// A row as text of the server, and its place among the rows of one moment.
trait Row: Sized {
    type Text<'a>: Deserialize<'a>;
    type Place: Ord;
    const COLUMNS: &'static str;
    /// Whether only the row of the highest place is read of each moment.
    const ONE_A_MOMENT: bool;

    fn read(text: Self::Text<'_>, series: &Series) -> Option<Self>;
    fn time(&self) -> Timestamp;
    fn place(&self) -> Self::Place;
}

struct Query<'a> {
    table: &'a str,
    condition: String,
    series: &'a Series,
    from: Timestamp,
    to: Timestamp,
    newest_first: bool,
}

impl QuestDb {
    pub(crate) async fn candles(
        &self,
        series: &Series,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredCandle>, StoreError> {
        self.page(of_series(series, from, to, false), limit, |_| true).await
    }

    pub(crate) async fn newest_candles(
        &self,
        series: &Series,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<StoredCandle>, StoreError> {
        let mut newest = self.page(of_series(series, Timestamp(0), before, true), limit, |_| true).await?;
        newest.reverse();
        Ok(newest)
    }

    pub(crate) async fn open_times(
        &self,
        series: &Series,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let query = of_series(series, from, to, false);
        let found = self.page::<Existing>(query, limit, |row| row.rank.1).await?;
        Ok(found.into_iter().map(|row| row.time).collect())
    }

    pub(crate) async fn trades(
        &self,
        source: &Source,
        from: TradeFrom,
        limit: usize,
    ) -> Result<Vec<StoredTrade>, StoreError> {
        let time = match from {
            TradeFrom::Time(time) => time,
            TradeFrom::Behind(place) => place.ts_event,
        };
        let is_behind = |trade: &StoredTrade| !matches!(from, TradeFrom::Behind(place) if trade.place() <= place);
        let series = Series { source: source.clone(), interval: Interval::S1 };
        self.page(of_source(&series, time, false), limit, is_behind).await
    }

    pub(crate) async fn newest_trades(&self, source: &Source, limit: usize) -> Result<Vec<StoredTrade>, StoreError> {
        let series = Series { source: source.clone(), interval: Interval::S1 };
        let mut newest = self.page(of_source(&series, Timestamp(0), true), limit, |_| true).await?;
        newest.reverse();
        Ok(newest)
    }

    pub(crate) async fn value(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.ready().await?;
        let table = format!("{}{}", self.url.tables, schema::VALUES);
        let sql = format!("SELECT value FROM \"{table}\" WHERE name = {}", quoted(name));
        let body = self.exec(&sql).await?;
        let rows: Vec<(String,)> = self.dataset(&body)?;
        Ok(rows.into_iter().next().map(|row| row.0))
    }

    pub(crate) async fn series(&self, after: Option<&Series>, limit: usize) -> Result<Vec<SeriesSpan>, StoreError> {
        self.ready().await?;
        let from = quoted(after.map_or("", |after| after.source.as_str()));
        let spans = schema::CANDLE_TABLES.map(|table| {
            format!(
                "SELECT instrument::varchar i, \"interval\"::varchar n, min(ts)::long a, max(ts)::long b \
                 FROM \"{}{table}\" WHERE instrument >= {from}",
                self.url.tables
            )
        });
        // The first source may have been told in part, the last one be cut by the limit.
        let rows = limit + 2 * Interval::COUNT;
        let sql = format!("SELECT i, n, a, b FROM ({}) ORDER BY i LIMIT {rows}", spans.join(" UNION ALL "));
        let body = self.exec(&sql).await?;
        let found: Vec<(&str, &str, i64, i64)> = self.dataset(&body)?;
        let cut = (found.len() == rows).then(|| found.last().map(|row| row.0)).flatten();
        let mut spans = Vec::new();
        for (source, interval, first, last) in found.iter().filter(|row| Some(row.0) != cut) {
            let source = Source::parse(source).map_err(|error| self.foreign(error.to_string()))?;
            let interval = Interval::parse(interval).ok_or_else(|| self.foreign(format!("interval {interval:?}")))?;
            let series = Series { source, interval };
            spans.push(SeriesSpan { series, first: Timestamp(*first), last: Timestamp(*last) });
        }
        spans.retain(|span| after.is_none_or(|after| span.series > *after));
        spans.sort_by(|a, b| a.series.cmp(&b.series));
        spans.truncate(limit);
        Ok(spans)
    }

    /// Up to `limit` rows for which `counts` holds, in the order of time and place.
    async fn page<R: Row>(
        &self,
        mut query: Query<'_>,
        limit: usize,
        counts: impl Fn(&R) -> bool,
    ) -> Result<Vec<R>, StoreError> {
        self.ready().await?;
        let mut found = Vec::new();
        let mut spare = 32;
        while found.len() < limit && query.from < query.to {
            let asked = limit - found.len() + spare;
            let mut rows = self.rows::<R>(&query, asked).await?;
            rows.sort_by(|a, b| order(a, b, query.newest_first));
            let last = rows.last().map(Row::time);
            let is_cut = rows.len() == asked;
            if is_cut && rows.first().map(Row::time) == last {
                if asked > MOMENT_ROWS_MAX {
                    return Err(self.foreign(format!("more than {asked} rows of one moment in {}", query.table)));
                }
                spare += asked;
                continue;
            }
            if is_cut {
                rows.retain(|row| Some(row.time()) != last);
            }
            if R::ONE_A_MOMENT {
                rows.dedup_by(|later, first| later.time() == first.time());
            }
            found.extend(rows.into_iter().filter(&counts));
            match last {
                Some(last) if is_cut && query.newest_first => query.to = last.plus(1),
                Some(last) if is_cut => query.from = last,
                _ => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn rows<R: Row>(&self, query: &Query<'_>, limit: usize) -> Result<Vec<R>, StoreError> {
        // The server counts both ends in; its null is the least number.
        let (from, to) = (query.from.0.max(0), query.to.0.saturating_sub(1));
        if to < from {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT {} FROM \"{}{}\" WHERE {} AND ts BETWEEN {from}::timestamp_ns AND {to}::timestamp_ns \
             ORDER BY ts{} LIMIT {limit}",
            R::COLUMNS,
            self.url.tables,
            query.table,
            query.condition,
            if query.newest_first { " DESC" } else { "" },
        );
        let body = self.exec(&sql).await?;
        let texts: Vec<R::Text<'_>> = self.dataset(&body)?;
        let rows: Option<Vec<R>> = texts.into_iter().map(|text| R::read(text, query.series)).collect();
        rows.ok_or_else(|| self.foreign(format!("a row of {} that cannot be read", query.table)))
    }
}

/// In time, or against it; within a moment the highest place first where only that one is read.
fn order<R: Row>(a: &R, b: &R, newest_first: bool) -> Ordering {
    let time = if newest_first { b.time().cmp(&a.time()) } else { a.time().cmp(&b.time()) };
    time.then_with(
        || {
            if R::ONE_A_MOMENT || newest_first { b.place().cmp(&a.place()) } else { a.place().cmp(&b.place()) }
        },
    )
}

fn of_series(series: &Series, from: Timestamp, to: Timestamp, newest_first: bool) -> Query<'_> {
    let condition =
        format!("instrument = {} AND \"interval\" = '{}'", quoted(series.source.as_str()), series.interval.name());
    Query { table: schema::candle_table(series.interval), condition, series, from, to, newest_first }
}

fn of_source(series: &Series, from: Timestamp, newest_first: bool) -> Query<'_> {
    let condition = format!("instrument = {}", quoted(series.source.as_str()));
    Query { table: schema::TRADES, condition, series, from, to: Timestamp(i64::MAX), newest_first }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[derive(Deserialize)]
struct CandleText<'a> {
    ts: i64,
    state: &'a str,
    revision: u32,
    is_closed: bool,
    price_scale: u8,
    quantity_scale: u8,
    open: &'a str,
    high: &'a str,
    low: &'a str,
    close: &'a str,
    volume: &'a str,
    quote_volume: &'a str,
    buy_volume: &'a str,
    trades: &'a str,
    first_id: &'a str,
    last_id: &'a str,
    unknown_sides: bool,
    unknown_trades: bool,
    unknown_quote: bool,
}

impl Row for StoredCandle {
    type Text<'a> = CandleText<'a>;
    type Place = (u32, bool);
    const COLUMNS: &'static str = "ts::long t, state, revision, is_closed, price_scale, quantity_scale, open, high, low, \
        close, volume, quote_volume, buy_volume, trades, first_id, last_id, unknown_sides, unknown_trades, unknown_quote";
    const ONE_A_MOMENT: bool = true;

    fn read(text: CandleText<'_>, series: &Series) -> Option<Self> {
        let scales = Scales { price: Scale::new(text.price_scale)?, quantity: Scale::new(text.quantity_scale)? };
        let (price, quantity) = (text.price_scale, text.quantity_scale);
        let at = |text: &str| Some(Price(i64::try_from(units(text, price)?).ok()?));
        let count = |text: &str| u64::try_from(units(text, 0)?).ok();
        let mut candle = Candle::flat(series.interval, Timestamp(text.ts), at(text.open)?);
        (candle.high, candle.low, candle.close) = (at(text.high)?, at(text.low)?, at(text.close)?);
        (candle.volume, candle.buy_volume) = (units(text.volume, quantity)?, units(text.buy_volume, quantity)?);
        candle.quote_volume = units(text.quote_volume, price + quantity)?;
        (candle.trades, candle.first_id) = (count(text.trades)?, count(text.first_id)?);
        candle.last_id = count(text.last_id)?;
        candle.revision = text.revision;
        candle.is_closed = text.is_closed;
        let states = [State::Complete, State::Partial, State::Repaired, State::Flat];
        candle.state = states.into_iter().find(|state| state.name() == text.state)?;
        candle.unknown = Unknown { sides: text.unknown_sides, trades: text.unknown_trades, quote: text.unknown_quote };
        Some(Self { scales, candle })
    }

    fn time(&self) -> Timestamp {
        self.candle.open_time
    }

    fn place(&self) -> (u32, bool) {
        self.rank()
    }
}

/// That a candle exists.
struct Existing {
    time: Timestamp,
    rank: (u32, bool),
}

impl Row for Existing {
    type Text<'a> = (i64, u32, bool);
    type Place = (u32, bool);
    const COLUMNS: &'static str = "ts::long t, revision, is_closed";
    const ONE_A_MOMENT: bool = true;

    fn read((time, revision, is_closed): (i64, u32, bool), _: &Series) -> Option<Self> {
        Some(Self { time: Timestamp(time), rank: (revision, is_closed) })
    }

    fn time(&self) -> Timestamp {
        self.time
    }

    fn place(&self) -> (u32, bool) {
        self.rank
    }
}

type TradeText<'a> = (i64, &'a str, &'a str, &'a str, &'a str, u32, i64, u8, u8, &'a str, &'a str);

impl Row for StoredTrade {
    type Text<'a> = TradeText<'a>;
    type Place = u64;
    const COLUMNS: &'static str =
        "ts::long t, side, origin, id, first_id, trades, ts_recv, price_scale, quantity_scale, price, quantity";
    const ONE_A_MOMENT: bool = false;

    fn read(text: TradeText<'_>, _: &Series) -> Option<Self> {
        let (ts_event, side, origin, id, first_id, trades, ts_recv, price_scale, quantity_scale, price, quantity) =
            text;
        let small = |text: &str, decimals: u8| i64::try_from(units(text, decimals)?).ok();
        Some(Self {
            scales: Scales { price: Scale::new(price_scale)?, quantity: Scale::new(quantity_scale)? },
            first_id: u64::try_from(units(first_id, 0)?).ok()?,
            id: u64::try_from(units(id, 0)?).ok()?,
            trades,
            ts_event: Timestamp(ts_event),
            ts_recv: Timestamp(ts_recv),
            price: Price(small(price, price_scale)?),
            quantity: Quantity(small(quantity, quantity_scale)?),
            side: SIDES.into_iter().find(|known| known.name() == side)?,
            origin: ORIGINS.iter().find(|(_, name)| *name == origin)?.0,
        })
    }

    fn time(&self) -> Timestamp {
        self.ts_event
    }

    fn place(&self) -> u64 {
        self.id
    }
}

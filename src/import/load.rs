//! The second look: rows become candles, and candles are stored unless they are there already.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use engine::{
    candle::{Candle, State, Unknown},
    interval::Interval,
    market::Timestamp,
};
use store::{Batch, PAGE_ROWS_MAX, Series, Source, Store, StoredCandle};
use tokio::sync::mpsc;

use super::{
    order::Order,
    refusals::{Place, Reason, Refusals},
    rows::{Cells, Rows},
    survey::Survey,
};
use crate::cli::ImportArgs;

/// How many candles are written at once.
const BATCH_ROWS: usize = 10_000;

/// A candle and the row that it came from.
pub struct Taken {
    source: usize,
    candle: StoredCandle,
    place: Place,
}

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Candles that were written.
    pub written: u64,
    /// Of these, how many replaced another one.
    pub replaced: u64,
    /// Rows whose candle was stored before.
    pub known: u64,
}

/// Counts that both ends share.
pub type Shared = Arc<Mutex<Refusals>>;

/// Reads all files into batches for `writer`. Ends early if nobody takes them any more.
///
/// # Errors
/// If a file cannot be read.
pub fn read(
    args: &ImportArgs,
    survey: &Survey,
    refusals: &Shared,
    writer: &mpsc::Sender<Vec<Taken>>,
    mut turn: impl FnMut(u64),
) -> anyhow::Result<Read> {
    let mut orders = vec![Order::default(); survey.sources().len()];
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    let mut lines = 0;
    for (file, path) in args.files.iter().enumerate() {
        let mut rows = Rows::open(args, path)?;
        while let Some(row) = rows.next_row(&mut turn)? {
            let place = Place { file, line: row.line };
            let taken = match &row.cells {
                Ok(cells) => take(args, survey, cells, place, &mut orders),
                Err(None) => continue,
                Err(Some(reason)) => Err(*reason),
            };
            lines += 1;
            match taken {
                Ok(taken) => batch.push(taken),
                Err(reason) => {
                    refusals.lock().unwrap_or_else(PoisonError::into_inner).refuse(reason, place, row.text);
                }
            }
            if batch.len() >= BATCH_ROWS {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS));
                if writer.blocking_send(full).is_err() {
                    return Ok(Read { lines, orders });
                }
            }
        }
    }
    let _ = writer.blocking_send(batch);
    Ok(Read { lines, orders })
}

/// What was read.
pub struct Read {
    /// How many rows.
    pub lines: u64,
    orders: Vec<Order>,
}

impl Read {
    /// Writes what the rows cover.
    ///
    /// # Errors
    /// If `to` takes no more.
    pub fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let spans = || self.orders.iter().filter_map(Order::span);
        let missing: u64 = self.orders.iter().map(|order| order.missing).sum();
        let first = spans().map(|(first, _)| first.millis()).min();
        let last = spans().map(|(_, last)| last.millis()).max();
        writeln!(to, "{:<32}{:>12}", "rows read", self.lines)?;
        let covered = first.zip(last).map(|(first, last)| format!("open times from {first} to {last} ms"));
        writeln!(to, "{:<32}{:>12}  {}", "instruments", spans().count(), covered.unwrap_or_default())?;
        writeln!(to, "{:<32}{missing:>12}  between the first and the last row of each", "intervals without a row")
    }
}

fn take(
    args: &ImportArgs,
    survey: &Survey,
    cells: &Cells<'_>,
    place: Place,
    orders: &mut [Order],
) -> Result<Taken, Reason> {
    let (source, surveyed) = survey.get(cells.symbol).ok_or(Reason { what: "malformed", field: "symbol" })?;
    let order = orders.get_mut(source).ok_or(Reason { what: "malformed", field: "symbol" })?;
    let given = cells.candle(surveyed.scales)?;
    let is_newest_first = surveyed.is_newest_first.get(place.file).copied().unwrap_or(false);
    order.check(given.open_time, place.file, is_newest_first)?;
    let candle = Candle::of_venue(args.interval, &given, args.state.state());
    let mut candle = candle.map_err(|flaw| Reason::new(flaw.name()))?;
    if !args.columns.has_volume() && candle.state == State::Flat {
        // A price that stood still is no proof that nothing was traded.
        candle.state = args.state.state();
        candle.unknown = Unknown { sides: true, trades: true, quote: true };
    }
    if given.open_time.0 < 0 {
        return Err(Reason { what: "negative", field: "time" });
    }
    order.take(given.open_time, args.interval);
    Ok(Taken { source, candle: StoredCandle { scales: surveyed.scales, candle }, place })
}

/// Stores what is not there yet.
pub struct Writer<'a> {
    /// Where to.
    pub store: &'a Store,
    /// Names of the sources.
    pub survey: &'a Survey,
    /// How long the candles are.
    pub interval: Interval,
    /// Whether other candles are replaced.
    pub replace: bool,
    /// Where rows are counted that differ from what is stored.
    pub refusals: &'a Shared,
}

impl Writer<'_> {
    /// Stores one batch.
    ///
    /// # Errors
    /// If the store fails; the batch is then not stored, and an import started again takes it.
    pub async fn write(&self, rows: Vec<Taken>, loaded: &mut Loaded) -> anyhow::Result<()> {
        let mut by_source = BTreeMap::<usize, Vec<Taken>>::new();
        for row in rows {
            by_source.entry(row.source).or_default().push(row);
        }
        let mut batch = Batch::new();
        for (source, rows) in by_source {
            let Some(surveyed) = self.survey.sources().get(source) else { continue };
            let stored = self.stored(&surveyed.source, &rows).await?;
            for mut row in rows {
                match stored.get(&row.candle.candle.open_time) {
                    None => {}
                    Some(old) if old.agrees_with(&row.candle) => {
                        loaded.known += 1;
                        continue;
                    }
                    Some(old) if self.replace => {
                        row.candle.candle.revision = old.candle.revision.saturating_add(1);
                        loaded.replaced += 1;
                    }
                    Some(_) => {
                        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
                        refusals.refuse(Reason::new("differs_from_the_store"), row.place, b"");
                        continue;
                    }
                }
                batch.candle(&surveyed.source, row.candle)?;
                loaded.written += 1;
            }
        }
        Ok(self.store.write(&Arc::new(batch)).await?)
    }

    /// The closed candles that are stored over the span of `rows`.
    async fn stored(&self, source: &Source, rows: &[Taken]) -> anyhow::Result<HashMap<Timestamp, StoredCandle>> {
        let times = || rows.iter().map(|row| row.candle.candle.open_time);
        let mut stored = HashMap::new();
        let (Some(mut from), Some(last)) = (times().min(), times().max()) else { return Ok(stored) };
        let wanted: std::collections::HashSet<Timestamp> = times().collect();
        let series = Series { source: source.clone(), interval: self.interval };
        while from <= last {
            let page = self.store.candles(&series, from, last.plus(1), PAGE_ROWS_MAX).await?;
            let Some(end) = page.last() else { break };
            from = end.candle.open_time.plus(1);
            let is_whole = page.len() < PAGE_ROWS_MAX;
            let closed = page.into_iter().filter(|old| old.candle.is_closed && wanted.contains(&old.candle.open_time));
            stored.extend(closed.map(|old| (old.candle.open_time, old)));
            if is_whole {
                break;
            }
        }
        Ok(stored)
    }
}

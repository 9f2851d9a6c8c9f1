//! Fetches what a series lacks from its venue, and stores each page before it asks for the next: a process that is killed
//! goes on where it was, because what is stored says how far it came.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context;
use engine::{
    candle::{Candle, State},
    interval::Interval,
    market::{Instrument, Symbol, Timestamp},
    message::VenueCandle,
};
use feeds::{
    backfill::{Asked, BackfillError, CandleClient, Quiet, open_time},
    venue::Known,
};
use store::{Batch, PAGE_ROWS_MAX, Scales, Series, Source, Store, StoredCandle};

use super::wanted::{Wanted, shifted, steps};

/// The most candles that [`mend`] looks at: it returns those that it wrote.
pub const MEND_MAX: i64 = 100_000;

/// One series and where its candles come from.
pub struct Mend<'a> {
    /// Where candles are kept.
    pub store: &'a Store,
    /// Its venue.
    pub client: &'a mut CandleClient,
    /// Of what.
    pub instrument: &'a Instrument,
    /// How long the candles are.
    pub interval: Interval,
    /// Trades were lost in this time, so that a candle without any is doubted as well.
    pub is_doubtful: bool,
}

/// What became of the candles that were wanted.
#[derive(Debug, Default)]
pub struct Mended {
    /// How many were wanted: missing, open, or stored without proof.
    pub wanted: u64,
    /// How many were written.
    pub written: u64,
    /// How many are older than what the venue keeps.
    pub out_of_reach: u64,
    /// How many the venue gave that are not taken, by reason, with the first of each.
    pub refused: BTreeMap<String, (u64, Timestamp)>,
    /// Why it ended early.
    pub error: Option<BackfillError>,
}

/// What one page did.
pub struct Step<'a> {
    /// How many of the wanted candles it settled, one way or the other.
    pub passed: u64,
    /// What was written.
    pub written: &'a [StoredCandle],
}

/// Fetches the missing and the unproven candles of `[from, to)` and returns those that it wrote: for a running server,
/// which tells its clients of them. It looks at the newest [`MEND_MAX`] candles; a backfill fetches what is older.
///
/// # Errors
/// If the store fails, or the venue does not answer. What was written before that is stored.
pub async fn mend(mut series: Mend<'_>, from: Timestamp, to: Timestamp) -> anyhow::Result<Vec<StoredCandle>> {
    let (first, end) = series.range(from, to);
    let from = first.max(shifted(series.interval, end, -MEND_MAX));
    if from > first {
        let (source, interval) = (series.instrument.source(), series.interval.name());
        tracing::warn!(source, interval, before_ms = from.millis(), "too much to mend at once: backfill what is older");
    }
    let mut written = Vec::new();
    let mended = series.run(from, to, &mut |step| written.extend_from_slice(step.written)).await?;
    for (reason, (count, first)) in &mended.refused {
        let (source, first_ms) = (series.instrument.source(), first.millis());
        tracing::warn!(source, reason, count, first_ms, "candles of the venue were refused");
    }
    mended.error.map_or(Ok(written), |error| Err(error.into()))
}

impl Mend<'_> {
    /// Fetches the missing and the unproven candles that open in `[from, to)` and are over by now.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn run(
        &mut self,
        from: Timestamp,
        to: Timestamp,
        each: &mut impl FnMut(Step<'_>),
    ) -> anyhow::Result<Mended> {
        let mut mended = Mended::default();
        let (mut from, to) = self.range(from, to);
        while from < to {
            let (mut wanted, end) = self.window(from, to).await?;
            mended.wanted += wanted.count(self.interval, &(from..end));
            let lost = wanted.cut(self.interval, self.client.reach(self.interval));
            mended.out_of_reach += lost;
            each(Step { passed: lost, written: &[] });
            if let Some(error) = self.fetch(&wanted, &mut mended, each).await? {
                mended.error = Some(error);
                break;
            }
            from = end;
        }
        Ok(mended)
    }

    /// How many candles of `[from, to)` are wanted.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn survey(&self, from: Timestamp, to: Timestamp) -> anyhow::Result<u64> {
        let mut count = 0;
        let (mut from, to) = self.range(from, to);
        while from < to {
            let (wanted, end) = self.window(from, to).await?;
            count += wanted.count(self.interval, &(from..end));
            from = end;
        }
        Ok(count)
    }

    /// How many candles of `[from, to)` are not stored.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn missing(&self, from: Timestamp, to: Timestamp) -> anyhow::Result<u64> {
        let (mut from, to) = self.range(from, to);
        let series = self.series()?;
        let mut count = 0;
        while from < to {
            let holes = self.store.holes(&series, from, to).await?;
            count += holes.ranges.iter().map(|range| steps(self.interval, range.start, range.end)).sum::<u64>();
            let Some(next) = holes.next else { break };
            from = next;
        }
        Ok(count)
    }

    /// The open times of whole candles in `[from, to)` that are over.
    fn range(&self, from: Timestamp, to: Timestamp) -> (Timestamp, Timestamp) {
        let grid = self.interval.open_time(from);
        let first = if grid < from { self.interval.close_time(grid) } else { grid };
        (first, self.interval.open_time(to).min(self.client.closed_by(self.interval)))
    }

    fn series(&self) -> anyhow::Result<Series> {
        Ok(Series { source: Source::parse(&self.instrument.source())?, interval: self.interval })
    }

    /// What is wanted of the next part of `[from, to)`, and where that part ends.
    async fn window(&self, from: Timestamp, to: Timestamp) -> anyhow::Result<(Wanted, Timestamp)> {
        let page =
            self.store.candles(&self.series()?, from, to, PAGE_ROWS_MAX).await.context("cannot read the store")?;
        let end = match page.last() {
            Some(last) if page.len() >= PAGE_ROWS_MAX => last.candle.close_time.min(to),
            _ => to,
        };
        Ok((Wanted::of(self.interval, from, end, &page, self.is_doubtful), end))
    }

    async fn fetch(
        &mut self,
        wanted: &Wanted,
        mended: &mut Mended,
        each: &mut impl FnMut(Step<'_>),
    ) -> anyhow::Result<Option<BackfillError>> {
        let Instrument { name, price_scale, quantity_scale, .. } = self.instrument;
        // The symbol's number means something to a running node alone.
        let known = Known { symbol: Symbol(0), price_scale: *price_scale, quantity_scale: *quantity_scale };
        let asked = Asked { name, known: &known, interval: self.interval };
        let limits = self.client.limits();
        let mut quiet = Quiet::new(self.interval);
        for request in wanted.requests(self.interval, limits.rows, limits.omits_quiet) {
            let mut rows = match self.client.page(asked, request.start, request.end).await {
                Ok(rows) => rows,
                Err(error) => return Ok(Some(error)),
            };
            if limits.omits_quiet {
                rows = quiet.fill(rows, request.start, request.end);
            }
            let mut written = Vec::with_capacity(rows.len());
            for row in rows {
                let open_time = open_time(&row);
                if !wanted.contains(open_time) {
                    continue;
                }
                let candle = match row {
                    Ok(given) => self.candle(&given, wanted.unproven.get(&open_time)),
                    Err(refused) => Err(format!("{} {}", refused.reason, refused.field)),
                };
                match candle {
                    Ok(candle) => written.extend(candle),
                    Err(reason) => mended.refused.entry(reason).or_insert((0, open_time)).0 += 1,
                }
            }
            self.write(&written).await?;
            mended.written += written.len() as u64;
            each(Step { passed: wanted.count(self.interval, &request), written: &written });
        }
        Ok(None)
    }

    async fn write(&self, written: &[StoredCandle]) -> anyhow::Result<()> {
        let source = self.series()?.source;
        let mut batch = Batch::new();
        for candle in written {
            batch.candle(&source, *candle)?;
        }
        self.store.write(&Arc::new(batch)).await.context("cannot write to the store")
    }

    /// The candle to store for one that the venue gave, and in whose place; none where a flat one is right.
    fn candle(&self, given: &VenueCandle, old: Option<&StoredCandle>) -> Result<Option<StoredCandle>, String> {
        let candle = Candle::of_venue(self.interval, given, State::Repaired).map_err(|flaw| flaw.name().to_owned())?;
        let scales = Scales { price: self.instrument.price_scale, quantity: self.instrument.quantity_scale };
        let mut new = StoredCandle { scales, candle };
        let Some(old) = old else { return Ok(Some(new)) };
        if old.candle.is_closed && old.candle.state == State::Flat && old.agrees_with(&new) {
            return Ok(None);
        }
        // One that was built from trades knows more than the venue tells; if the venue agrees, it stays.
        if old.candle.is_closed && !old.candle.unknown.trades && old.agrees_with(&new) {
            new = *old;
            new.candle.state = State::Repaired;
        }
        new.candle.revision = old.candle.revision.saturating_add(u32::from(old.candle.is_closed));
        Ok(Some(new))
    }
}

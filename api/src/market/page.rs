//! One page of candles: bounded in rows, and in the work that they cost.

use engine::{interval::Interval, market::Timestamp};
use store::StoredCandle;

use super::{
    cover::Cover,
    cursor::{self, Cursor},
    fill::Rows,
    level::{Reader, Span, Way},
    query::{Candles, Fill},
    rollup::Slots,
};
use crate::error::ApiError;

/// After so many source rows a page ends with the candle at hand. A single candle may take more: a month has 2.7 million
/// seconds.
const SOURCE_ROWS_MAX: usize = 100_000;

/// Candles, oldest first.
#[derive(Debug)]
pub(crate) struct Page {
    /// The rows.
    pub(crate) rows: Vec<StoredCandle>,
    /// Where the next page begins, if more follows.
    pub(crate) next: Option<Cursor>,
    /// Whether no candle of the range is missing, open or partial, and both its ends were given.
    pub(crate) is_whole: bool,
}

/// A query whose open ends are known.
struct Plan {
    interval: Interval,
    span: Span,
    limit: usize,
    fill: Fill,
    open: bool,
    /// Candles that end by then are over.
    over: Timestamp,
}

impl Page {
    /// Reads the page that a query asks for.
    ///
    /// # Errors
    /// [`ApiError`] if the cursor is of another query or the store fails.
    pub(crate) async fn read(reader: &Reader<'_>, query: &Candles) -> Result<Self, ApiError> {
        let interval = query.interval;
        let cursor = query.cursor.as_ref().map(|text| Cursor::parse(text, &reader.subject.source)).transpose()?;
        if let Some(cursor) = cursor {
            let is_other_end = query.end.is_some_and(|end| boundary(interval, end) != cursor.end);
            let is_before = query.start.is_some_and(|start| start > cursor.at);
            if cursor.interval != interval || cursor.fill != query.fill || is_other_end || is_before {
                return Err(cursor::foreign());
            }
        }
        let over = interval.open_time(reader.now);
        let present = interval.close_time(over);
        let to = cursor.map_or_else(|| query.end.map_or(present, |end| boundary(interval, end)), |cursor| cursor.end);
        let from = cursor.map(|cursor| cursor.at).or(query.start.map(|start| boundary(interval, start)));
        let is_pinned = cursor.is_some() || (query.start.is_some() && query.end.is_some());
        let plan = |from| {
            let (limit, fill, open) = (query.shape.limit, query.fill, query.open);
            Plan { interval, span: Span { from, to }, limit, fill, open, over }
        };
        let mut page = match (from, query.fill) {
            (Some(from), _) => plan(from).forward(reader).await?,
            (None, Fill::None) => plan(Timestamp(0)).newest(reader).await?,
            (None, Fill::Flat) => {
                let end = if query.open { to } else { to.min(over) };
                plan(back(interval, end, query.shape.limit)).forward(reader).await?
            }
        };
        page.is_whole &= is_pinned;
        Ok(page)
    }
}

impl Plan {
    /// The first rows of the span.
    async fn forward(&self, reader: &Reader<'_>) -> Result<Page, ApiError> {
        let Self { interval, span, limit, fill, open, over } = *self;
        let mut cover = Cover::new(interval, Way::Forward, span, limit + 1);
        let mut slots = Slots::new(interval, Way::Forward, reader.now);
        let mut rows = Rows::new(interval, span.from, limit, fill, open);
        let filled_to = span.to.min(over);
        let mut work = 0;
        let next = loop {
            // The common case: nothing is missing, nothing is to be merged.
            while !rows.is_full() {
                let own = slots.take_own(rows.at());
                let Some(row) = own.or_else(|| slots.pending().is_none().then(|| cover.next_own()).flatten()) else {
                    break;
                };
                rows.take(row);
            }
            let piece = cover.next(reader).await?;
            let is_end = piece.is_none();
            let row = match piece {
                Some(piece) => slots.push(piece),
                None => slots.finish(),
            };
            let until = row.map_or(if is_end { filled_to } else { span.from }, |row| row.candle.open_time);
            if rows.wants_before(until) {
                rows.set_before(self.before(reader).await?);
            }
            if !row.is_none_or(|row| rows.take(row)) {
                break Some(rows.at());
            }
            if is_end {
                rows.end(filled_to);
                break (rows.is_full() && rows.fills() && rows.at() < filled_to).then(|| rows.at());
            }
            if rows.is_full() {
                // Behind a full page stands the candle that was begun, and behind that there may be more.
                let more = open || slots.pending_is_over() || (rows.fills() && rows.at() < filled_to);
                break more.then(|| rows.at());
            }
            work += 1;
            if row.is_some() && work >= SOURCE_ROWS_MAX {
                break slots.pending();
            }
        };
        let (rows, is_whole) = rows.into_rows(next.unwrap_or(span.to));
        let next = next.map(|at| Cursor { interval, fill, end: span.to, at });
        Ok(Page { rows, next, is_whole })
    }

    /// The last closed candle before the span.
    async fn before(&self, reader: &Reader<'_>) -> Result<Option<StoredCandle>, ApiError> {
        let span = Span { from: Timestamp(0), to: self.span.from };
        let mut page = Self { span, limit: 1, open: false, ..*self }.newest(reader).await?;
        Ok(page.rows.pop())
    }

    /// The last rows of the span.
    async fn newest(&self, reader: &Reader<'_>) -> Result<Page, ApiError> {
        let Self { interval, span, limit, open, .. } = *self;
        let mut cover = Cover::new(interval, Way::Backward, span, limit + 1);
        let mut slots = Slots::new(interval, Way::Backward, reader.now);
        let mut rows = Vec::with_capacity(limit.min(1024));
        let mut work = 0;
        while rows.len() < limit {
            let piece = cover.next(reader).await?;
            let is_end = piece.is_none();
            let row = match piece {
                Some(piece) => slots.push(piece),
                None => slots.finish(),
            };
            rows.extend(row.filter(|row| row.candle.is_closed || open));
            work += 1;
            if is_end || (row.is_some() && work >= SOURCE_ROWS_MAX) {
                break;
            }
        }
        rows.reverse();
        Ok(Page { rows, next: None, is_whole: false })
    }
}

/// The first boundary at or behind a moment.
fn boundary(interval: Interval, at: Timestamp) -> Timestamp {
    let open = interval.open_time(at);
    if open == at { at } else { interval.close_time(open) }
}

/// The boundary that lies `count` candles before another one, but not before 1970.
fn back(interval: Interval, boundary: Timestamp, count: usize) -> Timestamp {
    let mut at = boundary;
    if let Some(nanos) = interval.nanos() {
        at = at.plus(nanos.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)).saturating_neg());
    } else {
        for _ in 0..count {
            at = interval.open_time(at.plus(-1));
            if at.0 < 0 {
                break;
            }
        }
    }
    if at.0 < 0 { self::boundary(interval, Timestamp(0)) } else { at }
}
